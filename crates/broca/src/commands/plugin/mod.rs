//! `broca plugin`: plugin processes.

mod control;
mod exec;
mod list;
mod new;
pub(crate) mod settings;
mod status;
mod test;

use broca_admin::control::Action;
use broca_core::{Instance, metric::Role};
use broca_pipeline::{
    PipelineError,
    plugin::{self, PluginDeps},
};

use tokio_util::sync::CancellationToken;

use super::nats::ensure_consumer;
use crate::{
    app::App, config::Flag, failure::Failure, monitoring::Monitor, supervisor::announce_ready, traces::Traces,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes the folder of a new plugin, which runs and passes its tests
    New(new::Args),
    /// The conformance suite: does a plugin behave as it must, whatever happens to it?
    Test(test::Args),
    /// Runs the process of one plugin instance
    Run(RunArgs),
    /// Runs any program as a plugin, over JSON lines (see plugins/exec/README.md)
    Exec(exec::Args),
    /// The instances, and the plugins that there are
    List,
    /// How each instance stands, in its supervisor's words
    Status,
    /// Has the running `broca up` load and start an instance, now and with each start of its own
    Enable(control::Args),
    /// Has the running `broca up` stop and unload an instance, and leave it so with each start of its own
    Disable(control::Args),
    /// Looks for the plugin of an instance again, and checks it
    Load(control::Args),
    /// Stops an instance and forgets its plugin, until it is loaded again or `broca up` starts again
    Unload(control::Args),
    /// Starts an instance
    Start(control::Args),
    /// Stops an instance until it is started, or `broca up` starts again
    Stop(control::Args),
    /// Stops an instance, and starts it
    Restart(control::Args),
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
            // Nobody configured the instance before, so nobody made its consumer.
            ensure_consumer(app, &app.bus(args.instance.as_str()).await?, &args.instance).await?;
            process(app, &args.instance).await
        }
        Command::New(args) => new::run(app, args),
        Command::Test(args) => test::run(app, args).await,
        Command::List => list::run(app),
        Command::Status => status::run(app).await,
        Command::Enable(args) => control::run(app, args, Action::Enable).await,
        Command::Disable(args) => control::run(app, args, Action::Disable).await,
        Command::Load(args) => control::run(app, args, Action::Load).await,
        Command::Unload(args) => control::run(app, args, Action::Unload).await,
        Command::Start(args) => control::run(app, args, Action::Start).await,
        Command::Stop(args) => control::run(app, args, Action::Stop).await,
        Command::Restart(args) => control::run(app, args, Action::Restart).await,
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
    let _traces = Traces::start(&app.config.settings.traces, Role::Plugin, instance.as_str())?;
    let store = app.store().await?;
    store.check_migrated().await?;
    let bus = app.bus(instance.as_str()).await?;
    monitor.works_with(&store, &bus);
    let settled = CancellationToken::new();
    let deps = PluginDeps {
        store,
        bus,
        blueprint,
        settings,
        instance: instance.clone(),
        routes: app.routes(),
        limits: app.config.settings.limits,
        attachments: app.attachments(instance),
        access: app.access_options(instance),
        commands: app.command_options(instance).await?,
        options: app.delivery_options(),
        events: app.event_options(),
        settled: settled.clone(),
    };
    let metrics = monitor.address;
    tokio::spawn(async move {
        settled.cancelled().await;
        announce_ready(metrics);
    });
    match plugin::run(deps, app.shutdown.begin.clone()).await {
        Err(PipelineError::Settings(error)) => Err(app.config.unfit_plugin(instance, &error)),
        ended => Ok(ended?),
    }
}
