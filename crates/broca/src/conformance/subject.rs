//! What is tested: a program, and what it is given.

use std::path::Path;

use broca_plugin::{Capabilities, SettingsSchema};
use broca_plugin_exec::{
    Program,
    folder::{self, Trial, URL},
};
use serde_json::{Map, Value};

use crate::{
    failure::{Code, Failure},
    plugins::launch,
};

#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(super) program: Program,
    /// As its folder says; it may say otherwise when it is ready.
    pub(super) capabilities: Capabilities,
    /// `None` for a bare command, whose settings nobody described.
    pub(super) schema: Option<SettingsSchema>,
    pub(super) trial: Option<Trial>,
}

impl Subject {
    /// The plugin of a folder with a `plugin.toml`.
    pub(crate) fn of_folder(path: &Path) -> Result<Self, Failure> {
        let unfit = |why: String| {
            Failure::new(Code::Usage, why).hint("a plugin's folder has a plugin.toml: `broca plugin new` makes one")
        };
        let folder = folder::open(path, launch).map_err(unfit)?;
        let manifest = folder.blueprint.manifest();
        Ok(Self {
            name: manifest.name.clone(),
            program: folder.program,
            capabilities: manifest.capabilities.clone(),
            schema: Some(folder.blueprint.settings_schema().clone()),
            trial: folder.trial,
        })
    }

    /// A command that speaks the protocol, with settings in which `{url}` stands for the platform's address.
    pub(crate) fn of_command(command: &[String], settings: Map<String, Value>) -> Result<Self, Failure> {
        let (program, args) =
            command.split_first().ok_or_else(|| Failure::new(Code::Usage, "no command is given after --"))?;
        let program = Program {
            command: program.into(),
            args: args.to_vec(),
            folder: None,
            env: Default::default(),
            start_timeout: std::time::Duration::from_secs(15),
        };
        let trial = (!settings.is_empty()).then_some(Trial { settings, platform: None });
        Ok(Self { name: "trial".to_owned(), program, capabilities: Capabilities::default(), schema: None, trial })
    }

    /// Whether its settings say where a platform is.
    pub(crate) fn is_fed(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| {
            trial.platform.is_some() || trial.settings.values().any(|value| value.to_string().contains(URL))
        })
    }

    /// The settings of its test, with the platform's address, and `more` of them.
    pub(crate) fn settings(&self, url: &str, more: Map<String, Value>) -> Value {
        let mut settings = self.trial.as_ref().map(|trial| trial.settings.clone()).unwrap_or_default();
        settings.extend(more);
        filled(Value::Object(settings), url)
    }

    /// The settings as the program is told them: with the secrets themselves.
    pub(super) fn told(&self, settings: &Value) -> Result<Value, String> {
        match &self.schema {
            None => Ok(settings.clone()),
            Some(schema) => {
                let settings = schema.fit(settings.clone());
                schema.check(&settings).map_err(|error| error.to_string())?;
                schema.revealed(&settings).map_err(|error| error.to_string())
            }
        }
    }
}

/// With the platform's address wherever it is asked for.
fn filled(value: Value, url: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(URL, url)),
        Value::Array(items) => items.into_iter().map(|item| filled(item, url)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, field)| (key, filled(field, url))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_address_stands_wherever_it_is_asked_for() {
        let settings = json!({"url": "{url}", "deep": [{"hook": "{url}/in"}], "n": 3, "other": "x"});
        let command = ["true".to_owned()];
        let subject = Subject::of_command(&command, settings.as_object().unwrap().clone()).unwrap();
        assert!(subject.is_fed());
        let filled = subject.settings("http://a", Map::new());
        assert_eq!(filled, json!({"url": "http://a", "deep": [{"hook": "http://a/in"}], "n": 3, "other": "x"}));
        let unfed = Subject::of_command(&command, Map::new()).unwrap();
        assert!(!unfed.is_fed());
    }
}
