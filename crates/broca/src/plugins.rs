//! The kinds of plugins there are, compiled in and in folders, and the one that an instance runs.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use broca_core::Instance;
use broca_plugin::{Blueprint, Plugin};
use broca_plugin_exec::folder;

use crate::{
    app::App,
    failure::{Code, Failure},
    supervisor::tie,
};

/// The name of the plugin that runs any program.
pub(crate) const EXEC: &str = "exec";

/// Every plugin that is compiled in. A new one is added here and nowhere else.
fn compiled_in() -> [Blueprint; 6] {
    [
        broca_plugin_cli::blueprint(),
        broca_plugin_demo::blueprint(),
        broca_plugin_exec::blueprint(EXEC, launch),
        broca_plugin_telegram::blueprint(),
        broca_plugin_webchat::blueprint(),
        broca_plugin_webhook::blueprint(),
    ]
}

/// A plugin's program ends when the process that runs the plugin is killed.
pub(crate) fn launch(program: &Path, args: &[OsString]) -> io::Result<std::process::Command> {
    tie::command(program, args, None)
}

/// A kind of plugin, before there is an instance of it.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) blueprint: Blueprint,
    /// Its folder; `None` when it is compiled in.
    pub(crate) folder: Option<PathBuf>,
}

impl Kind {
    fn name(&self) -> &str {
        &self.blueprint.manifest().name
    }

    /// Where it is from, for people.
    pub(crate) fn source(&self) -> String {
        self.folder.as_ref().map_or_else(|| "compiled in".to_owned(), |folder| folder.display().to_string())
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Kinds {
    pub(crate) found: Vec<Kind>,
    /// What is no plugin although it should be one, and why. The others run.
    pub(crate) skipped: Vec<String>,
}

impl Kinds {
    fn search(folders: &[PathBuf]) -> Self {
        let found = compiled_in().map(|blueprint| Kind { blueprint, folder: None }).into();
        let mut kinds = Self { found, skipped: Vec::new() };
        for folder in folders {
            match folder::below(folder) {
                Ok(below) => below.into_iter().for_each(|folder| kinds.add(folder)),
                Err(why) => kinds.skipped.push(format!("plugin_folders: {why}")),
            }
        }
        kinds
    }

    fn add(&mut self, folder: PathBuf) {
        let read = folder::read(&folder, launch).map(|blueprint| Kind { blueprint, folder: Some(folder) });
        match read {
            Ok(kind) => match self.named(kind.name()) {
                None => self.found.push(kind),
                Some(first) => self.skipped.push(format!(
                    "{}: there is a plugin '{}' already ({}): give it another name",
                    kind.source(),
                    kind.name(),
                    first.source()
                )),
            },
            Err(why) => self.skipped.push(why),
        }
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Kind> {
        self.found.iter().find(|kind| kind.name() == name)
    }

    fn names(&self) -> String {
        self.found.iter().map(Kind::name).collect::<Vec<_>>().join(", ")
    }
}

impl App {
    /// All kinds of plugins, as they are there now.
    pub(crate) fn kinds(&self) -> Kinds {
        Kinds::search(&self.config.settings.plugin_folders)
    }

    /// What the instance runs.
    pub(crate) fn blueprint(&self, instance: &Instance) -> Result<Blueprint, Failure> {
        let plugins = &self.config.settings.plugins;
        let Some(entry) = plugins.get(instance) else {
            let known: Vec<&str> = plugins.keys().map(Instance::as_str).collect();
            return Err(Failure::new(
                Code::NotFound,
                format!("there is no plugin instance '{instance}' in the settings"),
            )
            .hint(format!("configured are {}; add [plugins.{instance}] to broca.toml", known.join(", "))));
        };
        let wanted = entry.plugin.as_deref().unwrap_or(instance.as_str());
        if wanted == EXEC {
            let platform = entry.settings.get("platform").and_then(serde_json::Value::as_str);
            return Ok(broca_plugin_exec::blueprint(platform.unwrap_or(instance.as_str()), launch));
        }
        let kinds = self.kinds();
        kinds.named(wanted).map(|kind| kind.blueprint.clone()).ok_or_else(|| {
            let skipped: String = kinds.skipped.iter().map(|why| format!("; skipped {why}")).collect();
            Failure::new(Code::Usage, format!("plugins.{instance}.plugin is '{wanted}': there is no such plugin"))
                .hint(format!("there are {}{skipped}", kinds.names()))
        })
    }

    /// The settings of an instance as its files, the environment and the defaults have them.
    pub(crate) fn configured_settings(&self, instance: &Instance) -> Result<serde_json::Value, Failure> {
        let defaults = match self.blueprint(instance)?.manifest().name.as_str() {
            "cli" => self.cli_defaults(instance)?,
            "webchat" => self.webchat_defaults(instance)?,
            _ => Vec::new(),
        };
        self.config.plugin_settings(instance, &defaults)
    }

    /// The plugin of an instance, with its settings.
    pub(crate) fn plugin(&self, instance: &Instance) -> Result<Arc<dyn Plugin>, Failure> {
        let built = self.blueprint(instance)?.build(self.configured_settings(instance)?);
        built.map_err(|error| self.config.unfit_plugin(instance, &error))
    }

    /// Whether an instance can be started: there is such a plugin, and no instance before it has the same account. Unfit
    /// settings are not asked for here: its process says what is wrong with them, and they may be set while it runs.
    pub(crate) fn loadable(&self, instance: &Instance) -> Result<(), Failure> {
        self.blueprint(instance)?;
        let Some(mine) = self.account(instance) else { return Ok(()) };
        let enabled = self.enabled_instances();
        let others = enabled.iter().take_while(|other| *other != instance);
        match others.into_iter().find(|other| self.account(other).as_ref() == Some(&mine)) {
            None => Ok(()),
            Some(first) => Err(Failure::new(
                Code::Conflict,
                format!("plugins.{instance} has the same {} account as plugins.{first}", mine.0),
            )
            .hint("two instances would take each other's messages: give each an account of its own")),
        }
    }

    /// The account that an instance would talk to, if that can be told and is to be its own.
    fn account(&self, instance: &Instance) -> Option<(String, String)> {
        let plugin = self.plugin(instance).ok()?;
        let manifest = plugin.manifest();
        let account = plugin.account().filter(|_| !manifest.capabilities.replicas)?;
        Some((manifest.platform, account))
    }
}
