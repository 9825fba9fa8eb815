//! Turns as they begin: what is said of them, and what both databases share.

use broca_core::{ConversationId, MessageId, MessageState, TurnId, WorkerId};

use crate::StoreError;

/// Recorded before the agent is called. Also counts the attempt on the message.
#[derive(Clone, Debug)]
pub struct StartTurn {
    pub turn: TurnId,
    pub conversation: ConversationId,
    pub epoch: i64,
    pub message: MessageId,
    pub worker: WorkerId,
}

/// Recorded before a successor asks the agent about a turn that it finds started. Also counts an attempt, unless
/// the predecessor handed the turn over in good order.
#[derive(Clone, Debug)]
pub struct ResumeTurn {
    pub turn: TurnId,
    pub conversation: ConversationId,
    pub epoch: i64,
    pub worker: WorkerId,
}

/// The agent's own name for what a turn became.
#[derive(Clone, Debug)]
pub(crate) struct RunSeen {
    pub(crate) turn: TurnId,
    pub(crate) epoch: i64,
    pub(crate) run: String,
}

/// What has become of a message whose turn cannot start.
pub(crate) const REFUSED: &str = "-- start turn: refused
SELECT state FROM messages WHERE id = $1";

pub(crate) fn not_started(message: MessageId, state: Option<&str>) -> StoreError {
    let kept_back = |state: &str| (state == MessageState::Received.as_str()).then_some(StoreError::KeptBack(message));
    state
        .and_then(|state| StoreError::left_queue(message, state).or_else(|| kept_back(state)))
        .unwrap_or_else(|| not_open("the message of a turn that starts"))
}

pub(crate) fn not_open(what: &str) -> StoreError {
    StoreError::Refused(format!("{what} is not open any more, or belongs to another conversation"))
}
