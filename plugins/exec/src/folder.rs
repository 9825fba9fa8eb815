//! A folder with a `plugin.toml`: a program as a kind of plugin, beside those that are compiled in.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use broca_plugin::{Blueprint, Capabilities, Manifest, Plugin, Secret, SettingsError, SettingsSchema};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    ExecPlugin, Launch, Options, Program,
    protocol::VERSION,
    settings::{is_name, listens, start_timeout_ms},
};

/// The name of the file that makes a folder a plugin.
pub const MANIFEST: &str = "plugin.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginToml {
    /// Lower-case letters, digits and `-`; what `plugin = "…"` of an instance names.
    name: String,
    /// Without it, the name.
    platform: Option<String>,
    version: String,
    /// The version of the protocol that the program speaks.
    protocol: u32,
    /// Runs in the plugin's folder; a relative path is one in it.
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, Secret>,
    /// A file with the JSON schema of the plugin's settings. Without it the plugin takes none.
    settings_schema: Option<PathBuf>,
    /// The key among the settings that names the account at the platform. Without it, each instance has one of its own.
    account: Option<String>,
    #[serde(default)]
    capabilities: Capabilities,
    #[serde(default)]
    listens: Vec<String>,
    #[serde(default = "start_timeout_ms")]
    start_timeout_ms: NonZeroU64,
    /// Nothing of a plugin that works depends on it.
    test: Option<Trial>,
}

/// What a plugin is tried out with: the section `[test]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Its settings; [`URL`] in a text stands for the platform's address.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// A program that plays the platform, run in the plugin's folder. Without it, it is the scripted one of Broca.
    pub platform: Option<Vec<String>>,
}

/// What stands for the platform's address in the settings of a [`Trial`].
pub const URL: &str = "{url}";

/// All that a folder says.
#[derive(Debug)]
pub struct Folder {
    pub blueprint: Blueprint,
    pub program: Program,
    pub trial: Option<Trial>,
}

/// The plugin of a folder.
///
/// # Errors
/// What is wrong with the folder, as a sentence that names the file.
pub fn read(folder: &Path, launch: Launch) -> Result<Blueprint, String> {
    open(folder, launch).map(|folder| folder.blueprint)
}

/// The plugin of a folder, and what is told of its program and its test.
///
/// # Errors
/// What is wrong with the folder, as a sentence that names the file.
pub fn open(folder: &Path, launch: Launch) -> Result<Folder, String> {
    let folder = std::path::absolute(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let file = folder.join(MANIFEST);
    let wrong = |what: String| format!("{}: {what}", file.display());
    let text = std::fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
    let toml: PluginToml = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
    toml.check().map_err(wrong)?;
    let schema = match &toml.settings_schema {
        None => SettingsSchema::none(),
        Some(path) => schema(&folder.join(path))?,
    };
    let program = toml.program(&folder).map_err(wrong)?;
    let listens = listens("listens", &toml.listens).map_err(|error| wrong(error.to_string()))?;
    let platform = toml.platform.unwrap_or_else(|| toml.name.clone());
    let manifest = Manifest { name: toml.name, platform, version: toml.version, capabilities: toml.capabilities };
    let (own, secrets) = (manifest.clone(), schema.clone());
    let runs = program.clone();
    let reading = Arc::new(move |settings: Value| {
        let secrets = secrets.clone();
        Ok((runs.clone(), Options::new(move || secrets.revealed(&settings))))
    });
    if let Some(key) = toml.account.as_deref().filter(|key| schema.is_secret(key)) {
        return Err(wrong(format!("account is '{key}', which is a secret: name a setting that may be shown")));
    }
    let account = toml.account;
    let build = move |settings: Value| -> Result<Arc<dyn Plugin>, SettingsError> {
        let account = account.as_ref().and_then(|key| settings.get(key)?.as_str()).map(str::to_owned);
        let plugin = ExecPlugin::new(own.clone(), launch, reading.clone(), settings)?;
        Ok(Arc::new(plugin.listening(listens.clone()).of_account(account)))
    };
    Ok(Folder { blueprint: Blueprint::with_schema(manifest, schema, build), program, trial: toml.test })
}

impl PluginToml {
    fn check(&self) -> Result<(), String> {
        if self.protocol != VERSION {
            return Err(format!("protocol is {}, and this Broca speaks {VERSION}", self.protocol));
        }
        for (key, name) in [("name", Some(&self.name)), ("platform", self.platform.as_ref())] {
            if name.is_some_and(|name| !is_name(name)) {
                return Err(format!("{key} is no name: use 1 to 32 lower-case letters, digits or '-'"));
            }
        }
        Ok(())
    }

    fn program(&self, folder: &Path) -> Result<Program, String> {
        let (command, args) = self
            .command
            .split_first()
            .filter(|(command, _)| !command.is_empty())
            .ok_or("command is empty: name a program, e.g. [\"./plugin.py\"]")?;
        let mut path = PathBuf::from(command);
        // A bare name is searched for on the PATH.
        if path.components().count() > 1 {
            path = folder.join(path);
            let mode = std::fs::metadata(&path).map_err(|error| format!("command {}: {error}", path.display()))?;
            if !mode.is_file() || mode.permissions().mode() & 0o111 == 0 {
                return Err(format!("command {}: is no executable file; chmod +x it", path.display()));
            }
        }
        Ok(Program {
            command: path,
            args: args.to_vec(),
            folder: Some(folder.to_owned()),
            env: self.env.clone(),
            start_timeout: Duration::from_millis(self.start_timeout_ms.get()),
        })
    }
}

fn schema(path: &Path) -> Result<SettingsSchema, String> {
    let wrong = |what: String| format!("settings_schema {}: {what}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    SettingsSchema::from_json(json).map_err(|error| wrong(error.to_string()))
}

/// The folders with a [`MANIFEST`] in or directly below a folder, in the order of their names.
///
/// # Errors
/// The folder cannot be read.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    if folder.join(MANIFEST).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join(MANIFEST).is_file()).collect();
    found.sort();
    Ok(found)
}
