//! A plugin process: one platform account, its messages in and its answers out.

use std::{sync::Arc, time::Duration};

use broca_bus::{Bus, Consumer};
use broca_core::{AttachmentPolicy, EventType, Instance, Limits, WorkerId, route::Routes, subject};
use broca_plugin::{Blueprint, Context, HostError, Plugin, PluginState};
use broca_store::Store;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    PipelineError,
    account::{Tenant, host_alone},
    admission::{AccessOptions, Doorkeeper},
    commands::CommandOptions,
    deliver::{self, Deliverer, DeliveryOptions},
    delivering::DeliveringSet,
    events::{EventOptions, Events},
    files::Files,
    hearing,
    ingest::Ingestor,
    live_settings::LiveSettings,
    meter::{self, OneMore},
    relay::Relay,
    states::States,
};

/// What a plugin process works with. It has no `Debug`: settings may hold secrets.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "settings may hold secrets")]
pub struct PluginDeps {
    pub store: Store,
    pub bus: Bus,
    /// What the instance runs.
    pub blueprint: Blueprint,
    /// Its settings, as files, environment and defaults have them; what is set at run time is laid over them.
    pub settings: Value,
    pub instance: Instance,
    pub routes: Arc<Routes>,
    pub limits: Limits,
    pub attachments: AttachmentPolicy,
    pub access: AccessOptions,
    pub commands: CommandOptions,
    pub options: DeliveryOptions,
    pub events: EventOptions,
    /// Cancelled once the plugin has said how it stands: it talks to its platform, waits for its account, or fails.
    pub settled: CancellationToken,
}

/// How long a plugin may take to return once told to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// An account is kept for at least so long: a busy database is no reason to stop talking to a platform, and a process
/// that was killed is succeeded at once on its machine.
const ACCOUNT_TTL: Duration = Duration::from_secs(15);

/// Runs the plugin until `shutdown`: first its deliveries end, then the plugin itself. Settings that change meanwhile
/// are applied to it, or another one runs in its place.
///
/// # Errors
/// When it cannot begin (no such consumer, no database, unfit settings), or when the plugin cannot go on.
pub async fn run(deps: PluginDeps, shutdown: CancellationToken) -> Result<(), PipelineError> {
    let PluginDeps { store, bus, blueprint, settings, instance, routes, limits, .. } = deps;
    let PluginDeps { attachments, access, commands, options, events, settled, .. } = deps;
    store.check_migrated().await?;
    let platform = blueprint.manifest().platform.clone();
    // Whose manifest says nothing of attachments has no bucket either.
    let carries = blueprint.manifest().capabilities.attachments;
    let attachments = if carries { attachments } else { AttachmentPolicy { enabled: false, ..attachments } };
    meter::plugin_begins(&instance, &platform, options.slots);
    let events = Events::start(&bus, events);
    let states = Arc::new(States::new(instance.clone(), platform.clone(), events.clone()));
    let mut standing = states.watch();
    tokio::spawn(async move {
        if standing.wait_for(|state| *state != PluginState::Connecting).await.is_ok() {
            settled.cancel();
        }
    });
    let process = WorkerId::unique(&subject::outgoing_consumer(&instance));
    let began = LiveSettings::begin((&bus, &store), &instance, process, (blueprint, settings), states.clone()).await;
    let (mut live, mut plugin) = began?;
    let relay = Relay::new(store.clone(), bus.clone());
    let doorkeeper = Arc::new(Doorkeeper::new(store.clone(), access));
    let events_too = events.clone();
    let files = Files { bus: bus.clone(), policy: attachments };
    let limited = Ingestor {
        store: store.clone(),
        relay: relay.clone(),
        routes,
        limits,
        events: events_too,
        doorkeeper,
        files,
        commands,
    };
    let account = Account { store, bus, instance, platform, options, ingest: Arc::new(limited), states, events };
    let ended = loop {
        let round = shutdown.child_token();
        let mut serving = Box::pin(account.serve(plugin.clone(), round.clone()));
        let ended = tokio::select! {
            ended = &mut serving => ended,
            next = live.next(&plugin) => {
                round.cancel();
                if let Err(error) = serving.await {
                    tracing::warn!(%error, "the plugin did not stop well; the next one begins");
                }
                plugin = next;
                continue;
            }
        };
        match &ended {
            Err(PipelineError::Host(error)) if !shutdown.is_cancelled() => {
                account.failed(error);
                let Some(instead) = live.did_not_run(&error.to_string()).await else { break ended };
                plugin = instead;
            }
            _ => break ended,
        }
    };
    live.take_leave().await;
    relay.drain().await;
    account.events.finish().await;
    ended
}

/// One platform account, whichever plugin serves it.
struct Account {
    store: Store,
    bus: Bus,
    instance: Instance,
    platform: String,
    options: DeliveryOptions,
    ingest: Arc<Ingestor>,
    states: Arc<States>,
    events: Events,
}

impl Account {
    /// Runs one plugin until `shutdown`, or until it cannot go on.
    async fn serve(&self, plugin: Arc<dyn Plugin>, shutdown: CancellationToken) -> Result<(), PipelineError> {
        let consumer_name = subject::outgoing_consumer(&self.instance);
        let consumer = self.bus.consumer(subject::STREAM_OUT, &consumer_name, self.options.slots).await?;
        let stop_plugin = CancellationToken::new();
        let (instance, platform) = (self.instance.clone(), self.platform.clone());
        let ctx = Context::new(instance, platform, stop_plugin.clone(), self.ingest.clone(), self.states.clone());
        let ctx = ctx.with_events(Arc::new(self.events.clone()));
        let draining = shutdown.child_token();
        let process = WorkerId::unique(&consumer_name);
        let tenant =
            Tenant { store: self.store.clone(), owner: process.clone(), ttl: self.options.lease_ttl.max(ACCOUNT_TTL) };
        let deliverer = Arc::new(Deliverer {
            host: process,
            store: self.store.clone(),
            plugin: plugin.clone(),
            instance: self.instance.clone(),
            events: self.events.clone(),
            options: self.options,
            under_way: DeliveringSet::default(),
            draining: draining.clone(),
        });
        // Dropped with this round: the next plugin hears for itself.
        let _hearing = hearing::start(&self.bus, &plugin, &self.instance).await?;

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
        ended.unwrap_or(Err(HostError::Panicked.into()))
    }

    fn failed(&self, error: &HostError) {
        self.events.tell(EventType::Error, &self.instance, json!({"what": error.to_string()}));
    }
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
