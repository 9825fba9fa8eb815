//! What the stretches of a message's way count and time. Each function is one event, called where it is also logged.
//! Names and labels are those of [`broca_core::metric`]; a process that shows no metrics counts nothing.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use broca_core::{
    Answer, Instance, KeptFile, ResponseKind, TurnOutcome, Usage,
    breaker::BreakerState,
    metric::{self, Metric},
};
use broca_plugin::{IngestError, Ingested, PluginState};
use broca_store::{Claimed, DeliveryEnd, Dispatch, End, Finish, MessageEnd, OwedKind, Parked, PendingMessage};
use metrics::{counter, gauge, histogram};

use crate::Agents;

const REPORTS: [&str; 4] = ["accepted", "duplicate", "refused", "unavailable"];
const STATES: [&str; 8] = [
    "waiting_for_account",
    "connecting",
    "connected",
    "degraded",
    "bad_credentials",
    "misconfigured",
    "stopping",
    "stopped",
];
const WAKES: [&str; 7] = ["held", "busy", "parked", "idle", "unknown", "superseded", "failed"];

/// What never happened yet is zero, and not absent: an alert on a rise sees the first one, too.
pub(crate) fn plugin_begins(instance: &Instance, platform: &str, slots: usize) {
    for outcome in REPORTS {
        report(instance, platform, outcome, 0);
    }
    for outcome in ["kept", "not_kept", "described"] {
        file_is(instance, platform, outcome, 0);
    }
    for outcome in ["delivered", "retry", "dead", "unknown", "handed_back", "lease_lost"] {
        delivery(instance, platform, (outcome, ""), 0);
    }
    for each in [metric::INGEST, metric::DELIVERY, metric::DELIVERED] {
        drop(histogram!(each.name, "plugin" => instance.to_string(), "platform" => platform.to_owned()));
    }
    both_begin(slots);
}

/// A file that came with an accepted message.
pub(crate) fn came_with(instance: &Instance, platform: &str, file: &KeptFile) {
    let outcome = match (&file.object, &file.refused) {
        (Some(_), _) => "kept",
        (None, Some(_)) => "not_kept",
        (None, None) => "described",
    };
    file_is(instance, platform, outcome, 1);
}

fn file_is(instance: &Instance, platform: &str, outcome: &'static str, by: u64) {
    let (plugin, platform) = (instance.to_string(), platform.to_owned());
    counter!(metric::FILES.name, "plugin" => plugin, "platform" => platform, "outcome" => outcome).increment(by);
}

pub(crate) fn worker_begins(agents: &Agents, slots: usize) {
    let endpoints: BTreeSet<_> =
        agents.iter().filter_map(|(_, named)| named.agent.endpoint()).map(str::to_owned).collect();
    let agents = agents.iter().map(|(name, _)| name.to_owned());
    for outcome in WAKES {
        counter!(metric::WAKES.name, "outcome" => outcome).increment(0);
    }
    for agent in agents {
        counter!(metric::TURNS_STARTED.name, "agent" => agent.clone()).increment(0);
        for outcome in ["answered", "retry", "dead", "unknown", "lease_lost", "handed_over"] {
            counter!(metric::TURNS.name, "agent" => agent.clone(), "outcome" => outcome, "class" => "").increment(0);
        }
        for what_for in [Parked::Endpoint, Parked::Slot, Parked::Agent, Parked::Window] {
            counter!(metric::PARKED.name, "agent" => agent.clone(), "what_for" => what_for.as_str()).increment(0);
        }
        tokens(&agent, Usage::default());
        drop(histogram!(metric::SLOT_WAIT.name, "agent" => agent.clone()));
        drop(histogram!(metric::TURN.name, "agent" => agent));
    }
    for endpoint in endpoints {
        breaker_is(&endpoint, BreakerState::Closed);
        counter!(metric::BREAKER_OPENED.name, "endpoint" => endpoint).increment(0);
    }
    gauge!(metric::LEASES.name).set(0.0);
    for each in [metric::LEASES_LOST, metric::SWEPT_WAKES, metric::SWEPT_PUBLISHES] {
        counter!(each.name).increment(0);
    }
    both_begin(slots);
}

fn both_begin(slots: usize) {
    gauge!(metric::SLOTS.name).set(slots as f64);
    gauge!(metric::SLOTS_USED.name).set(0.0);
    for kind in ["wake", "response", "dead_letter", "sweep"] {
        for outcome in ["stored", "duplicate", "failed"] {
            counter!(metric::PUBLISHES.name, "kind" => kind, "outcome" => outcome).increment(0);
        }
    }
    drop(histogram!(metric::PUBLISH.name));
}

/// Counts in a gauge for as long as it lives.
#[derive(Debug)]
pub(crate) struct OneMore(Metric);

impl OneMore {
    pub(crate) fn slot_used() -> Self {
        Self::of(metric::SLOTS_USED)
    }

    pub(crate) fn lease_held() -> Self {
        Self::of(metric::LEASES)
    }

    fn of(metric: Metric) -> Self {
        gauge!(metric.name).increment(1.0);
        Self(metric)
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        gauge!(self.0.name).decrement(1.0);
    }
}

pub(crate) fn reported(instance: &Instance, platform: &str, started: Instant, outcome: &Result<Ingested, IngestError>) {
    let outcome = match outcome {
        Ok(Ingested::New(_)) => "accepted",
        Ok(Ingested::Duplicate(_)) => "duplicate",
        Ok(Ingested::Suppressed(..)) => "suppressed",
        Err(IngestError::Refused(_)) => "refused",
        Err(IngestError::Unavailable(_)) => "unavailable",
    };
    report(instance, platform, outcome, 1);
    histogram!(metric::INGEST.name, "plugin" => instance.to_string(), "platform" => platform.to_owned())
        .record(started.elapsed());
}

fn report(instance: &Instance, platform: &str, outcome: &'static str, count: u64) {
    let (plugin, platform) = (instance.to_string(), platform.to_owned());
    counter!(metric::MESSAGES.name, "plugin" => plugin, "platform" => platform, "outcome" => outcome).increment(count);
}

pub(crate) fn claimed<E>(claimed: &Result<Claimed, E>) {
    woken(match claimed {
        Ok(Claimed::Held(_)) => "held",
        Ok(Claimed::Busy) => "busy",
        Ok(Claimed::Parked { .. }) => "parked",
        Ok(Claimed::OnHold { .. }) => "on_hold",
        Ok(Claimed::Idle) => "idle",
        Ok(Claimed::Unknown) => "unknown",
        Err(_) => "failed",
    });
}

pub(crate) fn superseded() {
    woken("superseded");
}

fn woken(outcome: &'static str) {
    counter!(metric::WAKES.name, "outcome" => outcome).increment(1);
}

/// One turn, from the call of the agent on.
#[derive(Debug)]
pub(crate) struct Turn {
    agent: String,
    started: Instant,
}

impl Turn {
    pub(crate) fn begins(agent: &str) -> Self {
        counter!(metric::TURNS_STARTED.name, "agent" => agent.to_owned()).increment(1);
        Self { agent: agent.to_owned(), started: Instant::now() }
    }

    pub(crate) fn ends(self, outcome: &TurnOutcome) {
        if let TurnOutcome::Answered(Answer { usage: Some(usage), .. }) = outcome {
            tokens(&self.agent, *usage);
        }
        let (outcome, failure) = match outcome {
            TurnOutcome::Answered(_) => ("answered", None),
            TurnOutcome::Retry { failure, .. } => ("retry", Some(failure)),
            TurnOutcome::Dead(failure) | TurnOutcome::NoConversation(failure) => ("dead", Some(failure)),
            TurnOutcome::Unknown(failure) => ("unknown", Some(failure)),
        };
        histogram!(metric::TURN.name, "agent" => self.agent.clone()).record(self.started.elapsed());
        self.ends_as(outcome, failure.map_or("", |failure| failure.class.as_str()));
    }

    pub(crate) fn ends_stopped(self) {
        self.ends_as("stopped", "");
    }

    pub(crate) fn loses_its_lease(self) {
        self.ends_as("lease_lost", "");
    }

    pub(crate) fn goes_on_elsewhere(self) {
        self.ends_as("handed_over", "");
    }

    fn ends_as(self, outcome: &'static str, class: &'static str) {
        counter!(metric::TURNS.name, "agent" => self.agent, "outcome" => outcome, "class" => class).increment(1);
    }
}

fn tokens(agent: &str, usage: Usage) {
    for (kind, count) in [("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)] {
        let count = u64::try_from(count).unwrap_or(0);
        counter!(metric::TOKENS.name, "agent" => agent.to_owned(), "kind" => kind).increment(count);
    }
}

pub(crate) fn breaker_is(endpoint: &str, current: BreakerState) {
    for state in [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen] {
        gauge!(metric::BREAKER.name, "endpoint" => endpoint.to_owned(), "state" => state.as_str())
            .set(f64::from(state == current));
    }
}

pub(crate) fn breaker_opened(endpoint: &str) {
    counter!(metric::BREAKER_OPENED.name, "endpoint" => endpoint.to_owned()).increment(1);
}

pub(crate) fn parked(agent: &str, what_for: Parked) {
    counter!(metric::PARKED.name, "agent" => agent.to_owned(), "what_for" => what_for.as_str()).increment(1);
}

pub(crate) fn waited_for_slot(agent: &str, waited: Duration) {
    histogram!(metric::SLOT_WAIT.name, "agent" => agent.to_owned()).record(waited);
}

/// A message came to an end at the agent, or one attempt at it did.
pub(crate) fn ended(message: &PendingMessage, finish: &Finish) {
    let end = &finish.end;
    let outcome = match end {
        End::Answered { .. } => "completed",
        End::Stored => "stored",
        End::Failed { .. } => "failed",
        End::Retry { .. } => return,
    };
    if outcome == "failed" && finish.if_failed.notice.is_some() {
        noticed(message, 1);
    }
    ended_as(message, outcome);
}

/// The same of one message of a turn of several, or of one that was stopped.
pub(crate) fn ended_together(message: &PendingMessage, end: &MessageEnd) {
    let outcome = match end {
        MessageEnd::Answered => "completed",
        MessageEnd::Cancelled(_) => "cancelled",
        MessageEnd::Failed(_) => "failed",
        MessageEnd::Again(_) | MessageEnd::Interrupted { .. } => return,
    };
    ended_as(message, outcome);
}

/// A person is to be told that their message failed.
pub(crate) fn noticed(message: &PendingMessage, count: u64) {
    let (plugin, platform) = (message.instance.to_string(), message.profile.platform.clone());
    counter!(metric::NOTICES.name, "plugin" => plugin, "platform" => platform).increment(count);
}

fn ended_as(message: &PendingMessage, outcome: &'static str) {
    noticed(message, 0);
    let (plugin, platform) = (message.instance.to_string(), message.profile.platform.clone());
    if outcome == "completed" {
        histogram!(metric::ANSWER.name, "plugin" => plugin.clone(), "platform" => platform.clone())
            .record(message.age + message.read_at.elapsed());
    }
    counter!(metric::MESSAGES_ENDED.name, "plugin" => plugin, "platform" => platform, "outcome" => outcome)
        .increment(1);
}

pub(crate) fn lease_lost() {
    counter!(metric::LEASES_LOST.name).increment(1);
}

pub(crate) fn swept(woken: usize, republished: usize) {
    counter!(metric::SWEPT_WAKES.name).increment(woken as u64);
    counter!(metric::SWEPT_PUBLISHES.name).increment(republished as u64);
}

/// `duplicate` is what the stream said, if it took it.
pub(crate) fn published(kind: &'static str, duplicate: Option<bool>) {
    let outcome = match duplicate {
        Some(false) => "stored",
        Some(true) => "duplicate",
        None => "failed",
    };
    counter!(metric::PUBLISHES.name, "kind" => kind, "outcome" => outcome).increment(1);
}

pub(crate) fn kind_of(owed: &OwedKind) -> &'static str {
    match owed {
        OwedKind::Wake => "wake",
        OwedKind::Response(_) => "response",
        OwedKind::DeadLetter { .. } => "dead_letter",
    }
}

/// How long the platform took for an attempt.
pub(crate) fn platform_took(instance: &Instance, platform: &str, took: Duration) {
    histogram!(metric::DELIVERY.name, "plugin" => instance.to_string(), "platform" => platform.to_owned()).record(took);
}

/// An attempt is over and recorded.
pub(crate) fn delivered(instance: &Instance, dispatch: &Dispatch, end: &DeliveryEnd) {
    let platform = &dispatch.profile.platform;
    let ended = match end {
        DeliveryEnd::Delivered(_) => ("delivered", ""),
        DeliveryEnd::Retry { failure, .. } => ("retry", failure.class.as_str()),
        DeliveryEnd::Dead(failure) | DeliveryEnd::TargetDead { failure, .. } => ("dead", failure.class.as_str()),
        DeliveryEnd::Unknown(failure) => ("unknown", failure.class.as_str()),
        DeliveryEnd::HandBack => ("handed_back", ""),
    };
    delivery(instance, platform, ended, 1);
    if matches!(end, DeliveryEnd::Delivered(_)) && dispatch.response.kind == ResponseKind::Answer {
        histogram!(metric::DELIVERED.name, "plugin" => instance.to_string(), "platform" => platform.clone())
            .record(dispatch.waited + dispatch.read_at.elapsed());
    }
}

/// Another process settled it.
pub(crate) fn delivery_lost(instance: &Instance, dispatch: &Dispatch) {
    delivery(instance, &dispatch.profile.platform, ("lease_lost", ""), 1);
}

fn delivery(instance: &Instance, platform: &str, (outcome, class): (&'static str, &'static str), count: u64) {
    let (plugin, platform) = (instance.to_string(), platform.to_owned());
    counter!(metric::DELIVERIES.name, "plugin" => plugin, "platform" => platform, "outcome" => outcome, "class" => class)
        .increment(count);
}

pub(crate) fn plugin_is(instance: &Instance, platform: &str, state: &PluginState) {
    let current = match state {
        PluginState::WaitingForAccount { .. } => "waiting_for_account",
        PluginState::Connecting => "connecting",
        PluginState::Connected => "connected",
        PluginState::Degraded { .. } => "degraded",
        PluginState::BadCredentials { .. } => "bad_credentials",
        PluginState::Misconfigured { .. } => "misconfigured",
        PluginState::Stopping => "stopping",
        PluginState::Stopped => "stopped",
    };
    for state in STATES {
        let (plugin, platform) = (instance.to_string(), platform.to_owned());
        gauge!(metric::PLUGIN_STATE.name, "plugin" => plugin, "platform" => platform, "state" => state)
            .set(f64::from(state == current));
    }
}
