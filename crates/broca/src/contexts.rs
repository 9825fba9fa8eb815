//! Contexts: several deployments, by name, in a file of the person at this terminal.
//!
//! A context says where a deployment is, never with a secret: those are named by a variable or a file. With a context in
//! force, that place comes from it alone, whatever broca.toml and the environment of this folder say, so that nobody acts
//! on another deployment than the one that they named. Flags go before it, as before everything.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::{Flag, Place, Url},
    failure::{Blame, Code, Failure},
    run_file::write_private,
};

/// Which context, where no flag says so.
pub(crate) const VARIABLE: &str = "BROCA_CONTEXT";

/// Where one deployment is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Context {
    /// Its broca.toml: routes, agents, plugins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_url_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_url_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nats_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nats_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nats_password_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nats_password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nats_nkey_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nats_creds_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nats_tls_ca: Option<PathBuf>,
}

impl Context {
    /// # Errors
    /// It says nothing, or has a secret in it.
    pub(crate) fn check(&self, name: &str) -> Result<(), Failure> {
        let usage = |message: String, hint: &str| Err(Failure::new(Code::Usage, message).hint(hint));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return usage(format!("'{name}' is no name for a context"), "use letters, digits, '-', '_' and '.'");
        }
        if *self == Self::default() {
            return usage(
                format!("context {name} says nothing"),
                "say where it is: --config, --data-dir, --database-url and --nats-url, or the options of `broca context add`",
            );
        }
        for (what, url) in [("database", &self.database_url), ("NATS", &self.nats_url)] {
            if url.as_ref().is_some_and(|url| Url::from(url.clone()).to_string() != *url) {
                return usage(
                    format!("the {what} address of context {name} has a secret in it"),
                    "name a variable or a file that has it: --database-url-env, --database-url-file, --nats-password-env, …",
                );
            }
        }
        Ok(())
    }

    /// As a layer of settings.
    fn place(&self, name: &str) -> Result<Place, Failure> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let named = |variable: &Option<String>| -> Result<Option<String>, Failure> {
            let Some(variable) = variable else { return Ok(None) };
            std::env::var(variable).map(Some).map_err(|_| {
                Failure::new(Code::Usage, format!("context {name} wants the variable {variable}, and it is not set"))
                    .hint(format!("set {variable}, or change the context: `broca context add {name} --replace …`"))
            })
        };
        let values = [
            ("data_dir", path(&self.data_dir)),
            ("database.url", self.database_url.clone()),
            ("database.url", named(&self.database_url_env)?),
            ("database.url_file", path(&self.database_url_file)),
            ("nats.url", self.nats_url.clone()),
            ("nats.user", self.nats_user.clone()),
            ("nats.password", named(&self.nats_password_env)?),
            ("nats.password_file", path(&self.nats_password_file)),
            ("nats.nkey_file", path(&self.nats_nkey_file)),
            ("nats.creds_file", path(&self.nats_creds_file)),
            ("nats.tls_ca", path(&self.nats_tls_ca)),
        ];
        let source = format!("context {name}");
        let flags = values.into_iter().filter_map(|(key, value)| {
            Some(Flag { source: source.clone(), key: key.to_owned(), value: value?.into() })
        });
        Ok(Place { name: name.to_owned(), file: self.config.clone(), flags: flags.collect() })
    }
}

/// The file of contexts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one in force where nobody says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// Where the file is, or will be.
pub(crate) fn path() -> Result<PathBuf, Failure> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    let config = config.ok_or_else(|| {
        Failure::new(Code::Usage, "nobody knows where your contexts are").hint("set HOME or XDG_CONFIG_HOME")
    })?;
    Ok(config.join("broca/contexts.toml"))
}

impl Contexts {
    /// None are there when there is no file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).blame(Code::Failure, path.display()),
        };
        toml::from_str(&text).blame(Code::Usage, path.display())
    }

    /// For its owner alone.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = toml::to_string_pretty(self).map_err(anyhow::Error::from)?;
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        written
            .and_then(|()| write_private(path, text.as_bytes()))
            .blame(Code::Failure, format!("cannot write {}", path.display()))
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let there =
                if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
            Failure::new(Code::NotFound, format!("there is no context {name}"))
                .hint(format!("{there}; `broca context add` makes one"))
        })
    }
}

/// The context in force: of the flag, of [`VARIABLE`], or the current one.
pub(crate) fn chosen(flag: Option<&str>) -> Result<Option<Place>, Failure> {
    let variable = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
    let named = flag.map(str::to_owned).or(variable);
    let contexts = match path() {
        Ok(path) => Contexts::read(&path)?,
        // Whoever has no home has no contexts, and misses none.
        Err(_) if named.is_none() => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let Some(name) = named.or_else(|| contexts.current.clone()) else { return Ok(None) };
    let context = contexts.get(&name)?;
    context.check(&name)?;
    context.place(&name).map(Some)
}
