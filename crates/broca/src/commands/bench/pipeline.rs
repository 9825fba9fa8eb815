//! The whole pipeline: this process is the plugin, one worker is a process of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use broca_pipeline::{
    commands::CommandOptions,
    deliver::DeliveryOptions,
    plugin::{self, PluginDeps},
};
use broca_plugin::{Blueprint, Plugin, SettingsSchema};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Args,
    cpu::{self, resident_bytes},
    load::{Load, LoadPlugin, Pace},
    report::Row,
    stage::{Stage, instance, pid},
};
use crate::{
    app::App,
    failure::{Blame, Code, Failure},
    supervisor::Group,
};

/// A run that makes no progress for this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many messages a second, with `in_flight` of them on their way.
pub(super) async fn throughput(app: &App, stage: &Stage, args: &Args) -> Result<Row, Failure> {
    let worker = stage.worker(&[("BROCA_MODE", "echo"), ("BROCA_WORKER__SLOTS", "4000")]).await?;
    // Warm: connections, plans, caches.
    let warm = Load { messages: args.messages / 10, people: args.people, pace: Pace::InFlight(args.in_flight), run: 1 };
    play(app, stage, &worker, warm, "").await?;
    let load = Load { messages: args.messages, run: 2, ..warm };
    let row = play(app, stage, &worker, load, "pipeline: throughput").await;
    worker.stop(Duration::from_secs(20), &app.shutdown.now).await;
    row
}

/// How long one message takes, at a rate that leaves the machine idle.
pub(super) async fn latency(app: &App, stage: &Stage, args: &Args) -> Result<Row, Failure> {
    let worker = stage.worker(&[("BROCA_MODE", "echo")]).await?;
    let messages = (args.rate * args.seconds) as usize;
    let load = Load { messages, people: args.people, pace: Pace::PerSecond(args.rate), run: 3 };
    let row = play(app, stage, &worker, load, "pipeline: latency").await;
    worker.stop(Duration::from_secs(20), &app.shutdown.now).await;
    row
}

/// What a worker's memory is with this many turns in flight.
pub(super) async fn memory(app: &App, stage: &Stage, args: &Args) -> Result<Row, Failure> {
    let slots = (args.turns + args.turns / 5).to_string();
    let worker = stage
        .worker(&[
            ("BROCA_MODE", "live"),
            ("BROCA_AGENTS__DEFAULT__KIND", "echo"),
            ("BROCA_AGENTS__DEFAULT__DELAY_MS", "60000"),
            ("BROCA_WORKER__SLOTS", &slots),
            ("BROCA_WORKER__DRAIN_MS", "0"),
        ])
        .await?;
    let load = LoadPlugin::new(Load { messages: args.turns, people: args.turns, pace: Pace::AtOnce, run: 4 });
    let running = host(app, stage, load)?;
    let all = i64::try_from(args.turns).unwrap_or(i64::MAX);
    let started = Instant::now();
    while stage.store.turns_under_way().await? < all {
        if started.elapsed() > PATIENCE {
            return Err(Failure::new(Code::Unavailable, "the turns did not all start in time"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let bytes = pid(&worker).map_or(0, resident_bytes);
    running.stop().await?;
    worker.stop(Duration::from_secs(60), &app.shutdown.now).await;
    let row = Row::new(stage.name, "pipeline: turns in flight", args.turns);
    Ok(Row { resident_mib: Some(bytes as f64 / f64::from(1 << 20)), ..row })
}

/// Plays a load to its last delivery.
async fn play(app: &App, stage: &Stage, worker: &Group, load: Load, run: &'static str) -> Result<Row, Failure> {
    let plugin = LoadPlugin::new(load);
    let mut delivered = plugin.delivered();
    let before = stage.roles(Some(worker)).used();
    let started = Instant::now();
    let running = host(app, stage, plugin.clone())?;
    while *delivered.borrow() < load.messages {
        let moved = tokio::time::timeout(PATIENCE, delivered.changed()).await;
        moved.blame(Code::Unavailable, format!("{run}: nothing moved for {PATIENCE:?}"))?.blame(Code::Failure, run)?;
    }
    let elapsed = started.elapsed();
    let used = cpu::since(&before, &stage.roles(Some(worker)).used());
    running.stop().await?;
    Ok(Row::new(stage.name, run, load.messages).took(elapsed).latencies(plugin.latencies()).cpu(used))
}

/// The plugin process's work, in this process.
struct Hosted {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), broca_pipeline::PipelineError>>,
}

impl Hosted {
    async fn stop(self) -> Result<(), Failure> {
        self.shutdown.cancel();
        Ok(self.task.await.blame(Code::Failure, "the benchmark's plugin")??)
    }
}

fn host(app: &App, stage: &Stage, plugin: LoadPlugin) -> Result<Hosted, Failure> {
    let plugin: Arc<dyn Plugin> = Arc::new(plugin);
    let (manifest, schema) = (plugin.manifest(), SettingsSchema::none());
    let blueprint = Blueprint::with_schema(manifest, schema, move |_| Ok(plugin.clone()));
    let deps = PluginDeps {
        commands: CommandOptions::default(),
        store: stage.store.clone(),
        bus: stage.bus.clone(),
        blueprint,
        settings: serde_json::json!({}),
        instance: instance()?,
        routes: app.routes(),
        limits: app.config.settings.limits,
        attachments: app.attachments(&instance()?),
        access: app.access_options(&instance()?),
        options: DeliveryOptions { slots: 4_000, ..app.delivery_options() },
        events: app.event_options(),
        settled: CancellationToken::new(),
    };
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(plugin::run(deps, shutdown.clone()));
    Ok(Hosted { shutdown, task })
}
