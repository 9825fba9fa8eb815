//! Picks up what a crash or an outage left lying. Takes no input, is idempotent, and may run in every worker:
//! the rows say what is due, and taking a conversation moves its next sweep.

use std::time::Duration;

use broca_store::{Settled, Store, StoreError};
use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::{
    crash::{CrashPoint, point},
    meter,
    mutate::{self, Protection},
    relay::Relay,
};

#[derive(Clone, Copy, Debug)]
pub struct SweepOptions {
    pub interval: Duration,
    /// How long a wake or an outbox row is left to whoever made it.
    pub grace: Duration,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), grace: Duration::from_secs(5) }
    }
}

const PAGE: u32 = 500;
const AT_ONCE: usize = 64;

/// Sweeps on a timer until `shutdown`.
pub(crate) async fn run(store: Store, relay: Relay, options: SweepOptions, shutdown: CancellationToken) {
    if mutate::is_off(Protection::Sweep) {
        return;
    }
    let mut timer = tokio::time::interval(options.interval);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = once(&store, &relay, options.grace).await {
            tracing::warn!(%error, "sweep cut short, the next one goes on");
        }
    }
}

/// One pass over everything that is due.
async fn once(store: &Store, relay: &Relay, grace: Duration) -> Result<(), StoreError> {
    loop {
        let due = store.wake_due(PAGE, grace).await?;
        let full = due.len() >= PAGE as usize;
        let woken = each(due, |wake| relay.publish_swept(wake)).await;
        meter::swept(woken, 0);
        if woken > 0 {
            tracing::info!(woken, "conversations woken by the sweep");
        }
        if !full {
            break;
        }
    }
    settle_holds(store).await?;
    // One page a pass: what could not be published stays, and must not be asked for again at once.
    let owed = store.outbox_due(grace, PAGE).await?;
    let republished = each(owed, |owed| relay.publish(owed)).await;
    meter::swept(0, republished);
    if republished > 0 {
        tracing::info!(republished, "owed publishes made by the sweep");
    }
    Ok(())
}

/// Brings back what ended holds took out of the queues, a bounded number of conversations a pass.
async fn settle_holds(store: &Store) -> Result<(), StoreError> {
    let mut returned = 0;
    for hold in store.ended_holds(PAGE).await? {
        for _ in 0..PAGE {
            match store.settle_hold(hold).await? {
                Settled::Step { messages } => {
                    point(CrashPoint::HoldStep);
                    returned += messages;
                }
                Settled::Over => {
                    tracing::info!(%hold, returned, "hold over");
                    break;
                }
                // Another worker is at it.
                Settled::Busy | Settled::Active | Settled::Unknown => break,
            }
        }
    }
    Ok(())
}

/// How many went well; the first failure is logged, the others are the same one.
async fn each<T, F, R, E>(items: Vec<T>, publish: F) -> usize
where
    F: Fn(T) -> R,
    R: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut results = stream::iter(items.into_iter().map(publish)).buffer_unordered(AT_ONCE);
    let (mut good, mut failed) = (0, false);
    while let Some(result) = results.next().await {
        match result {
            Ok(()) => good += 1,
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(%error, "the sweep could not publish");
            }
            Err(_) => {}
        }
    }
    good
}
