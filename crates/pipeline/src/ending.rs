//! The end of a turn that says several messages, or that was stopped: what each of its messages comes to.

use std::{collections::HashMap, time::Duration};

use broca_core::{
    MessageId, OutboxId, ResponseId, TurnId, TurnOutcome, TurnState, Usage,
    agent::{Failure, FailureClass},
    route::Resolved,
};
use broca_letta::Stopped;
use broca_store::{
    End, EndTurn, Fenced, IfFailed, MessageEnd, NewResponse, Owed, OwedKind, PendingMessage, StopKind, StoreError,
    TurnEnded,
};

use crate::{
    crash::{CrashPoint, point},
    held::Held,
    meter, outcome,
    shared::Worker,
    work::{self, Next},
};

/// Who took which message back, and in what words.
type Cancelled = HashMap<MessageId, String>;

/// Writes the end, as often as somebody takes another message back before it is written.
pub(crate) async fn end(
    worker: &Worker,
    held: &Held,
    (messages, route): (&[PendingMessage], &Resolved),
    turn: TurnId,
    came: &Stopped,
) -> Next {
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    loop {
        let Some(stops) = worker.persist(held, || worker.store.stops()).await else { return Next::Lost };
        let stops = stops.into_iter().filter(|stop| ids.contains(&stop.message));
        let (cancels, interrupts): (Vec<_>, Vec<_>) = stops.partition(|stop| stop.kind == StopKind::Cancel);
        let cancelled: Cancelled = cancels.into_iter().map(|stop| (stop.message, stop.reason)).collect();
        let why = interrupts.into_iter().next().map(|stop| stop.reason);
        let verdict = judge(route, messages, came, &cancelled, why);
        let wish = verdict.written(held, turn);
        let write = || async {
            match worker.store.end_turn(wish.clone()).await {
                Err(StoreError::StopAsked(message)) => Ok(Err(message)),
                written => written.map(Ok),
            }
        };
        match worker.persist(held, write).await {
            Some(Err(message)) => tracing::debug!(message_id = %message, "taken back while its turn ended"),
            Some(Ok(Fenced::Done(ended))) => {
                point(CrashPoint::TurnFinished);
                tell(turn, &wish);
                work::tell_quarantine(held.conversation, ended.quarantined);
                let released = ended.released;
                publish(worker, held, messages, (&wish, ended));
                return if released { Next::Released } else { Next::Changed };
            }
            Some(Ok(Fenced::LeaseLost)) => {
                held.lose();
                return Next::Lost;
            }
            None => return Next::Lost,
        }
    }
}

/// What the turn and each of its messages come to.
struct Verdict {
    state: TurnState,
    failure: Option<Failure>,
    usage: Option<Usage>,
    ends: Vec<(MessageId, MessageEnd)>,
    response: Option<NewResponse>,
    if_failed: IfFailed,
    delay: Duration,
}

impl Verdict {
    fn written(self, held: &Held, turn: TurnId) -> EndTurn {
        let Self { state, failure, usage, ends, response, if_failed, delay } = self;
        let (conversation, epoch) = (held.conversation, held.epoch);
        EndTurn { conversation, epoch, turn, state, failure, usage, ends, response, if_failed, delay }
    }
}

fn judge(
    route: &Resolved,
    messages: &[PendingMessage],
    came: &Stopped,
    cancelled: &Cancelled,
    interrupted: Option<String>,
) -> Verdict {
    let mut delay = Duration::ZERO;
    let mut ends = Vec::with_capacity(messages.len());
    for message in messages {
        let end = match (cancelled.get(&message.id), came) {
            (Some(reason), _) => MessageEnd::Cancelled(taken_back(reason, came)),
            (None, Stopped::Stopped { heard }) => MessageEnd::Interrupted { heard: *heard },
            (None, Stopped::Ended(outcome)) => {
                let (end, pause) = end_of(route, message, outcome);
                delay = delay.max(pause);
                end
            }
        };
        ends.push((message.id, end));
    }
    let answered = ends.iter().any(|(_, end)| *end == MessageEnd::Answered);
    let again = ends.iter().any(|(_, end)| matches!(end, MessageEnd::Again(_)));
    let because = |class, reason: String| Some(Failure::new(class, reason));
    let (mut usage, mut response) = (None, None);
    let (state, failure) = match came {
        Stopped::Stopped { .. } => match (cancelled.values().next(), interrupted) {
            (Some(reason), _) => (TurnState::Cancelled, because(FailureClass::Operator, reason.clone())),
            (None, Some(reason)) => (TurnState::Cancelled, because(FailureClass::Superseded, reason)),
            (None, None) => (TurnState::Cancelled, because(FailureClass::Interrupted, "it was stopped".to_owned())),
        },
        Stopped::Ended(TurnOutcome::Answered(answer)) => {
            usage = answer.usage;
            if answered {
                response = answer.joined().map(|text| NewResponse { id: ResponseId::new(), text });
                (TurnState::Answered, None)
            } else {
                let reason = "it could not be stopped in time; the agent's answer is kept back";
                (TurnState::Cancelled, because(FailureClass::Operator, reason.to_owned()))
            }
        }
        Stopped::Ended(TurnOutcome::Unknown(failure)) => (TurnState::Unknown, Some(failure.clone())),
        Stopped::Ended(TurnOutcome::Retry { failure, .. }) if again => (TurnState::Retry, Some(failure.clone())),
        Stopped::Ended(
            TurnOutcome::Retry { failure, .. } | TurnOutcome::Dead(failure) | TurnOutcome::NoConversation(failure),
        ) => (TurnState::Dead, Some(failure.clone())),
    };
    let last = ends.iter().rev().find_map(|(_, end)| match end {
        MessageEnd::Failed(failure) => Some(failure),
        _ => None,
    });
    let if_failed = last.map(|failure| outcome::follows(route, failure, false)).unwrap_or_default();
    Verdict { state, failure, usage, ends, response, if_failed, delay }
}

/// Every message by its own budget: what has none left fails, the others are tried again.
fn end_of(route: &Resolved, message: &PendingMessage, outcome: &TurnOutcome) -> (MessageEnd, Duration) {
    let policy = route.retry.within(message.budget);
    match outcome::decide(route, &policy, message, outcome.clone()) {
        End::Answered { .. } | End::Stored => (MessageEnd::Answered, Duration::ZERO),
        End::Failed { failure, .. } => (MessageEnd::Failed(failure), Duration::ZERO),
        End::Retry { failure, delay, .. } => (MessageEnd::Again(failure), delay),
    }
}

fn taken_back(reason: &str, came: &Stopped) -> Failure {
    let then = match came {
        Stopped::Stopped { heard: false } => "",
        Stopped::Stopped { heard: true } => "; the agent had heard it",
        Stopped::Ended(TurnOutcome::Answered(_)) => {
            "; the agent could not be stopped in time, and its answer is kept back"
        }
        Stopped::Ended(_) => "; its turn failed",
    };
    Failure::new(FailureClass::Operator, format!("{reason}{then}"))
}

fn tell(turn: TurnId, end: &EndTurn) {
    let messages = end.ends.len();
    match (&end.failure, end.state) {
        (Some(failure), TurnState::Dead | TurnState::Unknown) => {
            tracing::error!(%turn, messages, class = %failure.class, reason = failure.reason, "failed, dead-lettered");
        }
        (Some(failure), TurnState::Cancelled) => {
            tracing::info!(%turn, messages, class = %failure.class, reason = failure.reason, "stopped");
        }
        (Some(failure), _) => {
            tracing::warn!(%turn, messages, class = %failure.class, reason = failure.reason, "tried again later");
        }
        (None, _) => tracing::debug!(%turn, messages, "answered"),
    }
}

fn publish(worker: &Worker, held: &Held, messages: &[PendingMessage], (end, ended): (&EndTurn, TurnEnded)) {
    let failed = messages.iter().zip(&end.ends).rev().find(|(_, (_, how))| matches!(how, MessageEnd::Failed(_)));
    if let Some(((message, _), notice)) = failed.zip(end.if_failed.notice.as_ref()) {
        meter::noticed(message, 1);
        let (id, what) = (OutboxId(notice.id.0), OwedKind::Response(notice.id));
        let (instance, trace, text) = (message.instance.clone(), message.trace, notice.text.clone());
        let (conversation, message, at) = (held.conversation, message.id, ended.at);
        worker.relay.publish_soon(Owed { id, what, instance, message, conversation, text, trace, at });
    }
    for (message, (_, how)) in messages.iter().zip(&end.ends) {
        meter::ended_together(message, how);
        worker.events.ended_together(held.conversation, message, how);
        for (_, id) in ended.owed.iter().filter(|(of, _)| *of == message.id) {
            let (what, text) = match (how, &end.response) {
                (MessageEnd::Answered, Some(response)) => (OwedKind::Response(response.id), response.text.clone()),
                (MessageEnd::Failed(failure), _) => {
                    let (class, reason) = (failure.class.to_string(), failure.reason.clone());
                    let attempts = message.attempts;
                    (OwedKind::DeadLetter { stage: "turn".into(), class, reason, attempts }, message.text.clone())
                }
                _ => continue,
            };
            let (instance, trace) = (message.instance.clone(), message.trace);
            let (conversation, message) = (held.conversation, message.id);
            worker.relay.publish_soon(Owed {
                id: *id,
                what,
                instance,
                message,
                conversation,
                text,
                trace,
                at: ended.at,
            });
        }
    }
}
