//! The platform of the benchmark: a plugin that nobody stands behind. It reports messages as the run wants them, and
//! notes when their answers come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use broca_core::{DeliveryError, Incoming, MessageId, Profile, Receipt, Response, Sender};
use broca_plugin::{Context, Manifest, Parts, Plugin, PluginError, PluginState};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use super::stage::INSTANCE;

/// About what a chat message is; the agent sees some more.
pub(super) const TEXT: &str = "The quick brown fox jumps over the lazy dog and then asks the agent what it thinks of \
                               that, at some length, as people do when they write to somebody who has time for them.";

/// When messages are reported.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// As soon as fewer than this many are on their way.
    InFlight(usize),
    /// This many a second.
    PerSecond(u32),
    /// All at once; nobody waits for answers.
    AtOnce,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) messages: usize,
    pub(super) people: usize,
    pub(super) pace: Pace,
    /// Makes event ids and people differ between runs.
    pub(super) run: u32,
}

/// A clone is the same plugin: the run keeps one, the host another.
#[derive(Clone, Debug)]
pub(super) struct LoadPlugin(Arc<State>);

#[derive(Debug)]
struct State {
    load: Load,
    room: Semaphore,
    reported: Mutex<HashMap<String, Instant>>,
    latencies: Mutex<Vec<Duration>>,
    delivered: watch::Sender<usize>,
}

impl LoadPlugin {
    pub(super) fn new(load: Load) -> Self {
        let room = match load.pace {
            Pace::InFlight(room) => room,
            Pace::PerSecond(_) | Pace::AtOnce => Semaphore::MAX_PERMITS,
        };
        Self(Arc::new(State {
            load,
            room: Semaphore::new(room),
            reported: Mutex::default(),
            latencies: Mutex::default(),
            delivered: watch::Sender::new(0),
        }))
    }

    pub(super) fn delivered(&self) -> watch::Receiver<usize> {
        self.0.delivered.subscribe()
    }

    pub(super) fn latencies(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.0.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn event(&self, number: usize) -> Incoming {
        let (run, person) = (self.0.load.run, number % self.0.load.people);
        let event_id = format!("{run}-{number}");
        Incoming {
            attributes: serde_json::json!({"event": event_id}),
            event_id,
            sender: Sender { platform_user_id: format!("{run}-{person}"), ..Sender::default() },
            text: TEXT.to_owned(),
            ..Incoming::default()
        }
    }
}

/// Reports under way at once in runs that do not wait for answers.
const REPORTS: usize = 2_000;

#[async_trait]
impl Plugin for LoadPlugin {
    fn manifest(&self) -> Manifest {
        Manifest::new(INSTANCE, "1")
    }

    async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        ctx.report(PluginState::Connected);
        let reports = TaskTracker::new();
        let under_way = Arc::new(Semaphore::new(REPORTS));
        let failed = |_| PluginError::Platform("the load was ended".to_owned());
        let mut timer = match self.0.load.pace {
            Pace::PerSecond(rate) => Some(tokio::time::interval(Duration::from_secs(1) / rate)),
            Pace::InFlight(_) | Pace::AtOnce => None,
        };
        for number in 0..self.0.load.messages {
            if let Some(timer) = &mut timer {
                timer.tick().await;
            }
            self.0.room.acquire().await.map_err(failed)?.forget();
            let slot = under_way.clone().acquire_owned().await.map_err(failed)?;
            let (this, ctx) = (self.clone(), ctx.clone());
            reports.spawn(async move {
                let event = this.event(number);
                this.0
                    .reported
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(event.event_id.clone(), Instant::now());
                if let Err(error) = ctx.ingest(event).await {
                    tracing::error!(%error, "the benchmark's message was not accepted");
                }
                drop(slot);
            });
        }
        ctx.shutdown.cancelled().await;
        Ok(())
    }

    async fn deliver(
        &self,
        response: &Response,
        _profile: &Profile,
        message: MessageId,
        _parts: &Parts,
    ) -> Result<Receipt, DeliveryError> {
        let event = response.attributes["event"].as_str().unwrap_or_default();
        let reported = self.0.reported.lock().unwrap_or_else(PoisonError::into_inner).remove(event);
        if let Some(reported) = reported {
            self.0.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(reported.elapsed());
        }
        self.0.room.add_permits(usize::from(matches!(self.0.load.pace, Pace::InFlight(_))));
        self.0.delivered.send_modify(|count| *count += 1);
        Ok(Receipt::of(message.to_string()))
    }
}
