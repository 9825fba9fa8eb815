//! A pipeline in memory: it remembers what was reported and in what order.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use broca_core::{Incoming, Instance, Limits, MessageId};
use broca_plugin::{
    Context, HistoryEntry, HostError, Ingest, IngestError, Ingested, MessageStatus, PluginState, StateSink, host,
};
use broca_plugin_demo::DemoPlugin;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::DEADLINE;

#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    by_event: HashMap<String, MessageId>,
    /// What was accepted, in order.
    pub(crate) accepted: Vec<Incoming>,
    pub(crate) duplicates: usize,
    pub(crate) refused: usize,
    /// The next reports that are not accepted.
    pub(crate) unavailable: usize,
    pub(crate) states: Vec<PluginState>,
}

impl Pipeline {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.lock().accepted.iter().map(|incoming| incoming.text.clone()).collect()
    }

    /// Waits until `met`.
    pub(crate) async fn until(&self, met: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if met(&self.lock()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("stuck at {:?}", self.lock()));
    }
}

#[async_trait]
impl Ingest for Pipeline {
    async fn ingest(&self, _: &Instance, platform: &str, incoming: Incoming) -> Result<Ingested, IngestError> {
        assert_eq!(platform, "demo");
        let mut state = self.lock();
        let result = if state.unavailable > 0 {
            state.unavailable -= 1;
            Err(IngestError::Unavailable("the database is away".into()))
        } else {
            match incoming.checked(&Limits::default()) {
                Err(refusal) => {
                    state.refused += 1;
                    Err(refusal.into())
                }
                Ok(incoming) => Ok(match state.by_event.get(&incoming.event_id).copied() {
                    Some(known) => {
                        state.duplicates += 1;
                        Ingested::Duplicate(known)
                    }
                    None => {
                        let id = MessageId::new();
                        state.by_event.insert(incoming.event_id.clone(), id);
                        state.accepted.push(incoming);
                        Ingested::New(id)
                    }
                }),
            }
        };
        drop(state);
        self.changed.notify_waiters();
        result
    }

    async fn status(&self, _: &Instance, _: MessageId) -> Result<Option<MessageStatus>, IngestError> {
        Ok(None)
    }

    async fn history(&self, _: &str, _: &str, _: u32) -> Result<Vec<HistoryEntry>, IngestError> {
        Ok(Vec::new())
    }
}

impl StateSink for Pipeline {
    fn report(&self, _: &Instance, state: PluginState) {
        self.lock().states.push(state);
        self.changed.notify_waiters();
    }
}

#[derive(Debug)]
pub(crate) struct Running {
    shutdown: CancellationToken,
    hosted: JoinHandle<Result<(), HostError>>,
}

impl Running {
    pub(crate) fn start(plugin: Arc<DemoPlugin>, pipeline: &Arc<Pipeline>) -> Self {
        let shutdown = CancellationToken::new();
        let (ingest, states) = (pipeline.clone(), pipeline.clone());
        let ctx = Context::new("demo".parse().unwrap(), "demo".into(), shutdown.clone(), ingest, states);
        let hosted = tokio::spawn(host(plugin, ctx, std::time::Duration::from_secs(2)));
        Self { shutdown, hosted }
    }

    /// Stops it; a plugin that hangs in a long poll fails here.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.hosted.await.unwrap().unwrap();
    }

    /// Ends it where it stands, as a killed process ends.
    pub(crate) async fn kill(self) {
        self.hosted.abort();
        assert!(self.hosted.await.unwrap_err().is_cancelled());
    }
}
