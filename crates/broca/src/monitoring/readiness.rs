//! Whether this process can do its work at this moment, and if not, why.

use std::{
    sync::{OnceLock, RwLock, RwLockReadGuard},
    time::Duration,
};

use broca_bus::Bus;
use broca_store::Store;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::run_file::ProcessEntry;

/// Whoever asks gives up soon, too.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Readiness {
    stopping: CancellationToken,
    servers: OnceLock<(Store, Bus)>,
    children: RwLock<Vec<ProcessEntry>>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    pub(super) ready: bool,
    problems: Vec<String>,
}

impl Readiness {
    pub(super) fn new(stopping: CancellationToken) -> Self {
        Self { stopping, servers: OnceLock::new(), children: RwLock::default() }
    }

    pub(super) fn works_with(&self, store: Store, bus: Bus) {
        if self.servers.set((store, bus)).is_err() {
            tracing::error!("a process said twice what it works with; the first answer stands");
        }
    }

    pub(super) fn children_are(&self, children: Vec<ProcessEntry>) {
        *self.children.write().unwrap_or_else(std::sync::PoisonError::into_inner) = children;
    }

    pub(super) fn children(&self) -> RwLockReadGuard<'_, Vec<ProcessEntry>> {
        self.children.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) async fn ask(&self) -> Ready {
        let mut problems = Vec::new();
        if self.stopping.is_cancelled() {
            problems.push("it is stopping".to_owned());
        }
        let down = self
            .children()
            .iter()
            .filter(|child| !child.ready)
            .map(|child| format!("{} is not ready", child.name))
            .collect::<Vec<_>>();
        let has_children = !self.children().is_empty();
        problems.extend(down);
        match self.servers.get() {
            Some((store, bus)) => problems.extend(servers(store, bus).await),
            None if has_children => {}
            None => problems.push("it is starting".to_owned()),
        }
        Ready { ready: problems.is_empty(), problems }
    }
}

async fn servers(store: &Store, bus: &Bus) -> Vec<String> {
    let database = match tokio::time::timeout(PATIENCE, store.check_migrated()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("the database did not answer within {PATIENCE:?}")),
    };
    let broker = (!bus.is_connected()).then(|| "the connection to NATS is lost".to_owned());
    database.into_iter().chain(broker).collect()
}
