//! The end of work on a message: what is said of it, and that flattened to the columns that both databases write.

use std::{num::NonZeroU32, time::Duration};

use broca_core::{
    Answer, ConversationId, HoldId, MessageId, MessageState, OutboxId, ResponseId, Timestamp, TurnId, TurnState,
    agent::Failure, clock::micros,
};
use serde_json::Value;
use sqlx::types::Uuid;

use crate::{Fenced, StoreError};

/// The end of work on one message, or of one attempt at it.
#[derive(Clone, Debug)]
pub struct Finish {
    pub conversation: ConversationId,
    pub epoch: i64,
    pub message: MessageId,
    /// The turn that ended; `None` when none was started (listen mode, attempts used up before the call).
    pub turn: Option<TurnId>,
    pub end: End,
    pub if_failed: IfFailed,
}

/// What follows from [`End::Failed`], in the same transaction.
#[derive(Clone, Debug, Default)]
pub struct IfFailed {
    /// What the person is told.
    pub notice: Option<NewResponse>,
    /// It counts as a failure of the conversation; the so-manieth in a row puts it on hold.
    pub quarantine_after: Option<NonZeroU32>,
}

#[derive(Clone, Debug)]
pub enum End {
    /// Completed. With text, a response row and its owed publish are written too.
    Answered { answer: Answer, response: Option<NewResponse> },
    /// Kept without a turn.
    Stored,
    /// Dead-lettered, with its owed copy to the dead-letter stream; `turn_unknown` ends the turn as unknown, not dead.
    Failed { failure: Failure, turn_unknown: bool },
    /// Tried again after `delay`: the turn ends as `retry` (with `turn_unknown` as unknown), the conversation is parked
    /// and given up until then.
    Retry { failure: Failure, delay: Duration, turn_unknown: bool },
}

#[derive(Clone, Debug)]
pub struct NewResponse {
    pub id: ResponseId,
    pub text: String,
}

/// What a [`Finish`] led to.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The answer's owed publish (or the dead letter's), to be made now.
    pub owed: Option<(OutboxId, Timestamp)>,
    /// The lease was released: nothing is pending, or the conversation is parked.
    pub released: bool,
    /// The hold that the conversation is on from now, because it failed too often.
    pub quarantined: Option<HoldId>,
}

pub(crate) struct Ending<'a> {
    pub(crate) finish: &'a Finish,
    /// `received` for a retry: the conversation is parked and the message stays first.
    pub(crate) message_state: MessageState,
    pub(crate) turn_state: TurnState,
    failure: Option<&'a Failure>,
    pub(crate) delay: i64,
    pub(crate) usage: Option<Value>,
    /// The answer, or the notice of a failure.
    pub(crate) response: Option<&'a NewResponse>,
    /// Set when the end owes the broker a publish: of the answer, or of the dead letter.
    pub(crate) outbox: Option<OutboxId>,
    /// Set when it counts as a failure of the conversation: how many in a row are too many, and the hold that follows.
    pub(crate) quarantine: Option<(i64, HoldId)>,
}

impl<'a> Ending<'a> {
    pub(crate) fn of(finish: &'a Finish) -> Self {
        let plain = |message_state, turn_state| Self {
            finish,
            message_state,
            turn_state,
            failure: None,
            delay: 0,
            usage: None,
            response: None,
            outbox: None,
            quarantine: None,
        };
        match &finish.end {
            End::Answered { answer, response } => Self {
                usage: answer.usage.and_then(|usage| serde_json::to_value(usage).ok()),
                response: response.as_ref(),
                // The broker knows an answer by the answer's own id.
                outbox: response.as_ref().map(|response| OutboxId(response.id.0)),
                ..plain(MessageState::Completed, TurnState::Answered)
            },
            End::Stored => plain(MessageState::Stored, TurnState::Cancelled),
            End::Failed { failure, turn_unknown } => Self {
                failure: Some(failure),
                outbox: Some(OutboxId::new()),
                response: finish.if_failed.notice.as_ref(),
                quarantine: finish.if_failed.quarantine_after.map(|after| (i64::from(after.get()), HoldId::new())),
                ..plain(MessageState::Failed, if *turn_unknown { TurnState::Unknown } else { TurnState::Dead })
            },
            End::Retry { failure, delay, turn_unknown } => Self {
                failure: Some(failure),
                delay: micros(*delay),
                ..plain(MessageState::Received, if *turn_unknown { TurnState::Unknown } else { TurnState::Retry })
            },
        }
    }

    pub(crate) fn class(&self) -> Option<&'static str> {
        self.failure.map(|failure| failure.class.as_str())
    }

    pub(crate) fn reason(&self) -> Option<&'a str> {
        self.failure.map(|failure| failure.reason.as_str())
    }

    pub(crate) fn is_failure(&self) -> bool {
        self.message_state == MessageState::Failed
    }

    pub(crate) fn done(&self, released: bool, quarantined: bool, at: i64) -> Fenced<Finished> {
        let quarantined = self.quarantine.map(|(_, hold)| hold).filter(|_| quarantined);
        Fenced::Done(Finished { owed: self.outbox.map(|outbox| (outbox, Timestamp(at))), released, quarantined })
    }

    /// Why a message under a held lease was not moved. `was` is its state, `open` its open turn.
    pub(crate) fn refusal(&self, was: Option<&str>, open: Option<Uuid>, stopping: bool) -> StoreError {
        let MessageId(id) = self.finish.message;
        let Some(was) = was else {
            return StoreError::Refused(format!("message {id} is not in the conversation that is held"));
        };
        if stopping {
            return StoreError::StopAsked(self.finish.message);
        }
        let worked_on = [MessageState::Received.as_str(), MessageState::Processing.as_str()].contains(&was);
        if worked_on && open != self.finish.turn.map(|turn| turn.0) {
            return StoreError::Refused(format!("the turn that ends is not the open one of message {id}"));
        }
        if worked_on {
            return StoreError::Refused(format!("message {id} is not the first pending one of its conversation"));
        }
        StoreError::left_queue(self.finish.message, was).unwrap_or_else(|| {
            let to = self.message_state;
            StoreError::Refused(format!("message {id}: a message cannot go from {was} to {to} by a turn"))
        })
    }
}
