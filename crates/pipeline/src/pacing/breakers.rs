//! The breakers of the agents' endpoints, as this worker knows them, and what it tells of them.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use broca_core::{
    Timestamp,
    agent::{Failure, FailureClass},
    breaker::{Breaker, BreakerState, Turned},
};
use broca_store::{EndpointSign, EndpointStep, EndpointStepped, Parked, Unpark};

use super::lock;
use crate::{agents::NamedAgent, meter, shared::Worker};

/// A conversation that finds somebody else's probe under way looks again after this.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// How long the endpoint may take to say that it is there, before a turn is risked on it.
const HEALTH_PATIENCE: Duration = Duration::from_secs(5);
/// What waited for an endpoint comes back one after the other, so long apart, and all of it within so long.
const APART: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Breakers {
    /// Those that failed since they last answered; all others are closed.
    known: Mutex<HashMap<String, Known>>,
    /// The endpoints whose one turn this worker has.
    probes: Mutex<HashSet<String>>,
}

#[derive(Clone, Debug)]
struct Known {
    breaker: Breaker,
    /// The database's time when it was read, and our own.
    now: Timestamp,
    read: Instant,
}

impl Known {
    fn now(&self) -> Timestamp {
        self.now.after(self.read.elapsed())
    }
}

/// Whether a turn may begin, as far as this worker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Free,
    /// Not before then, which is so far away.
    Wait {
        until: Timestamp,
        left: Duration,
    },
    /// One turn may be let through; the database says whose.
    Due,
}

/// Whether a turn may begin, as the database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Free,
    /// It is the one that is let through.
    Probe,
    Wait {
        until: Timestamp,
        left: Duration,
    },
}

impl Breakers {
    /// What the last sign of life brought: every endpoint that is not in it is closed.
    pub(super) fn hear(&self, now: Timestamp, endpoints: Vec<broca_store::Endpoint>) {
        let mut known = lock(&self.known);
        // What this worker did itself since then is newer.
        known.retain(|endpoint, known| {
            meter::breaker_is(endpoint, BreakerState::Closed);
            known.now > now
        });
        for endpoint in endpoints {
            let read = Known { breaker: endpoint.breaker, now, read: Instant::now() };
            known.entry(endpoint.endpoint).or_insert(read);
        }
        for (endpoint, known) in known.iter() {
            meter::breaker_is(endpoint, known.breaker.state);
        }
    }

    pub(super) fn probes(&self) -> Vec<String> {
        lock(&self.probes).iter().cloned().collect()
    }

    pub(super) fn look(&self, named: &NamedAgent) -> Look {
        let Some(endpoint) = guarded(named) else { return Look::Free };
        let known = lock(&self.known).get(endpoint).cloned();
        let Some(known) = known else { return Look::Free };
        let (now, breaker) = (known.now(), &known.breaker);
        let until = match breaker.state {
            BreakerState::Closed => return Look::Free,
            BreakerState::Open => breaker.open_until,
            BreakerState::HalfOpen => breaker.probe_until.min(now.after(PROBE_PAUSE)),
        };
        if until > now { Look::Wait { until, left: until.since(now) } } else { Look::Due }
    }

    /// Asks for the one turn that is let through, and the endpoint whether it is there at all: no attempt is risked on
    /// one that is not.
    pub(super) async fn enter(&self, worker: &Worker, named: &NamedAgent) -> Entry {
        match (self.look(named), guarded(named)) {
            (Look::Free, _) | (_, None) => Entry::Free,
            (Look::Wait { until, left }, _) => Entry::Wait { until, left },
            (Look::Due, Some(endpoint)) => self.claim(worker, named, endpoint).await,
        }
    }

    async fn claim(&self, worker: &Worker, named: &NamedAgent, endpoint: &str) -> Entry {
        let claim = EndpointSign::Claim { ttl: worker.options.lease_ttl };
        match self.step(worker, endpoint, claim).await {
            // Without the database nothing can begin anyway.
            None => return Entry::Wait { until: Timestamp::default(), left: PROBE_PAUSE },
            Some(stepped) if stepped.claimed => {}
            Some(_) => {
                return match self.look(named) {
                    Look::Free => Entry::Free,
                    Look::Wait { until, left } => Entry::Wait { until, left },
                    Look::Due => Entry::Wait { until: Timestamp::default(), left: PROBE_PAUSE },
                };
            }
        }
        lock(&self.probes).insert(endpoint.to_owned());
        let health = tokio::time::timeout(HEALTH_PATIENCE, named.agent.probe()).await;
        let absent = match health {
            Ok(Err(failure)) if failure.class == FailureClass::Unavailable => failure,
            Err(_) => Failure::new(FailureClass::Timeout, format!("no sign of health within {HEALTH_PATIENCE:?}")),
            Ok(Ok(_) | Err(_)) => return Entry::Probe,
        };
        self.failed(worker, named, absent).await;
        match self.look(named) {
            Look::Wait { until, left } => Entry::Wait { until, left },
            Look::Free | Look::Due => Entry::Wait { until: Timestamp::default(), left: PROBE_PAUSE },
        }
    }

    /// Nobody was there.
    pub(super) async fn failed(&self, worker: &Worker, named: &NamedAgent, failure: Failure) {
        let Some(endpoint) = guarded(named) else { return };
        let policy = named.limits.breaker;
        let reason = failure.reason.clone();
        let stepped = self.step(worker, endpoint, EndpointSign::Failed { failure, policy }).await;
        lock(&self.probes).remove(endpoint);
        let Some(EndpointStepped { breaker, turned, .. }) = stepped else { return };
        match turned {
            Some(Turned::Opened) => {
                meter::breaker_opened(endpoint);
                tracing::error!(
                    endpoint,
                    failures = breaker.failures,
                    reason,
                    "the agent's endpoint is not asked for now; its messages wait"
                );
            }
            Some(Turned::Reopened) => {
                tracing::debug!(endpoint, openings = breaker.openings, "the agent's endpoint is still away");
                self.unpark(worker, endpoint, breaker.open_until).await;
            }
            Some(Turned::Closed) | None => {}
        }
    }

    /// It answered, whatever it said. Asks the database only when that is news.
    pub(super) async fn answered(&self, worker: &Worker, named: &NamedAgent) {
        let Some(endpoint) = guarded(named) else { return };
        let known = lock(&self.known).get(endpoint).map(|known| known.breaker.state);
        let is_probe = lock(&self.probes).contains(endpoint);
        // While it is open, the ends of turns from before say nothing.
        if !is_probe && known != Some(BreakerState::Closed) {
            return;
        }
        let stepped = self.step(worker, endpoint, EndpointSign::Answered).await;
        lock(&self.probes).remove(endpoint);
        if let Some(EndpointStepped { turned: Some(Turned::Closed), .. }) = stepped {
            tracing::info!(endpoint, "the agent's endpoint answers again; its messages come back");
            self.unpark(worker, endpoint, Timestamp::default()).await;
        }
    }

    /// The turn that was let through ended without telling anything.
    pub(super) async fn give_back(&self, worker: &Worker, named: &NamedAgent) {
        let Some(endpoint) = guarded(named) else { return };
        if lock(&self.probes).remove(endpoint) {
            self.step(worker, endpoint, EndpointSign::GiveBack).await;
        }
    }

    async fn step(&self, worker: &Worker, endpoint: &str, what: EndpointSign) -> Option<EndpointStepped> {
        let step = EndpointStep { endpoint: endpoint.to_owned(), worker: worker.id.clone(), what };
        match worker.store.endpoint_step(step).await {
            Ok(stepped) => {
                self.learn(endpoint, &stepped);
                Some(stepped)
            }
            Err(error) => {
                tracing::warn!(endpoint, %error, "the state of the agent's endpoint was not recorded");
                None
            }
        }
    }

    fn learn(&self, endpoint: &str, stepped: &EndpointStepped) {
        let mut known = lock(&self.known);
        if known.get(endpoint).is_some_and(|known| known.now > stepped.now) {
            return;
        }
        meter::breaker_is(endpoint, stepped.breaker.state);
        let read = Known { breaker: stepped.breaker.clone(), now: stepped.now, read: Instant::now() };
        known.insert(endpoint.to_owned(), read);
    }

    /// What waits for the endpoint comes back from then on.
    async fn unpark(&self, worker: &Worker, endpoint: &str, from: Timestamp) {
        let agents = worker.agents.at(endpoint);
        let wish = Unpark { what_for: Parked::Endpoint, agents, at_most: u32::MAX, from, apart: APART, within: WITHIN };
        if let Err(error) = worker.store.unpark(wish).await {
            tracing::warn!(endpoint, %error, "what waits for the agent's endpoint comes back in its own time");
        }
    }
}

/// How much later a conversation comes back than its endpoint may be asked again, when many wait: one of them finds out
/// whether it is there, and the others are told.
pub(super) fn spread(waiting: i64, share: f64) -> Duration {
    let apart = APART.saturating_mul(u32::try_from(waiting).unwrap_or(0));
    apart.min(WITHIN).mul_f64(share)
}

/// The endpoint of an agent that has a breaker.
fn guarded(named: &NamedAgent) -> Option<&str> {
    named.agent.endpoint().filter(|_| named.limits.breaker.failures > 0)
}
