//! What the outcome of a turn makes of its message: an answer, another attempt, a dead letter, and what follows from it.

use std::num::NonZeroU32;

use broca_core::{
    Answer, ResponseId, TurnOutcome,
    agent::Failure,
    retry::{Decision, RetryPolicy},
    route::{Mode, OnUnknown, Resolved},
};
use broca_letta::Stopped;
use broca_store::{End, IfFailed, NewResponse, PendingMessage};

/// The one place where an outcome becomes a state.
pub(crate) fn decide(route: &Resolved, policy: &RetryPolicy, message: &PendingMessage, outcome: TurnOutcome) -> End {
    let spent = message.attempts.saturating_sub(message.attempts_before);
    match outcome {
        TurnOutcome::Answered(answer) => {
            let response = answer.joined().map(|text| NewResponse { id: ResponseId::new(), text });
            End::Answered { answer, response }
        }
        TurnOutcome::Dead(failure) | TurnOutcome::NoConversation(failure) => {
            End::Failed { failure, turn_unknown: false }
        }
        TurnOutcome::Unknown(failure) if route.on_unknown == OnUnknown::DeadLetter => {
            End::Failed { failure, turn_unknown: true }
        }
        TurnOutcome::Unknown(failure) => again(policy.decide(spent, message.age, None), failure, true),
        TurnOutcome::Retry { after, failure } => again(policy.decide(spent, message.age, after), failure, false),
    }
}

/// Another attempt, unless the message has had all that it is allowed.
fn again(decision: Decision, failure: Failure, turn_unknown: bool) -> End {
    match decision {
        Decision::RetryAfter(delay) => End::Retry { failure, delay, turn_unknown },
        Decision::GiveUp(why) => {
            let reason = format!("{} ({why})", failure.reason);
            End::Failed { failure: Failure::new(failure.class, reason), turn_unknown }
        }
    }
}

/// What follows should it have failed for good. What was never tried in time says nothing of its conversation.
pub(crate) fn if_failed(route: &Resolved, end: &End, too_old: bool) -> IfFailed {
    match end {
        End::Failed { failure, .. } => follows(route, failure, too_old),
        End::Answered { .. } | End::Stored | End::Retry { .. } => IfFailed::default(),
    }
}

pub(crate) fn follows(route: &Resolved, failure: &Failure, too_old: bool) -> IfFailed {
    let policy = route.notice.as_ref().filter(|_| route.mode != Mode::Listen);
    let text = policy.and_then(|policy| policy.says(failure.class));
    let counts = !too_old && failure.class.may_be_the_conversations();
    IfFailed {
        notice: text.map(|text| NewResponse { id: ResponseId::new(), text: text.to_owned() }),
        quarantine_after: NonZeroU32::new(route.quarantine_after).filter(|_| counts),
    }
}

/// An end as the outcome that led to it.
pub(crate) fn came_to(end: End) -> Stopped {
    Stopped::Ended(match end {
        End::Answered { answer, .. } => TurnOutcome::Answered(answer),
        End::Stored => TurnOutcome::Answered(Answer::default()),
        End::Failed { failure, turn_unknown: true } | End::Retry { failure, turn_unknown: true, .. } => {
            TurnOutcome::Unknown(failure)
        }
        End::Failed { failure, .. } => TurnOutcome::Dead(failure),
        End::Retry { failure, delay, .. } => TurnOutcome::Retry { after: Some(delay), failure },
    })
}
