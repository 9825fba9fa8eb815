//! The conversations that this worker holds: renewed together, told when they are lost.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use broca_bus::ProgressHandle;
use broca_core::{ConversationId, TurnId, WorkerId};
use broca_store::Store;
use tokio_util::sync::CancellationToken;

use crate::{
    meter::{self, OneMore},
    mutate::{self, Protection},
    stopping::UnderWay,
};

/// All leases of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldSet {
    entries: Arc<Mutex<HashMap<ConversationId, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    epoch: i64,
    wake: ProgressHandle,
    lost: CancellationToken,
    seen: Arc<Seen>,
    turn: Arc<UnderWay>,
}

/// How far the running turn's events were read; noted with the next heartbeat.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    turn: Mutex<Option<TurnId>>,
    seq: AtomicI64,
}

impl Seen {
    pub(crate) fn note(&self, turn: TurnId, seq: i64) {
        *lock(&self.turn) = Some(turn);
        self.seq.fetch_max(seq, Ordering::Relaxed);
    }

    fn take(&self) -> Option<(TurnId, i64)> {
        let turn = lock(&self.turn).take()?;
        Some((turn, self.seq.swap(0, Ordering::Relaxed)))
    }
}

/// One held conversation; let go of when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) conversation: ConversationId,
    pub(crate) epoch: i64,
    /// Set when somebody else has the conversation: stop, write nothing.
    pub(crate) lost: CancellationToken,
    pub(crate) seen: Arc<Seen>,
    pub(crate) turn: Arc<UnderWay>,
    set: HeldSet,
    _counted: OneMore,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut entries = lock(&self.set.entries);
        // This process may have claimed it anew, under a later epoch.
        if entries.get(&self.conversation).is_some_and(|e| e.epoch == self.epoch) {
            entries.remove(&self.conversation);
        }
    }
}

impl Held {
    /// Somebody else has the conversation.
    pub(crate) fn lose(&self) {
        cancel(&self.lost, self.conversation, self.epoch);
    }
}

/// The one place where the loss of a lease is told: whether a write, the agent's stream or the heartbeat found out.
fn cancel(lost: &CancellationToken, conversation: ConversationId, epoch: i64) {
    if !lost.is_cancelled() {
        tracing::warn!(%conversation, epoch, "lease lost to another worker, nothing more is written under it");
        meter::lease_lost();
    }
    if !mutate::is_off(Protection::Fence) {
        lost.cancel();
    }
}

impl HeldSet {
    pub(crate) fn hold(&self, conversation: ConversationId, epoch: i64, wake: ProgressHandle) -> Held {
        let lost = CancellationToken::new();
        let (seen, turn) = (Arc::new(Seen::default()), Arc::new(UnderWay::default()));
        let entry = Entry { epoch, wake, lost: lost.clone(), seen: seen.clone(), turn: turn.clone() };
        lock(&self.entries).insert(conversation, entry);
        Held { conversation, epoch, lost, seen, turn, set: self.clone(), _counted: OneMore::lease_held() }
    }

    pub(crate) fn under_way(&self) -> Vec<(ConversationId, Arc<UnderWay>)> {
        lock(&self.entries).iter().map(|(id, e)| (*id, e.turn.clone())).collect()
    }

    pub(crate) fn turn_of(&self, conversation: ConversationId) -> Option<Arc<UnderWay>> {
        lock(&self.entries).get(&conversation).map(|e| e.turn.clone())
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.entries).len()
    }

    /// Renews every lease in one statement and tells the broker that every wake is still worked on.
    pub(crate) async fn heartbeat(&self, store: &Store, worker: &WorkerId, ttl: Duration) {
        let (leases, seen, wakes) = self.snapshot();
        if leases.is_empty() {
            return;
        }
        match store.renew(worker, &leases, &seen, ttl).await {
            Ok(lost) => self.lose(&lost, &leases),
            // The fence in the database decides whether what comes later still counts.
            Err(error) => tracing::warn!(%error, held = leases.len(), "leases not renewed"),
        }
        for wake in wakes {
            if let Err(error) = wake.progress().await {
                tracing::debug!(%error, "no progress ack; a redelivered wake finds the lease and is harmless");
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "three columns of one table, taken under one lock")]
    fn snapshot(&self) -> (Vec<(ConversationId, i64)>, Vec<(TurnId, i64)>, Vec<ProgressHandle>) {
        let entries = lock(&self.entries);
        let leases = entries.iter().map(|(id, e)| (*id, e.epoch)).collect();
        let seen = entries.values().filter_map(|e| e.seen.take()).collect();
        let wakes = entries.values().map(|e| e.wake.clone()).collect();
        (leases, seen, wakes)
    }

    fn lose(&self, lost: &[ConversationId], renewed: &[(ConversationId, i64)]) {
        let entries = lock(&self.entries);
        for (conversation, epoch) in renewed.iter().filter(|(id, _)| lost.contains(id)) {
            if let Some(entry) = entries.get(conversation).filter(|e| e.epoch == *epoch) {
                cancel(&entry.lost, *conversation, *epoch);
            }
        }
    }
}

/// A panic elsewhere leaves these maps whole: every change to them is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
