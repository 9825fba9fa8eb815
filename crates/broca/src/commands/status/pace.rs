//! Who works, and what keeps messages waiting, for people.

use broca_core::{Timestamp, breaker::BreakerState};
use broca_store::{Endpoint, Pace, PacedPlan, ParkedCount, WorkerRow};

use super::age;
use crate::output::{Tone, paint, table};

/// A table each of what there is; nothing of what there is not.
pub(in crate::commands) fn text(pace: &Pace) -> String {
    [workers(pace), endpoints(pace), waiting(pace), slots(pace), plans(pace)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn workers(pace: &Pace) -> Option<String> {
    let row = |worker: &WorkerRow| {
        let state = match (worker.alive, worker.draining) {
            (false, _) => paint(Tone::Bad, "gone without a word"),
            (true, true) => paint(Tone::Poor, "stopping"),
            (true, false) => paint(Tone::Good, "works"),
        };
        [
            worker.id.clone(),
            format!("{} ({})", worker.host, worker.pid),
            worker.version.clone(),
            format!("{} of {}", worker.in_use, worker.slots),
            ago(pace, worker.started_at),
            ago(pace, worker.seen_at),
            state,
        ]
    };
    let header = ["worker", "machine (pid)", "version", "conversations", "since", "last sign", "state"];
    some_table(header, pace.workers.iter().map(row))
}

fn endpoints(pace: &Pace) -> Option<String> {
    let row = |endpoint: &Endpoint| {
        let breaker = &endpoint.breaker;
        let (state, next) = match breaker.state {
            BreakerState::Closed => ("asked".to_owned(), String::new()),
            BreakerState::Open => ("not asked".to_owned(), soon(pace, breaker.open_until)),
            BreakerState::HalfOpen => {
                let who = breaker.probe.as_ref().map_or("somebody", |probe| probe.as_str());
                ("one turn is let through".to_owned(), format!("by {who}"))
            }
        };
        let since = breaker.opened_at.map_or_else(|| "-".to_owned(), |at| ago(pace, at));
        let reason = endpoint.reason.clone().unwrap_or_default();
        [endpoint.endpoint.clone(), state, breaker.failures.to_string(), since, next, reason]
    };
    some_table(["endpoint", "state", "failures", "away since", "next", "why"], pace.endpoints.iter().map(row))
}

fn waiting(pace: &Pace) -> Option<String> {
    let row = |parked: &ParkedCount| {
        let what_for = match parked.what_for {
            broca_store::Parked::Endpoint => "its endpoint to answer",
            broca_store::Parked::Slot => "one of its turns to end",
            broca_store::Parked::Agent => "somebody to configure it",
            broca_store::Parked::Window => "more messages to answer with it",
        };
        [parked.agent.clone(), parked.conversations.to_string(), what_for.to_owned(), soon(pace, parked.next)]
    };
    some_table(["agent", "conversations", "wait for", "next"], pace.parked.iter().map(row))
}

fn slots(pace: &Pace) -> Option<String> {
    let row = |(agent, turns): &(String, i64)| [agent.clone(), turns.to_string()];
    some_table(["limited agent", "turns under way"], pace.turn_slots.iter().map(row))
}

fn plans(pace: &Pace) -> Option<String> {
    let row = |plan: &PacedPlan| [plan.plan.to_string(), plan.waiting.to_string(), soon(pace, plan.until)];
    some_table(["backlog plan", "conversations left", "done"], pace.paced.iter().map(row))
}

fn some_table<const N: usize>(header: [&str; N], rows: impl ExactSizeIterator<Item = [String; N]>) -> Option<String> {
    (rows.len() > 0).then(|| table(header, rows))
}

fn ago(pace: &Pace, at: Timestamp) -> String {
    format!("{} ago", age(pace.now.since(at)))
}

fn soon(pace: &Pace, at: Timestamp) -> String {
    if at <= pace.now { "now".to_owned() } else { format!("in {}", age(at.since(pace.now))) }
}
