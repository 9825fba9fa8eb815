//! `broca plugin list`: the instances, and the plugins that there are.

use broca_admin::control::Standing;
use serde::Serialize;

use crate::{app::App, failure::Failure, output::table, plugins::Kind, run_file::RunFile};

#[derive(Serialize)]
struct Listed {
    instance: String,
    plugin: String,
    platform: Option<String>,
    enabled: bool,
    /// How it stands with the `broca up` that runs here.
    standing: Option<Standing>,
    pid: Option<u32>,
    restarts: Option<u32>,
    /// What is wrong with its settings, or with its process.
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
    let running = RunFile::read(&app.config.settings.data_dir)?.map(|running| running.processes).unwrap_or_default();
    let listed: Vec<Listed> = app
        .config
        .settings
        .plugins
        .iter()
        .map(|(instance, entry)| {
            let plugin = app.plugin(instance);
            let process = running.iter().find(|process| process.name == instance.as_str());
            Listed {
                instance: instance.to_string(),
                plugin: entry.plugin.clone().unwrap_or_else(|| instance.to_string()),
                platform: plugin.as_ref().ok().map(|plugin| plugin.manifest().platform),
                enabled: entry.enabled,
                standing: process.and_then(|process| process.standing),
                pid: process.and_then(|process| process.pid),
                restarts: process.map(|process| process.restarts),
                problem: plugin
                    .err()
                    .map(|failure| failure.message)
                    .or_else(|| process.and_then(|process| process.detail.clone())),
            }
        })
        .collect();
    let available: Vec<Available> = kinds.found.iter().map(Available::from).collect();
    let value = serde_json::json!({"items": listed, "plugins": available, "skipped": kinds.skipped});
    app.output.result(&value, || {
        let instances = table(
            ["instance", "plugin", "platform", "enabled", "state", "problem"],
            listed.iter().map(|row| {
                let platform = row.platform.clone().unwrap_or_default();
                let problem = row.problem.clone().unwrap_or_default();
                let state = row.standing.map_or("-", Standing::as_str).to_owned();
                [row.instance.clone(), row.plugin.clone(), platform, row.enabled.to_string(), state, problem]
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
