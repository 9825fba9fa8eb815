//! Values that are never shown: secrets, and addresses that may carry one.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A token, key or password. It reads from any scalar, because a numeric token in TOML is a number, and it is
/// written as `***` everywhere.
#[derive(Clone)]
pub(crate) struct Secret(SecretString);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub(crate) fn into_inner(self) -> SecretString {
        self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer).map(Self::from)
    }
}

/// The address of a server. The password in it, if it has one, is written as `***`.
#[derive(Clone)]
pub(crate) struct Url(SecretString);

impl Url {
    /// The whole address, for the client that connects to it.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Url {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(self.expose()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer).map(Self::from)
    }
}

/// The address with everything secret starred out: the user information's password, and query values whose name
/// speaks of one.
fn masked(address: &str) -> String {
    address.split(',').map(masked_one).collect::<Vec<_>>().join(",")
}

fn masked_one(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            // A NATS token stands alone before the host, so a lone user name may be one.
            None => format!("***@{host}"),
        },
        None => authority.to_owned(),
    };
    let tail = match tail.split_once('?') {
        Some((path, query)) => format!("{path}?{}", query.split('&').map(masked_pair).collect::<Vec<_>>().join("&")),
        None => tail.to_owned(),
    };
    format!("{scheme}://{authority}{tail}")
}

fn masked_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if is_secret_name(name) => format!("{name}=***"),
        _ => pair.to_owned(),
    }
}

/// Whether a key is to be starred out by its name alone, for settings whose type is not known here.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let tells = ["token", "secret", "password", "passwd", "api_key", "credential", "private"];
    !name.ends_with("_file") && tells.iter().any(|tell| name.contains(tell))
}

macro_rules! written_as_text {
    ($($name:ident: $description:literal;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "format": $description})
            }
        }
    )*};
}

written_as_text! {
    Secret: "password";
    Url: "uri";
}

fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Scalar;
    impl de::Visitor<'_> for Scalar {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_u128<E: de::Error>(self, number: u128) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_i128<E: de::Error>(self, number: i128) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Scalar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (address, shown) in [
            ("postgres://broca:hunter2@db.example:5432/broca", "postgres://broca:***@db.example:5432/broca"),
            (
                "postgres://db/broca?password=hunter2&sslmode=require",
                "postgres://db/broca?password=***&sslmode=require",
            ),
            ("postgres://a:b@c@db/x", "postgres://a:***@db/x"),
            ("nats://tok3n@127.0.0.1:4222", "nats://***@127.0.0.1:4222"),
            ("nats://a:b@h1:1,nats://a:b@h2:1", "nats://a:***@h1:1,nats://a:***@h2:1"),
            ("sqlite:broca-data/broca.db", "sqlite:broca-data/broca.db"),
        ] {
            assert_eq!(Url::from(address.to_owned()).to_string(), shown);
        }
    }

    #[test]
    fn a_secret_is_never_written() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn secret_names_are_known_and_files_are_not_secret() {
        assert!(is_secret_name("bot_token") && is_secret_name("API_KEY") && is_secret_name("webhook_secret"));
        assert!(!is_secret_name("token_file") && !is_secret_name("socket"));
    }
}
