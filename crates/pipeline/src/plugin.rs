//! A plugin process: one platform account, its messages in and its answers out.

use std::{sync::Arc, time::Duration};

use broca_bus::{Bus, Consumer};
use broca_core::{Instance, Limits, WorkerId, route::Routes, subject};
use broca_plugin::{Context, Plugin, PluginState, StateSink};
use broca_store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    PipelineError,
    account::{Tenant, host_alone},
    deliver::{self, Deliverer, DeliveryOptions},
    delivering::DeliveringSet,
    ingest::Ingestor,
    meter::{self, OneMore},
    relay::Relay,
};

/// What a plugin process works with.
#[derive(Clone, Debug)]
pub struct PluginDeps {
    pub store: Store,
    pub bus: Bus,
    pub plugin: Arc<dyn Plugin>,
    pub instance: Instance,
    pub routes: Arc<Routes>,
    pub limits: Limits,
    pub options: DeliveryOptions,
}

/// How long a plugin may take to return once told to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Runs the plugin until `shutdown`: first its deliveries end, then the plugin itself.
///
/// # Errors
/// When it cannot begin (no such consumer, no database), or when the plugin cannot go on.
pub async fn run(deps: PluginDeps, shutdown: CancellationToken) -> Result<(), PipelineError> {
    let PluginDeps { store, bus, plugin, instance, routes, limits, options } = deps;
    store.check_migrated().await?;
    let consumer_name = subject::outgoing_consumer(&instance);
    let consumer = bus.consumer(subject::STREAM_OUT, &consumer_name, options.slots).await?;
    let relay = Relay::new(store.clone(), bus);
    let ingest = Arc::new(Ingestor { store: store.clone(), relay: relay.clone(), routes, limits });
    let platform = plugin.manifest().platform;
    meter::plugin_begins(&instance, &platform, options.slots);
    let stop_plugin = CancellationToken::new();
    let states = Arc::new(LoggedStates { platform: platform.clone() });
    let ctx = Context::new(instance.clone(), platform, stop_plugin.clone(), ingest, states);
    let draining = shutdown.child_token();
    let host = WorkerId::unique(&consumer_name);
    let tenant = Tenant { store: store.clone(), owner: host.clone(), ttl: options.lease_ttl };
    let deliverer = Arc::new(Deliverer {
        host,
        store,
        plugin: plugin.clone(),
        instance,
        options,
        under_way: DeliveringSet::default(),
        draining: draining.clone(),
    });

    let mut hosted = tokio::spawn(async move { host_alone(plugin, ctx, STOP_GRACE, &tenant).await });
    let delivering = tokio::spawn(deliveries(deliverer, consumer));
    let ended = tokio::select! {
        ended = &mut hosted => Some(ended),
        () = shutdown.cancelled() => None,
    };
    draining.cancel();
    if let Err(error) = delivering.await {
        tracing::error!(%error, "the delivery loop ended badly");
    }
    stop_plugin.cancel();
    let ended = match ended {
        Some(ended) => ended,
        None => hosted.await,
    };
    relay.drain().await;
    ended.unwrap_or(Err(broca_plugin::HostError::Panicked.into()))
}

/// Takes answers from the broker and from the sweep until draining, then lets those under way end.
async fn deliveries(deliverer: Arc<Deliverer>, mut consumer: Consumer) {
    let tasks = TaskTracker::new();
    let background = CancellationToken::new();
    let heartbeat = tokio::spawn(heartbeat(deliverer.clone(), background.clone()));
    let sweep = tokio::spawn(deliver::sweep(deliverer.clone(), tasks.clone()));
    while let Some(job) = consumer.next(&deliverer.draining).await {
        let deliverer = deliverer.clone();
        // Bounded: every job carries one of the consumer's slots.
        tasks.spawn(async move {
            let _used = OneMore::slot_used();
            deliver::answer(&deliverer, job).await;
        });
    }
    if let Err(error) = sweep.await {
        tracing::error!(%error, "the delivery sweep ended badly");
    }
    tasks.close();
    if tokio::time::timeout(deliverer.options.drain, tasks.wait()).await.is_err() {
        tracing::warn!(under_way = tasks.len(), "deliveries did not end in time; a successor asks the platform");
    }
    background.cancel();
    if let Err(error) = heartbeat.await {
        tracing::error!(%error, "the delivery heartbeat ended badly");
    }
}

async fn heartbeat(deliverer: Arc<Deliverer>, stop: CancellationToken) {
    let ttl = deliverer.options.lease_ttl;
    let mut timer = tokio::time::interval(ttl / 3);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => deliverer.under_way.heartbeat(&deliverer.store, &deliverer.host, ttl).await,
            () = stop.cancelled() => return,
        }
    }
}

/// States go to the log and into the metrics.
#[derive(Debug)]
struct LoggedStates {
    platform: String,
}

impl StateSink for LoggedStates {
    fn report(&self, instance: &Instance, state: PluginState) {
        meter::plugin_is(instance, &self.platform, &state);
        match state {
            PluginState::Degraded { detail } => tracing::warn!(%instance, detail, "plugin degraded"),
            PluginState::BadCredentials { detail } => tracing::error!(%instance, detail, "plugin has bad credentials"),
            state => tracing::info!(%instance, ?state, "plugin"),
        }
    }
}
