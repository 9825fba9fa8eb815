//! `broca plugin`: plugin processes.

pub(crate) mod settings;

use broca_core::{Instance, metric::Role};
use broca_pipeline::{
    PipelineError,
    plugin::{self, PluginDeps},
};
use serde::Serialize;

use crate::{
    app::App, failure::Failure, monitoring::Monitor, output::table, supervisor::announce_ready, traces::Traces,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Runs the process of one plugin instance
    Run(RunArgs),
    /// The configured instances
    List,
    /// What an instance's settings may be, as a JSON schema
    Schema(SchemaArgs),
    /// Changes settings while the instance runs
    Set(settings::SetArgs),
    /// Takes back what was set while it ran
    Unset(settings::UnsetArgs),
    /// Every setting with its value, where it comes from and what it is; and which processes go by it
    Show(settings::ShowArgs),
    /// Who changed what while it ran, newest first
    History(settings::HistoryArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// The instance, as in [plugins.<instance>]
    instance: Instance,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The instance, as in [plugins.<instance>]
    instance: Instance,
}

#[derive(Serialize)]
struct Listed {
    instance: String,
    plugin: String,
    platform: Option<String>,
    enabled: bool,
    /// What is wrong with its settings.
    problem: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => process(app, &args.instance).await,
        Command::List => list(app),
        Command::Set(args) => settings::set(app, args).await,
        Command::Unset(args) => settings::unset(app, args).await,
        Command::Show(args) => settings::show(app, args).await,
        Command::History(args) => settings::history(app, args).await,
        Command::Schema(args) => app.output.json(app.blueprint(&args.instance)?.settings_schema().json()),
    }
}

async fn process(app: &App, instance: &Instance) -> Result<(), Failure> {
    let (blueprint, settings) = (app.blueprint(instance)?, app.configured_settings(instance)?);
    let monitor = Monitor::start(app, Role::Plugin, instance.as_str()).await?;
    let _traces = Traces::start(&app.config.settings.traces, Role::Plugin, instance.as_str())?;
    let store = app.store().await?;
    store.check_migrated().await?;
    let bus = app.bus(instance.as_str()).await?;
    monitor.works_with(&store, &bus);
    let deps = PluginDeps {
        store,
        bus,
        blueprint,
        settings,
        instance: instance.clone(),
        routes: app.routes(),
        limits: app.config.settings.limits,
        access: app.access_options(instance),
        options: app.delivery_options(),
        events: app.event_options(),
    };
    announce_ready(monitor.address);
    match plugin::run(deps, app.shutdown.begin.clone()).await {
        Err(PipelineError::Settings(error)) => Err(app.config.unfit_plugin(instance, &error)),
        ended => Ok(ended?),
    }
}

fn list(app: &App) -> Result<(), Failure> {
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
    app.output.result(&serde_json::json!({"items": listed}), || {
        table(
            ["instance", "plugin", "platform", "enabled", "problem"],
            listed.iter().map(|row| {
                let platform = row.platform.clone().unwrap_or_default();
                let problem = row.problem.clone().unwrap_or_default();
                [row.instance.clone(), row.plugin.clone(), platform, row.enabled.to_string(), problem]
            }),
        )
    })
}
