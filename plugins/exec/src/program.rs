//! What is run, and with which environment.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use broca_plugin::{Secret, SettingsError};
use secrecy::ExposeSecret;

/// Makes the command that runs a program. The binary's own ties the program to its process, so that it ends when that is
/// killed.
pub type Launch = fn(&Path, &[OsString]) -> io::Result<Command>;

/// A program, its arguments, and what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub command: PathBuf,
    pub args: Vec<String>,
    /// Where it runs.
    pub folder: Option<PathBuf>,
    /// Variables beside those that every program needs.
    pub env: BTreeMap<String, Secret>,
    /// How long it may take to say that it is ready.
    pub start_timeout: Duration,
}

/// What a program finds of our environment. Nothing else is handed on: what else is there may be a secret of ours, and
/// nobody can tell by its name.
const HANDED_ON: &[&str] =
    &["HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER"];
const HANDED_ON_PREFIX: &str = "LC_";

impl Program {
    pub fn name(&self) -> String {
        self.command.display().to_string()
    }

    /// What runs it, in its folder and with its environment.
    ///
    /// # Errors
    /// A secret for its environment cannot be read.
    pub fn command(&self, launch: Launch) -> Result<Command, SettingsError> {
        let args: Vec<OsString> = self.args.iter().map(OsString::from).collect();
        let cannot = |error: io::Error| SettingsError::one("", format!("cannot run {}: {error}", self.name()));
        let mut command = launch(&self.command, &args).map_err(cannot)?;
        command.env_clear();
        let handed_on = |name: &OsString| {
            name.to_str().is_some_and(|name| HANDED_ON.contains(&name) || name.starts_with(HANDED_ON_PREFIX))
        };
        command.envs(std::env::vars_os().filter(|(name, _)| handed_on(name)));
        for (name, value) in &self.env {
            let value = value.read().map_err(|error| SettingsError::one(format!("env.{name}"), error.to_string()))?;
            command.env(name, value.expose_secret());
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        Ok(command)
    }
}

/// The command by itself: a [`Launch`] for tests. When its host is killed, such a program learns by the end of its input.
///
/// # Errors
/// None.
pub fn untied(program: &Path, args: &[OsString]) -> io::Result<Command> {
    let mut command = Command::new(program);
    command.args(args);
    Ok(command)
}
