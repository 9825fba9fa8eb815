//! The plugins of this binary, and the one that an instance runs.

use std::sync::Arc;

use broca_core::Instance;
use broca_plugin::{Blueprint, Plugin};

use crate::{
    app::App,
    failure::{Code, Failure},
};

/// Every plugin that is compiled in. A new one is added here and nowhere else.
fn compiled_in() -> [Blueprint; 5] {
    [
        broca_plugin_cli::blueprint(),
        broca_plugin_demo::blueprint(),
        broca_plugin_telegram::blueprint(),
        broca_plugin_webchat::blueprint(),
        broca_plugin_webhook::blueprint(),
    ]
}

impl App {
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
        compiled_in().into_iter().find(|blueprint| blueprint.manifest().name == wanted).ok_or_else(|| {
            let known: Vec<String> = compiled_in().iter().map(|known| known.manifest().name.clone()).collect();
            Failure::new(Code::Usage, format!("plugins.{instance}.plugin is '{wanted}': there is no such plugin"))
                .hint(format!("this binary has {}", known.join(", ")))
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
}
