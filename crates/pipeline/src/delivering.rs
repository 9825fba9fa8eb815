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
    entries: Arc<Mutex<HashMap<ResponseId, Option<ProgressHandle>>>>,
}

/// One answer under way; let go of when dropped.
#[derive(Debug)]
pub(crate) struct Delivering {
    response: ResponseId,
    set: DeliveringSet,
}

impl Drop for Delivering {
    fn drop(&mut self) {
        self.set.with(|entries| entries.remove(&self.response));
    }
}

impl DeliveringSet {
    pub(crate) fn begin(&self, response: ResponseId, wake: Option<ProgressHandle>) -> Delivering {
        self.with(|entries| entries.insert(response, wake));
        Delivering { response, set: self.clone() }
    }

    pub(crate) async fn heartbeat(&self, store: &Store, host: &WorkerId, ttl: Duration) {
        let (responses, wakes): (Vec<_>, Vec<_>) =
            self.with(|entries| entries.iter().map(|(id, wake)| (*id, wake.clone())).unzip());
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

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<ResponseId, Option<ProgressHandle>>) -> T) -> T {
        change(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
