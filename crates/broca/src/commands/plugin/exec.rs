//! `broca plugin exec`: hosts a program that is named on the command line. It is `broca plugin run` of an instance whose
//! settings are flags.

use std::path::PathBuf;

use broca_core::Instance;
use figment::value::{Dict, Value};

use crate::{config::Flag, plugins::EXEC};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The instance's name; its messages and answers go by it
    #[arg(long, default_value = EXEC)]
    pub(super) instance: Instance,
    /// The platform's name [default: the instance's]
    #[arg(long)]
    platform: Option<String>,
    /// The folder that it runs in
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// A variable of its environment; the value may be env:NAME or file:/path. May be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// One of its own settings; JSON, or else a text. May be repeated
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// A secret among its settings: env:NAME or file:/path. May be repeated
    #[arg(long = "secret", value_name = "KEY=REFERENCE", value_parser = reference)]
    secrets: Vec<(String, String)>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// On a command line others may read it.
fn reference(text: &str) -> Result<(String, String), String> {
    let (key, value) = pair(text)?;
    if broca_plugin::Secret::is_reference(&value) {
        Ok((key, value))
    } else {
        Err("name where the secret is, env:NAME or file:/path: others may read a command line".to_owned())
    }
}

fn json(text: &str) -> Value {
    Value::serialize(option(text)).unwrap_or_else(|_| Value::from(text))
}

/// JSON, or else a text.
pub(super) fn option(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

impl Args {
    /// The instance's settings.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let table = |pairs: &[(String, String)], value: fn(&str) -> Value| {
            let values: Dict = pairs.iter().map(|(key, text)| (key.clone(), value(text))).collect();
            (!values.is_empty()).then(|| Value::from(values))
        };
        let settings = [
            ("--", "command", Some(Value::from(self.command.clone()))),
            ("--platform", "platform", self.platform.clone().map(Value::from)),
            ("--folder", "folder", self.folder.as_ref().map(|folder| Value::from(folder.display().to_string()))),
            ("--env", "env", table(&self.env, |value| Value::from(value))),
            ("--option", "options", table(&self.options, json)),
            ("--secret", "secrets", table(&self.secrets, |value| Value::from(value))),
        ];
        let plugin = [("broca plugin exec", "plugin", Some(Value::from(EXEC)))];
        let prefix = format!("plugins.{}", self.instance);
        let plugin = plugin.map(|(flag, key, value)| (flag, format!("{prefix}.{key}"), value));
        let settings = settings.map(|(flag, key, value)| (flag, format!("{prefix}.settings.{key}"), value));
        let flags = plugin.into_iter().chain(settings);
        flags
            .filter_map(|(flag, key, value)| Some(Flag { source: format!("flag {flag}"), key, value: value? }))
            .collect()
    }
}
