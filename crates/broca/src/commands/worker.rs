//! `broca worker`: one worker process.

use broca_admin::janitor::Janitor;
use broca_core::{WorkerId, metric::Role};
use broca_pipeline::worker::{self, WorkerDeps};

use crate::{
    agents, app::App, cli::ModeFlag, failure::Failure, monitoring::Monitor, supervisor::announce_ready, traces::Traces,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What logs and leases call it; a unique suffix is added
    #[arg(long, default_value = "worker")]
    name: String,
    #[command(flatten)]
    pub(crate) mode: ModeFlag,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let agents = agents::configured(&app.config.settings)?;
    let monitor = Monitor::start(app, Role::Worker, &args.name).await?;
    let _traces = Traces::start(&app.config.settings.traces, Role::Worker, &args.name)?;
    let store = app.store().await?;
    store.check_migrated().await?;
    let bus = app.bus(&args.name).await?;
    monitor.works_with(&store, &bus);
    let id = WorkerId::unique(&args.name);
    let (routes, options, events, host) = (app.routes(), app.worker_options(), app.event_options(), host());
    let typing = app.config.settings.events.typing;
    let deps = WorkerDeps { store, bus, agents, routes, options, events, typing, id, host };
    announce_ready(monitor.address);
    let known = deps.agents.clone();
    let janitor = Janitor::new(deps.store.clone(), deps.id.clone(), app.janitor_options(), monitor.on_duty.clone());
    let shutdown = &app.shutdown.begin;
    let (ended, (), ()) = tokio::join!(worker::run(deps, shutdown.clone()), janitor.run(shutdown.clone()), async {
        // Nothing hangs on it: a turn of an agent that is away is tried again.
        for agent in agents::ask(&app.config.settings, &known).await {
            agent.log();
        }
    });
    Ok(ended?)
}

/// What this machine calls itself.
fn host() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "unknown".to_owned())
}
