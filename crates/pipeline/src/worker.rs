//! A worker process: any number of them share one consumer, and each conversation is held by one of them.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use broca_bus::Bus;
use broca_core::{WorkerId, route::Routes, subject};
use broca_store::Store;
use tokio::{
    sync::Notify,
    time::{Interval, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::shared::WorkerOptions;
use crate::{
    Agents, PipelineError,
    events::{EventOptions, Events},
    held::HeldSet,
    leftovers,
    meter::{self, OneMore},
    modes::{Follower, LiveModes},
    pacing::{Pacing, slots, vitals},
    relay::Relay,
    shared::Worker,
    stopping, sweep,
    typing::Typist,
    work,
    yielded::Yielded,
};

/// What a worker works with.
#[derive(Clone, Debug)]
pub struct WorkerDeps {
    pub store: Store,
    pub bus: Bus,
    pub agents: Agents,
    pub routes: Arc<Routes>,
    pub options: WorkerOptions,
    pub events: EventOptions,
    /// Whether plugins are told that an agent works on an answer.
    pub typing: bool,
    pub id: WorkerId,
    /// The machine that it runs on, for people who look for it.
    pub host: String,
}

/// Works until `shutdown`, then drains.
///
/// # Errors
/// Only when it cannot begin: no such consumer, no database. What goes wrong later is retried.
pub async fn run(deps: WorkerDeps, shutdown: CancellationToken) -> Result<(), PipelineError> {
    let WorkerDeps { store, bus, agents, routes, options, events, typing, id, host } = deps;
    store.check_migrated().await?;
    let modes = LiveModes::default();
    let follower = Follower::begin(&bus, &store, &id, &modes).await;
    let mut consumer = bus.consumer(subject::STREAM_IN, subject::CONSUMER_WORKERS, options.slots).await?;
    meter::worker_begins(&agents, options.slots);
    let worker = Arc::new(Worker {
        events: Events::start(&bus, events),
        typist: Typist::new(bus.clone(), typing),
        modes,
        relay: Relay::new(store.clone(), bus.clone()),
        bus,
        id,
        store,
        agents,
        routes,
        options,
        held: HeldSet::default(),
        yielded: Yielded::default(),
        pacing: Pacing::default(),
        look_now: Notify::new(),
        windows: Arc::default(),
        host,
        silent: AtomicBool::new(false),
        draining: shutdown.clone(),
        stopping: CancellationToken::new(),
    });
    let background = CancellationToken::new();
    let renewal = tokio::spawn(renew(worker.clone(), background.clone()));
    let stops = tokio::spawn(stopping::watch(worker.clone(), background.clone()));
    let vitals = tokio::spawn(give_signs(worker.clone(), background.clone()));
    let sweep = tokio::spawn(sweep::run(worker.store.clone(), worker.relay.clone(), options.sweep, shutdown.clone()));
    let leftovers = tokio::spawn(leftovers::run(worker.clone(), shutdown.clone()));
    let modes = tokio::spawn(follow_modes(follower, worker.clone(), background.clone()));
    tracing::info!(worker = %worker.id, slots = options.slots, "working");

    let wakes = TaskTracker::new();
    while let Some(job) = consumer.next(&shutdown).await {
        let worker = worker.clone();
        // Bounded: every job carries one of the consumer's slots.
        wakes.spawn(async move {
            let _used = OneMore::slot_used();
            work::wake(&worker, job).await;
        });
    }
    wakes.close();
    drain(&worker, &wakes).await;
    background.cancel();
    for task in [renewal, stops, vitals, sweep, leftovers, modes] {
        if let Err(error) = task.await {
            tracing::error!(%error, "a background task of the worker ended badly");
        }
    }
    worker.relay.drain().await;
    vitals::take_leave(&worker).await;
    worker.events.finish().await;
    tracing::info!(worker = %worker.id, "stopped");
    Ok(())
}

/// Lets turns under way end; those that do not are handed over, and go on at the agent.
async fn drain(worker: &Worker, wakes: &TaskTracker) {
    tracing::info!(under_way = wakes.len(), "draining");
    if tokio::time::timeout(worker.options.drain, wakes.wait()).await.is_err() {
        tracing::info!(under_way = wakes.len(), "drain time is over, turns under way are handed over");
        worker.stopping.cancel();
        wakes.wait().await;
    }
}

async fn follow_modes(follower: Follower, worker: Arc<Worker>, stop: CancellationToken) {
    follower.run(&worker.modes, stop).await;
}

/// Renews the leases, and does nothing else: a lease that waits behind another write is lost on a busy database.
async fn renew(worker: Arc<Worker>, stop: CancellationToken) {
    let mut timer = every(worker.options.lease_ttl / 3);
    while stop.run_until_cancelled(timer.tick()).await.is_some() {
        worker.held.heartbeat(&worker.store, &worker.id, worker.options.lease_ttl).await;
    }
}

async fn give_signs(worker: Arc<Worker>, stop: CancellationToken) {
    let mut timer = every(worker.options.lease_ttl / 3);
    let mut refill = every(worker.options.sweep.interval);
    loop {
        tokio::select! {
            _ = timer.tick() => vitals::give_sign(&worker).await,
            _ = refill.tick() => slots::refill(&worker, &worker.pacing).await,
            () = stop.cancelled() => return,
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut timer = tokio::time::interval(period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}
