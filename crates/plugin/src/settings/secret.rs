//! Secrets by reference: a setting says where a secret is, not what it is.

use std::{borrow::Cow, fmt, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SettingsError;

/// The `format` of a secret in a JSON schema. What has it is shown masked, and at run time set by reference alone.
pub(super) const FORMAT: &str = "secret-reference";

/// A token, key or password: `env:NAME`, `file:/path`, or, in the operator's own `broca.toml` or environment
/// only, the secret itself. A reference is shown as it is; a secret never is.
#[derive(Clone)]
pub struct Secret(Source);

#[derive(Clone)]
enum Source {
    Env(String),
    File(PathBuf),
    Given(SecretString),
}

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(match (text.strip_prefix("env:"), text.strip_prefix("file:")) {
            (Some(name), _) => Source::Env(name.to_owned()),
            (_, Some(path)) => Source::File(path.into()),
            _ => Source::Given(text.to_owned().into()),
        })
    }

    /// Whether a text says where a secret is, rather than being one.
    pub fn is_reference(text: &str) -> bool {
        text.starts_with("env:") || text.starts_with("file:")
    }

    /// The secret itself, read anew at each call, so that a renewed file is seen without a restart.
    ///
    /// # Errors
    /// The variable is not set, or the file cannot be read; the message names it, never what is in it.
    pub fn read(&self) -> Result<SecretString, SettingsError> {
        let text = match &self.0 {
            Source::Given(secret) => secret.expose_secret().to_owned(),
            Source::Env(name) => std::env::var(name).map_err(|_| {
                SettingsError::one("", format!("the environment variable {name} is not set (or no text)"))
            })?,
            Source::File(path) => std::fs::read_to_string(path).map_err(|error| {
                SettingsError::one("", format!("cannot read the secret's file {}: {error}", path.display()))
            })?,
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(SettingsError::one("", format!("{self} holds nothing")));
        }
        Ok(text.to_owned().into())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Env(name) => write!(f, "env:{name}"),
            Source::File(path) => write!(f, "file:{}", path.display()),
            Source::Given(_) => f.write_str("***"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A changed literal counts as a change, although both are shown as `***`.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Source::Env(a), Source::Env(b)) => a == b,
            (Source::File(a), Source::File(b)) => a == b,
            (Source::Given(a), Source::Given(b)) => a.expose_secret() == b.expose_secret(),
            _ => false,
        }
    }
}

impl Eq for Secret {}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(deserializer)?))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": FORMAT, "writeOnly": true, "minLength": 1})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_shown_and_a_secret_is_not() {
        for (text, shown) in [("env:TOKEN", "env:TOKEN"), ("file:/run/t", "file:/run/t"), ("123:hunter2", "***")] {
            let secret: Secret = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(&secret).unwrap(), shown);
            assert_eq!(format!("{secret:?}"), shown);
        }
        assert!(!Secret::is_reference("123:hunter2"));
        assert_ne!(Secret::new("a"), Secret::new("b"));
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let secret = Secret::new(&format!("file:{}", path.display()));
        let missing = secret.read().unwrap_err().to_string();
        assert!(missing.contains("token"), "{missing}");
        std::fs::write(&path, "first\n").unwrap();
        assert_eq!(secret.read().unwrap().expose_secret(), "first");
        std::fs::write(&path, "second").unwrap();
        assert_eq!(secret.read().unwrap().expose_secret(), "second");
        std::fs::write(&path, "\n").unwrap();
        assert!(secret.read().unwrap_err().to_string().contains("holds nothing"));
        assert!(Secret::new("env:BROCA_NOBODY_SETS_THIS").read().is_err());
    }
}
