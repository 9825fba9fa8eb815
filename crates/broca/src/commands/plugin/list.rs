//! `broca plugin list`: the instances, and the plugins that there are.

use serde::Serialize;

use crate::{app::App, failure::Failure, output::table, plugins::Kind};

#[derive(Serialize)]
struct Listed {
    instance: String,
    plugin: String,
    platform: Option<String>,
    enabled: bool,
    /// What is wrong with its settings.
    problem: Option<String>,
}

/// A plugin that an instance may run.
#[derive(Serialize)]
struct Available {
    plugin: String,
    platform: String,
    version: String,
    source: String,
}

impl From<&Kind> for Available {
    fn from(kind: &Kind) -> Self {
        let manifest = kind.blueprint.manifest();
        Self {
            plugin: manifest.name.clone(),
            platform: manifest.platform.clone(),
            version: manifest.version.clone(),
            source: kind.source(),
        }
    }
}

pub(super) fn run(app: &App) -> Result<(), Failure> {
    let kinds = app.kinds();
    let listed: Vec<Listed> = app
        .config
        .settings
        .plugins
        .iter()
        .map(|(instance, entry)| {
            let plugin = app.plugin(instance);
            Listed {
                instance: instance.to_string(),
                plugin: entry.plugin.clone().unwrap_or_else(|| instance.to_string()),
                platform: plugin.as_ref().ok().map(|plugin| plugin.manifest().platform),
                enabled: entry.enabled,
                problem: plugin.err().map(|failure| failure.message),
            }
        })
        .collect();
    let available: Vec<Available> = kinds.found.iter().map(Available::from).collect();
    let value = serde_json::json!({"items": listed, "plugins": available, "skipped": kinds.skipped});
    app.output.result(&value, || {
        let instances = table(
            ["instance", "plugin", "platform", "enabled", "problem"],
            listed.iter().map(|row| {
                let platform = row.platform.clone().unwrap_or_default();
                let problem = row.problem.clone().unwrap_or_default();
                [row.instance.clone(), row.plugin.clone(), platform, row.enabled.to_string(), problem]
            }),
        );
        let plugins = table(
            ["plugin", "platform", "version", "source"],
            available
                .iter()
                .map(|row| [row.plugin.clone(), row.platform.clone(), row.version.clone(), row.source.clone()]),
        );
        let skipped: String = kinds.skipped.iter().map(|why| format!("\nskipped {why}")).collect();
        format!("{instances}\n\n{plugins}{skipped}")
    })
}
