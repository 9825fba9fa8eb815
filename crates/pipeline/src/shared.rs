//! What all wakes of one worker process share, and how they write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use broca_bus::Bus;
use broca_core::{WorkerId, route::Routes};
use broca_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Agents,
    events::Events,
    held::{Held, HeldSet},
    modes::LiveModes,
    pacing::Pacing,
    relay::Relay,
    sweep::SweepOptions,
    typing::Typist,
    yielded::Yielded,
};

#[derive(Clone, Copy, Debug)]
pub struct WorkerOptions {
    /// Conversations held at once.
    pub slots: usize,
    /// How long a silent worker keeps its conversations. Not longer than the consumer's ack_wait.
    pub lease_ttl: Duration,
    /// How long a shutdown waits for turns under way.
    pub drain: Duration,
    /// After this many messages of one conversation, the others get their turn.
    pub yield_after_messages: u32,
    /// Likewise, after this long.
    pub yield_after: Duration,
    pub sweep: SweepOptions,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            slots: 1_000,
            lease_ttl: Duration::from_secs(25),
            drain: Duration::from_secs(20),
            yield_after_messages: 64,
            yield_after: Duration::from_secs(60),
            sweep: SweepOptions::default(),
        }
    }
}

/// A worker process, as its wakes see it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) store: Store,
    pub(crate) agents: Agents,
    pub(crate) routes: Arc<Routes>,
    pub(crate) options: WorkerOptions,
    pub(crate) bus: Bus,
    pub(crate) relay: Relay,
    pub(crate) held: HeldSet,
    pub(crate) yielded: Yielded,
    pub(crate) pacing: Pacing,
    pub(crate) modes: LiveModes,
    pub(crate) events: Events,
    pub(crate) typist: Typist,
    /// Somebody may want a turn stopped.
    pub(crate) look_now: Notify,
    /// Windows whose end is waited for.
    pub(crate) windows: Arc<AtomicUsize>,
    /// The machine that it runs on.
    pub(crate) host: String,
    /// The last sign of life could not be given.
    pub(crate) silent: AtomicBool,
    /// Begin nothing new.
    pub(crate) draining: CancellationToken,
    /// The drain time is over: let go of what still runs.
    pub(crate) stopping: CancellationToken,
}

impl Worker {
    /// Repeats a write until the database has taken or refused it; `None` when the lease is lost meanwhile, or when
    /// the process must end: the lease then runs out and a successor asks the agent what became of the turn.
    pub(crate) async fn persist<T, F, R>(&self, held: &Held, write: F) -> Option<T>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = Duration::from_millis(50);
        loop {
            match write().await {
                Ok(written) => return Some(written),
                Err(error) if error.is_transient() => tracing::warn!(%error, "not written, tried again"),
                Err(error) => {
                    tracing::error!(%error, conversation = %held.conversation, "refused by the database");
                    return None;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
                () = held.lost.cancelled() => return None,
                () = self.stopping.cancelled() => return None,
            }
        }
    }
}

/// What an operator did to a message since its page was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It was taken out of the queue: the next one's turn.
    LeftQueue,
    /// It does not stand with the others any more: the queue is to be read again.
    Changed,
    /// It is on hold and stands in the way of what is behind it: the queue is to be read again.
    KeptBack,
}

/// A message that an operator took away is no failure of the write: there is nothing to be written any more.
pub(crate) fn unless_gone<T>(written: Result<T, StoreError>) -> Result<Result<T, Gone>, StoreError> {
    match written {
        Err(StoreError::LeftQueue(message)) => {
            tracing::info!(message_id = %message, "taken out of its queue, passed over");
            Ok(Err(Gone::LeftQueue))
        }
        Err(StoreError::KeptBack(message)) => {
            tracing::info!(message_id = %message, "put on hold, not begun");
            Ok(Err(Gone::KeptBack))
        }
        Err(StoreError::QueueChanged(conversation)) => {
            tracing::info!(%conversation, "what was to be said together has changed, gathered anew");
            Ok(Err(Gone::Changed))
        }
        written => written.map(Ok),
    }
}
