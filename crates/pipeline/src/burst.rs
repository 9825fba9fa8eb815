//! What is said to the agent in one turn: mostly one message, or several of a burst where the route says so, or where
//! somebody wants a backlog answered at once.
//!
//! A conversation whose burst may go on is parked until its window ends, and nothing waits for it in any process. Every wake of
//! it is let through meanwhile and decides anew, so that an urgent message, or enough of them, end the window at once.

use std::{sync::atomic::Ordering, time::Duration};

use broca_core::{
    Timestamp,
    agent::{Failure, FailureClass},
    burst::{self, Busy, Coalesce, Gathered, MAX_INTERRUPTIONS, Waiting},
    route::{Mode, Resolved},
};
use broca_store::{Fenced, Park, Parked, PendingMessage, StartedTurn, SweptWake};

use crate::{held::Held, meter, shared::Worker};

/// Windows whose end this process remembers. The sweep knows them all, and is only slower.
const MOST_TIMERS: usize = 10_000;

/// What the next turn says.
pub(crate) enum Said {
    /// At least one message, in order. `fresh`: read just now, and what was read before is out of date.
    Messages {
        messages: Vec<PendingMessage>,
        fresh: bool,
    },
    /// The conversation is parked: more may come.
    Parked,
    Lost,
    /// What was read of the queue is not so any more.
    Changed,
}

pub(crate) async fn gather(
    worker: &Worker,
    held: &Held,
    message: PendingMessage,
    (agent, route, open): (&str, &Resolved, Option<&StartedTurn>),
) -> Said {
    let alone = |message| Said::Messages { messages: vec![message], fresh: false };
    match open {
        Some(open) if open.messages > 1 => return Box::pin(of_turn(worker, held, open)).await,
        Some(_) => return alone(message),
        None => {}
    }
    if !(route.joins() && !message.replayed || message.to_join && route.mode != Mode::Listen) {
        return alone(message);
    }
    Box::pin(joined(worker, held, message, (agent, route))).await
}

/// With as many of those behind it as fit, or parked until there may be more.
async fn joined(worker: &Worker, held: &Held, message: PendingMessage, (agent, route): (&str, &Resolved)) -> Said {
    loop {
        let how = if message.to_join { Coalesce::ON_DEMAND } else { route.coalesce };
        let at_most = how.max_messages.clamp(1, Coalesce::MOST_MESSAGES);
        let read = || worker.store.gather(held.conversation, held.epoch, at_most + 1);
        let Some(mut pending) = worker.persist(held, read).await else { return Said::Lost };
        // What a hold or an operator took away meanwhile is found by reading again.
        if pending.first().is_none_or(|first| first.id != message.id) {
            return Said::Changed;
        }
        let first = &pending[0];
        let waiting: Vec<Waiting> = pending.iter().map(|next| waiting(worker, route, first, next)).collect();
        match burst::gather(&Coalesce { max_messages: at_most, ..how }, &waiting) {
            Gathered::Turn(count) => {
                pending.truncate(count.max(1));
                return Said::Messages { messages: pending, fresh: true };
            }
            Gathered::Wait(left) => {
                let seen = pending[pending.len() - 1].seq;
                if let Some(said) = park(worker, held, (agent, &pending[0], seen), left).await {
                    return said;
                }
            }
        }
    }
}

/// The very messages of a turn that a predecessor left open.
async fn of_turn(worker: &Worker, held: &Held, open: &StartedTurn) -> Said {
    let read = || worker.store.gather(held.conversation, held.epoch, open.messages);
    let Some(messages) = worker.persist(held, read).await else { return Said::Lost };
    let Some(said) = worker.persist(held, || worker.store.messages_of_turn(open.id)).await else { return Said::Lost };
    if messages.iter().map(|message| message.id).ne(said) {
        tracing::error!(turn = %open.id, "the messages of an open turn are not the first ones of their conversation");
        return Said::Lost;
    }
    Said::Messages { messages, fresh: true }
}

fn waiting(worker: &Worker, route: &Resolved, first: &PendingMessage, next: &PendingMessage) -> Waiting {
    let asked_for = first.to_join && next.to_join;
    let by_route = first.route == next.route && !first.replayed && !next.replayed && route.joins();
    let within = route.retry.within(next.budget);
    let spent = next.attempts.saturating_sub(next.attempts_before);
    let in_time = within.time_left(next.age + next.read_at.elapsed()).is_none_or(|left| !left.is_zero());
    let joins = (asked_for || by_route) && same_chat(first, next) && spent < within.max_attempts && in_time;
    Waiting {
        bytes: next.text.len(),
        joins: joins && !worker.draining.is_cancelled(),
        urgent: next.urgent,
        waited: next.age + next.read_at.elapsed(),
    }
}

/// One answer goes to one chat, or to one person.
fn same_chat(one: &PendingMessage, other: &PendingMessage) -> bool {
    one.instance == other.instance
        && one.chat_id == other.chat_id
        && (one.chat_id.is_some() || one.profile.id == other.profile.id)
}

/// Whether a later message stops the turn of these.
pub(crate) fn gives_way(route: &Resolved, messages: &[PendingMessage]) -> bool {
    route.busy == Busy::Interrupt && messages.iter().all(|message| message.interrupted < MAX_INTERRUPTIONS)
}

/// `None`: another message was accepted since the queue was read, whose wake found the conversation taken.
async fn park(
    worker: &Worker,
    held: &Held,
    (agent, first, seen): (&str, &PendingMessage, i64),
    left: Duration,
) -> Option<Said> {
    let park = Park {
        conversation: held.conversation,
        epoch: held.epoch,
        message: first.id,
        what_for: Parked::Window,
        until: Timestamp::default(),
        delay: left,
        seen: Some(seen),
        why: Failure::new(FailureClass::Gathering, "more messages may follow, and are to be answered with it"),
    };
    match worker.persist(held, || worker.store.park(park.clone())).await {
        Some(Fenced::Done(Timestamp(0))) => None,
        Some(Fenced::Done(until)) => {
            meter::parked(agent, Parked::Window);
            tracing::debug!(message_id = %first.id, conversation = %held.conversation, until = until.micros(), "more may follow");
            let instance = first.instance.clone();
            remember(
                worker,
                SweptWake { conversation: held.conversation, message: first.id, instance, at: until },
                left,
            );
            Some(Said::Parked)
        }
        Some(Fenced::LeaseLost) => {
            held.lose();
            Some(Said::Lost)
        }
        None => Some(Said::Lost),
    }
}

/// Wakes it when its window ends, a little sooner than a sweep would.
fn remember(worker: &Worker, wake: SweptWake, left: Duration) {
    let timers = worker.windows.clone();
    if timers.fetch_add(1, Ordering::Relaxed) >= MOST_TIMERS {
        timers.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let (relay, draining) = (worker.relay.clone(), worker.draining.clone());
    // Bounded by the count above.
    tokio::spawn(async move {
        let ended = draining.run_until_cancelled(tokio::time::sleep(left)).await.is_some();
        timers.fetch_sub(1, Ordering::Relaxed);
        if ended && let Err(error) = relay.publish_swept(wake).await {
            tracing::debug!(%error, "the sweep wakes it");
        }
    });
}
