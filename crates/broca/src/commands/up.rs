//! `broca up`: everything on one machine, each part as a process of its own.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use broca_bus::Bus;
use broca_core::{Instance, metric::Role, route::Mode};
use tokio::signal::unix::{SignalKind, signal};

use super::nats::{apply_options, apply_when_able};
use crate::{
    agents,
    app::App,
    cli::ModeFlag,
    config::PluginEntry,
    embedded::{DataDir, NatsServer},
    failure::{Code, Failure},
    manager::{PluginSpec, Plugins},
    monitoring::{Monitor, child_address},
    reload::{self, Reloaded},
    run_file::{NatsAddress, ProcessEntry, RunFile},
    supervisor::{ChildSpec, Group, Lines, Output},
    wiring::sqlite_url,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Worker processes [default: 2]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    #[command(flatten)]
    pub(crate) mode: ModeFlag,
}

/// How long the first start of a process may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nats-server may take to write everything down.
const NATS_STOP_GRACE: Duration = Duration::from_secs(15);

pub(crate) async fn run(app: &App, _args: &Args) -> Result<(), Failure> {
    let data_dir = DataDir::take(&app.config.settings.data_dir)?;
    let mut running = Running::default();
    let monitor = Monitor::start(app, Role::Up, "up").await?;
    let started = app.shutdown.begin.run_until_cancelled(start(app, data_dir.path(), &monitor, &mut running)).await;
    let result = match started {
        Some(Ok(file)) => watch(app, data_dir.path(), &monitor, &mut running, file).await,
        Some(Err(failure)) => Err(failure),
        None => Ok(()),
    };
    tracing::info!("stopping");
    running.stop(app).await;
    RunFile::remove(data_dir.path())?;
    result
}

/// What was started so far, in the reverse order of its end.
#[derive(Debug, Default)]
struct Running {
    nats: Option<Group>,
    workers: Option<Group>,
    plugins: Option<Plugins>,
    bus: Option<Bus>,
}

impl Running {
    /// First nothing new comes in, then what is under way ends, then the broker goes.
    async fn stop(&mut self, app: &App) {
        let settings = &app.config.settings;
        let now = &app.shutdown.now;
        if let Some(plugins) = self.plugins.take() {
            plugins.stop(grace(app, settings.delivery.drain_ms), now).await;
        }
        if let Some(workers) = self.workers.take() {
            workers.stop(grace(app, settings.worker.drain_ms), now).await;
        }
        if let Some(nats) = self.nats.take() {
            nats.stop(NATS_STOP_GRACE, now).await;
        }
    }

    fn processes(&self) -> Vec<ProcessEntry> {
        let groups = [&self.nats, &self.workers].into_iter().flatten().flat_map(Group::processes);
        groups.chain(self.plugins.iter().flat_map(Plugins::processes)).collect()
    }

    /// Resolves when something about one of the processes changed.
    async fn changed(&mut self) {
        async fn some<T, F: Future<Output = ()>>(part: Option<T>, changed: impl FnOnce(T) -> F) {
            match part {
                Some(part) => changed(part).await,
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = some(self.nats.as_mut(), Group::changed) => {}
            () = some(self.workers.as_mut(), Group::changed) => {}
            () = some(self.plugins.as_mut(), Plugins::changed) => {}
        }
    }
}

/// How long a process may take to stop.
fn grace(app: &App, drain_ms: u64) -> Duration {
    Duration::from_millis(drain_ms.saturating_add(app.config.settings.up.stop_grace_ms))
}

/// Starts everything in order, and says so when it works.
async fn start(app: &App, data_dir: &Path, monitor: &Monitor, running: &mut Running) -> Result<RunFile, Failure> {
    let settings = &app.config.settings;
    let asked = agents::ask(settings, &agents::configured(settings)?).await;
    asked.iter().try_for_each(agents::Asked::check)?;
    let lines = Lines::shared(settings.log.format);
    let (address, broker) = match &settings.nats.url {
        Some(url) => (NatsAddress { url: url.expose().to_owned(), login: None }, None),
        None => {
            let server = NatsServer::prepare(data_dir, settings.nats.server.as_deref())?;
            let nats = running.nats.insert(Group::start([server.child()], lines));
            nats.ready(PATIENCE).await.map_err(|error| {
                Failure::new(Code::Unavailable, error.to_string()).hint("is the data folder's disk full or read-only?")
            })?;
            (server.address.clone(), Some(server))
        }
    };
    let database_url = match &settings.database.url {
        Some(url) => url.expose().to_owned(),
        None => sqlite_url(data_dir)?,
    };
    let bus = prepare(app, &address, &database_url).await?;
    running.bus = Some(bus.clone());

    let env = whole_env(app, data_dir, monitor, &address, &database_url);
    running.workers = Some(Group::start(workers(app, &env)?, lines));
    let plugin_grace = grace(app, settings.delivery.drain_ms);
    let specs = plugins(app, data_dir, &env)?;
    running.plugins = Some(Plugins::start(&Arc::new(app.clone()), &bus, specs, lines, plugin_grace));
    let wanted = wait_until_ready(running).await?;

    let file = RunFile {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: settings.effective_mode(),
        nats: address,
        database_url,
        metrics: monitor.address,
        processes: running.processes(),
        reloaded: None,
    };
    file.write(data_dir)?;
    monitor.children_are(&file.processes);
    say_ready(app, &file, broker.as_ref(), &asked, &wanted)?;
    Ok(file)
}

fn whole_env(
    app: &App,
    data_dir: &Path,
    monitor: &Monitor,
    address: &NatsAddress,
    database_url: &str,
) -> Vec<(String, String)> {
    let mut env = children_env(app, data_dir, address, database_url);
    env.extend(monitor.address.map(|own| ("BROCA_METRICS__LISTEN".to_owned(), child_address(own).to_string())));
    env
}

/// Reads the settings anew, and has workers and plugins started anew with them, one after the other.
async fn reload(
    app: &App,
    data_dir: &Path,
    monitor: &Monitor,
    running: &mut Running,
    file: &RunFile,
) -> Result<(), Failure> {
    let app = reload::read_again(app)?;
    let env = whole_env(&app, data_dir, monitor, &file.nats, &file.database_url);
    if let Some(group) = &mut running.workers {
        let grace = grace(&app, app.config.settings.worker.drain_ms);
        let renewed = group.renew(workers(&app, &env)?, grace, PATIENCE, &app.shutdown.begin).await;
        renewed.map_err(|error| Failure::new(Code::Unavailable, error.to_string()).hint("the log says why"))?;
    }
    let (Some(plugins), Some(bus)) = (&running.plugins, &running.bus) else { return Ok(()) };
    let wanted = plugins.wanted();
    let restarted = reload::restart_plugins(bus, &wanted);
    app.shutdown.begin.run_until_cancelled(restarted).await.unwrap_or(Ok(()))
}

/// Keeps the run file true until the shutdown begins.
async fn watch(
    app: &App,
    data_dir: &Path,
    monitor: &Monitor,
    running: &mut Running,
    mut file: RunFile,
) -> Result<(), Failure> {
    let mut asked = signal(SignalKind::user_defined1())?;
    loop {
        let processes = running.processes();
        if file.processes != processes {
            monitor.children_are(&processes);
            file.processes = processes;
            file.write(data_dir)?;
        }
        tokio::select! {
            () = running.changed() => {}
            _ = asked.recv() => {
                tracing::info!("reading the settings anew");
                let problem = reload(app, data_dir, monitor, running, &file).await.err().map(|failure| reload::told(&failure));
                match &problem {
                    None => tracing::info!("the settings are in force"),
                    Some(problem) => tracing::error!(problem, "the settings are not in force everywhere"),
                }
                let number = file.reloaded.map_or(1, |before| before.number + 1);
                file.reloaded = Some(Reloaded { number, problem });
                file.processes = running.processes();
                file.write(data_dir)?;
            }
            () = app.shutdown.begin.cancelled() => return Ok(()),
        }
    }
}

/// Brings database and broker up to date.
async fn prepare(app: &App, address: &NatsAddress, database_url: &str) -> Result<Bus, Failure> {
    let bus = app.bus_at(address, "up").await?;
    let store = app.store_at(database_url).await?;
    let applied = store.migrate().await?;
    if !applied.is_empty() {
        tracing::info!(migrations = applied.join(", "), "database brought up to date");
    }
    let changes = apply_when_able(&broca_bus::Topology::embedded()?, &bus, &apply_options(app)).await?;
    for change in changes.iter().filter(|change| !change.is_unchanged()) {
        if change.is_refused() {
            tracing::warn!("{change}");
        } else {
            tracing::info!("{change}");
        }
    }
    for why in app.kinds().skipped {
        tracing::error!("a plugin is skipped: {why}");
    }
    Ok(bus)
}

/// Workers must come up; a plugin that does not is reported and restarted, and harms nobody else.
async fn wait_until_ready(running: &mut Running) -> Result<Vec<Instance>, Failure> {
    if let Some(workers) = &mut running.workers {
        let ready = workers.ready(PATIENCE).await;
        ready.map_err(|error| Failure::new(Code::Unavailable, error.to_string()).hint("the log above says why"))?;
    }
    let Some(plugins) = &mut running.plugins else { return Ok(Vec::new()) };
    plugins.settled(PATIENCE).await;
    Ok(plugins.wanted())
}

fn workers(app: &App, env: &[(String, String)]) -> Result<Vec<ChildSpec>, Failure> {
    (1..=app.config.settings.up.workers)
        .map(|number| {
            let name = format!("worker-{number}");
            child(app, &name, &["worker", "--name", &name], env)
        })
        .collect()
}

fn plugins(app: &App, data_dir: &Path, env: &[(String, String)]) -> Result<Vec<PluginSpec>, Failure> {
    let spec = |(name, entry): (&Instance, &PluginEntry)| {
        let child = child(app, name.as_str(), &["plugin", "run", name.as_str()], env)?;
        // One process serves an account at a time, also while a predecessor is still stopping.
        let child = ChildSpec { lock: Some(data_dir.join(format!("plugin-{name}.lock"))), ..child };
        Ok(PluginSpec { instance: name.clone(), enabled: entry.enabled, child })
    };
    app.config.settings.plugins.iter().map(spec).collect()
}

fn child(app: &App, name: &str, args: &[&str], env: &[(String, String)]) -> Result<ChildSpec, Failure> {
    let mut args: Vec<OsString> = args.iter().map(OsString::from).collect();
    if let Some(file) = &app.config.file {
        args.extend(["--config".into(), file.into()]);
    }
    let program: PathBuf = std::env::current_exe()?;
    Ok(ChildSpec { name: name.to_owned(), program, args, env: env.to_vec(), output: Output::Ours, lock: None })
}

/// What the children must be told beside the settings file and the environment, which they read themselves: the
/// flags of this process, and the servers that it started. Nothing of it is on a command line, where others see it.
fn children_env(app: &App, data_dir: &Path, address: &NatsAddress, database_url: &str) -> Vec<(String, String)> {
    let mut env = app.config.flags_as_env();
    let settings = &app.config.settings;
    let mode = match settings.effective_mode() {
        Mode::Echo => "echo",
        Mode::Listen => "listen",
        Mode::Live => "live",
    };
    let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.to_owned()));
    set("BROCA_DATA_DIR", &data_dir.display().to_string());
    set("BROCA_MODE", mode);
    if settings.nats.url.is_none() {
        set("BROCA_NATS__URL", &address.url);
    }
    if let Some(login) = &address.login {
        set("BROCA_NATS__USER", &login.user);
        set("BROCA_NATS__PASSWORD", &login.password);
    }
    if settings.database.url.is_none() {
        set("BROCA_DATABASE__URL", database_url);
    }
    env
}

fn say_ready(
    app: &App,
    file: &RunFile,
    broker: Option<&NatsServer>,
    asked: &[agents::Asked],
    plugins: &[Instance],
) -> Result<(), Failure> {
    let settings = &app.config.settings;
    let mut shown = serde_json::to_value(file).map_err(anyhow::Error::from)?;
    shown["nats"] = file.nats.url.clone().into();
    shown["database_url"] =
        settings.database.url.as_ref().map_or_else(|| file.database_url.clone(), ToString::to_string).into();
    app.output.result(&serde_json::json!({"ready": shown}), || {
        let broker = match (broker, &settings.nats.url) {
            (Some(server), _) => format!("NATS {} on {}", server.version, file.nats.url),
            (None, Some(url)) => format!("NATS at {url}"),
            (None, None) => String::new(),
        };
        let database = match &settings.database.url {
            Some(url) => url.to_string(),
            None => format!("SQLite in {}", settings.data_dir.display()),
        };
        let plugins: Vec<String> = plugins.iter().map(ToString::to_string).collect();
        let plugins = if plugins.is_empty() { "none".to_owned() } else { plugins.join(", ") };
        let parts = format!("plugins: {plugins}, {broker}, {database}");
        ready_text(app, &parts, file.metrics, asked)
    })
}

fn ready_text(app: &App, parts: &str, metrics: Option<SocketAddr>, asked: &[agents::Asked]) -> String {
    let settings = &app.config.settings;
    let mode = settings.effective_mode();
    let folder = match app.config.source_of("data_dir").as_str() {
        "default" => String::new(),
        _ => format!(" --data-dir {}", settings.data_dir.display()),
    };
    let mut lines = vec![
        format!(
            "Broca is ready: {}, {parts}",
            if settings.up.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", settings.up.workers) },
        ),
        match mode {
            Mode::Echo => "  mode     echo: every message is answered with itself".to_owned(),
            Mode::Listen => "  mode     listen: messages are stored, nobody answers".to_owned(),
            Mode::Live => "  mode     live: agents answer".to_owned(),
        },
    ];
    lines.extend(asked.iter().map(|agent| format!("  agent    {agent}")));
    let me = program();
    lines.push(format!("  chat     {me} chat --as alice{folder}    (in another terminal)"));
    lines.push(format!("  look     {me} status{folder}"));
    lines.extend(
        metrics
            .map(|address| format!("  metrics  http://{address}/metrics, of each process: http://{address}/targets")),
    );
    if mode == Mode::Echo {
        lines.push("  go live  set AGENT_ENDPOINT and AGENT_ID (and AGENT_API_KEY), or [agents.default] in broca.toml, and start again".to_owned());
    }
    lines.push("  stop     Ctrl-C".to_owned());
    lines.join("\n")
}

/// How this program was called, so that the commands shown can be typed where it was started.
fn program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_else(|| "broca".into());
    let here = std::env::current_dir().unwrap_or_default();
    called.strip_prefix(here).unwrap_or(&called).display().to_string()
}
