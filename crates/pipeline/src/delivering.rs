//! The answers that this process is handing to its platform: their leases are renewed together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broca_bus::ProgressHandle;
use broca_core::{ResponseId, WorkerId};
use broca_store::Store;

#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveringSet {
    entries: Arc<Mutex<HashMap<ResponseId, Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// How many of this process's tasks have it in hand. Only one of them delivers.
    tasks: u32,
    wake: Option<ProgressHandle>,
}

/// One answer under way; let go of when dropped.
#[derive(Debug)]
pub(crate) struct Delivering {
    response: ResponseId,
    /// No other task of this process had it in hand when this one began.
    pub(crate) is_alone: bool,
    set: DeliveringSet,
}

impl Drop for Delivering {
    fn drop(&mut self) {
        self.set.with(|entries| {
            let left = entries.get_mut(&self.response).map_or(0, |entry| {
                entry.tasks -= 1;
                entry.tasks
            });
            if left == 0 {
                entries.remove(&self.response);
            }
        });
    }
}

impl DeliveringSet {
    pub(crate) fn begin(&self, response: ResponseId, wake: Option<ProgressHandle>) -> Delivering {
        let is_alone = self.with(|entries| {
            let entry = entries.entry(response).or_default();
            entry.tasks += 1;
            entry.wake = wake.or(entry.wake.take());
            entry.tasks == 1
        });
        Delivering { response, is_alone, set: self.clone() }
    }

    pub(crate) async fn heartbeat(&self, store: &Store, host: &WorkerId, ttl: Duration) {
        let (responses, wakes): (Vec<_>, Vec<_>) =
            self.with(|entries| entries.iter().map(|(id, entry)| (*id, entry.wake.clone())).unzip());
        if responses.is_empty() {
            return;
        }
        if let Err(error) = store.renew_deliveries(host, &responses, ttl).await {
            tracing::warn!(%error, under_way = responses.len(), "delivery leases not renewed");
        }
        for wake in wakes.into_iter().flatten() {
            if let Err(error) = wake.progress().await {
                tracing::debug!(%error, "no progress ack; a redelivered answer finds its state and is harmless");
            }
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<ResponseId, Entry>) -> T) -> T {
        change(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_task_of_a_process_is_alone_with_an_answer() {
        let set = DeliveringSet::default();
        let (response, other) = (ResponseId::new(), ResponseId::new());
        let first = set.begin(response, None);
        let second = set.begin(response, None);
        assert!(first.is_alone && !second.is_alone && set.begin(other, None).is_alone);
        drop(first);
        assert!(!set.begin(response, None).is_alone, "the second still has it in hand");
        drop(second);
        assert!(set.begin(response, None).is_alone);
    }
}
