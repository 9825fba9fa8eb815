//! `broca plugin`: plugin processes.

mod exec;
mod list;
pub(crate) mod settings;

use broca_core::{Instance, metric::Role};
use broca_pipeline::{
    PipelineError,
    plugin::{self, PluginDeps},
};

use crate::{app::App, config::Flag, failure::Failure, monitoring::Monitor, supervisor::announce_ready};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Runs the process of one plugin instance
    Run(RunArgs),
    /// Runs any program as a plugin, over JSON lines (see plugins/exec/README.md)
    Exec(exec::Args),
    /// The instances, and the plugins that there are
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
    /// The lines that a program and its host say to each other, as a JSON schema
    Protocol,
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

impl Command {
    /// Settings that are given on the command line.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        match self {
            Self::Exec(args) => args.flags(),
            _ => Vec::new(),
        }
    }
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => process(app, &args.instance).await,
        Command::Exec(args) => {
            // What does not fit is said before anything is made.
            app.plugin(&args.instance)?;
            exec::prepare(app, &args.instance).await?;
            process(app, &args.instance).await
        }
        Command::List => list::run(app),
        Command::Set(args) => settings::set(app, args).await,
        Command::Unset(args) => settings::unset(app, args).await,
        Command::Show(args) => settings::show(app, args).await,
        Command::History(args) => settings::history(app, args).await,
        Command::Schema(args) => app.output.json(app.blueprint(&args.instance)?.settings_schema().json()),
        Command::Protocol => app.output.json(&broca_plugin_exec::protocol::schema()),
    }
}

async fn process(app: &App, instance: &Instance) -> Result<(), Failure> {
    let (blueprint, settings) = (app.blueprint(instance)?, app.configured_settings(instance)?);
    let monitor = Monitor::start(app, Role::Plugin, instance.as_str()).await?;
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
        options: app.delivery_options(),
        events: app.event_options(),
    };
    announce_ready(monitor.address);
    match plugin::run(deps, app.shutdown.begin.clone()).await {
        Err(PipelineError::Settings(error)) => Err(app.config.unfit_plugin(instance, &error)),
        ended => Ok(ended?),
    }
}
