//! The modes that operators set at run time, as this worker knows them: the bucket's newest, or the last that were known.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use broca_bus::{Bus, Known, SettingsFeed};
use broca_core::{
    Clock, SystemClock, WorkerId,
    live::{ModeSubject, Modes, Written},
    route::{Mode, Resolved},
    subject::KEY_MODES,
};
use broca_store::{PendingMessage, SetMode, StartedTurn, Store};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{held::Held, shared::Worker};

/// How long a worker waits for the modes before it begins without them.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it says which it goes by.
const SIGN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct LiveModes(RwLock<Option<Arc<Modes>>>);

impl LiveModes {
    /// Lays what is set at run time over a route; says what it was set for, if it makes a difference.
    pub(crate) fn over(&self, route: &mut Resolved, message: &PendingMessage) -> Option<ModeSubject> {
        let modes = self.0.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (mode, of) = modes.of(&message.instance, &route.route, SystemClock.now())?;
        let makes_a_difference = std::mem::replace(&mut route.mode, mode) != mode;
        makes_a_difference.then_some(of)
    }

    fn replace(&self, modes: Modes) {
        let any = !modes.in_force(SystemClock.now()).is_empty();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = any.then(|| Arc::new(modes));
    }
}

/// How the mode of what is worked on came about.
#[derive(Debug, Default)]
pub(crate) struct InMode {
    /// What the mode was set for at run time, where that makes a difference.
    set: Option<ModeSubject>,
    /// The mode in which an open turn was begun, where it was not the configured one: it goes on in that, whatever is
    /// set by now.
    pub(crate) begun_in: Option<Mode>,
}

impl InMode {
    /// Gives the route the mode that holds now. What is begun stays as it was begun.
    pub(crate) async fn of(
        worker: &Worker,
        held: &Held,
        route: &mut Resolved,
        message: &PendingMessage,
        open: Option<&StartedTurn>,
    ) -> Self {
        let Some(open) = open else {
            return Self { set: worker.modes.over(route, message), begun_in: None };
        };
        let asked = || worker.store.mode_of_attempt(message.id, open.attempt);
        let begun_in = worker.persist(held, asked).await.flatten().and_then(|mode| mode.parse().ok());
        route.mode = begun_in.unwrap_or(route.mode);
        Self { set: None, begun_in }
    }

    /// Notes it in the journeys of messages that are not handled as configured; all others cost no statement here.
    pub(crate) async fn note(&self, worker: &Worker, held: &Held, messages: &[PendingMessage], route: &Resolved) {
        let Some(of) = &self.set else { return };
        for message in messages {
            let set = SetMode {
                message: message.id,
                conversation: held.conversation,
                epoch: held.epoch,
                worker: worker.id.clone(),
                attempt: message.attempts + 1,
                mode: route.mode.as_str(),
                of: of.to_string(),
            };
            tracing::debug!(message_id = %message.id, mode = %route.mode, %of, "handled in a mode that was set at run time");
            if worker.persist(held, || worker.store.note_mode(set.clone())).await == Some(false) {
                return held.lose();
            }
        }
    }
}

/// Keeps a worker's modes up to date.
pub(crate) struct Follower {
    store: Store,
    id: WorkerId,
    feed: SettingsFeed,
    /// In force.
    revision: u64,
    /// Known, whether it is in force or not.
    newest: u64,
    problem: Option<String>,
}

impl Follower {
    /// Reads the modes before the first message is worked on. A worker that cannot goes by the last that any had.
    pub(crate) async fn begin(bus: &Bus, store: &Store, id: &WorkerId, modes: &LiveModes) -> Self {
        let feed = bus.follow_setting(KEY_MODES);
        let mut follower = Self { store: store.clone(), id: id.clone(), feed, revision: 0, newest: 0, problem: None };
        let known = tokio::time::timeout(PATIENCE, follower.feed.first()).await.unwrap_or_default();
        if known.entry.is_none() {
            follower.remember(modes).await;
        }
        follower.take(known, modes).await;
        follower
    }

    pub(crate) async fn run(mut self, modes: &LiveModes, stop: CancellationToken) {
        let mut sign = tokio::time::interval(SIGN);
        sign.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                known = self.feed.changed() => self.take(known, modes).await,
                _ = sign.tick() => self.give_sign().await,
                () = stop.cancelled() => break,
            }
        }
        if let Err(error) = self.store.live_gone(KEY_MODES, &self.id).await {
            tracing::debug!(%error, "leave not taken; the sign runs out");
        }
    }

    async fn remember(&mut self, modes: &LiveModes) {
        match self.store.last_good(KEY_MODES).await {
            Ok(Some((revision, value))) => {
                if let Ok(last) = serde_json::from_value(value) {
                    modes.replace(last);
                    self.revision = revision;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the last known modes cannot be read; the configured ones hold"),
        }
    }

    async fn take(&mut self, known: Known, modes: &LiveModes) {
        let news = known.entry.filter(|entry| entry.revision != self.revision);
        let decoded = news.as_ref().map(|entry| match &entry.value {
            Some(bytes) => Written::<Modes>::decode(bytes).map(|written| written.value),
            None => Ok(Modes::default()),
        });
        self.newest = news.as_ref().map_or(self.revision, |entry| entry.revision);
        let was = self.problem.take();
        self.problem = known.trouble;
        match (news, decoded) {
            (Some(entry), Some(Ok(new))) => {
                self.revision = entry.revision;
                let kept = serde_json::to_value(&new).unwrap_or_default();
                modes.replace(new);
                tracing::info!(revision = entry.revision, "modes set at run time are in force");
                if let Err(error) = self.store.keep_good(KEY_MODES, entry.revision, kept).await {
                    tracing::warn!(%error, "modes not kept for workers that cannot read them");
                }
            }
            (Some(entry), Some(Err(why))) => {
                let problem = format!("revision {} is not gone by: {why}", entry.revision);
                if was.as_deref() != Some(problem.as_str()) {
                    tracing::error!(problem, "the modes in the bucket cannot be read; the last known hold");
                }
                self.problem = Some(problem);
            }
            _ => {}
        }
        self.give_sign().await;
    }

    async fn give_sign(&self) {
        let revisions = (self.revision, self.newest);
        let said = self.store.live_applied(KEY_MODES, &self.id, revisions, self.problem.as_deref()).await;
        if let Err(error) = said {
            tracing::debug!(%error, "not said which modes are gone by");
        }
    }
}
