//! An operator ends a message before its time.
//!
//! What waits is ended here, under the lock of its conversation's row: a message in the queue or held, an answer that no
//! plugin process has begun to deliver. A turn under way is asked to stop (`stops.rs`). What has ended stays as it is.

use broca_core::{MessageId, MessageState, ResponseId, agent::FailureClass};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    decode::parsed,
    queue, stops,
    tx::{Tx, ask, change, operation},
};

/// What a call of [`Store::cancel`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Cancelled {
    /// The message waited; it is cancelled.
    Message,
    /// The message was answered; these answers will not be delivered.
    Answers {
        suppressed: Vec<ResponseId>,
    },
    /// A worker is at it: it is asked to stop, and whatever it comes to, no answer is delivered.
    Stopping,
    /// Nothing: it is over, and no answer of it waits.
    Over {
        state: MessageState,
    },
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct CancelMessage {
    pub(crate) message: MessageId,
    pub(crate) reason: String,
}

pub(crate) const LOOK: &str = "-- cancel: message
SELECT state, conversation_id, seq FROM messages WHERE id = $1";

pub(crate) const END: &str = "-- cancel: end message
UPDATE messages SET state = 'cancelled', held_by = NULL, class = $3, reason = $4, finished_at = $5
WHERE id = $1 AND state = $2";

/// A row that a plugin process takes at this moment is looked at again once that is committed, and left alone.
pub(crate) const SUPPRESS: &str = "-- cancel: suppress answers
UPDATE responses SET state = 'suppressed', open = FALSE, class = $2, reason = $3, finished_at = $4
WHERE message_id = $1 AND state IN ('pending', 'retry')
RETURNING id";

pub(crate) async fn cancel(tx: &mut Tx<'_>, cancel: &CancelMessage) -> Result<Cancelled, StoreError> {
    let id = cancel.message.0;
    tx.lock(queue::LOCK, id).await?;
    let Some((state, conversation, seq)) = ask!(tx, fetch_optional, (String, Uuid, i64), LOOK, id)? else {
        return Ok(Cancelled::Unknown);
    };
    let (now, class) = (tx.now().await?, FailureClass::Operator.as_str());
    let was: MessageState = parsed(&state)?;
    match was {
        MessageState::Received | MessageState::Held => {
            change!(tx, END, id, state, class, cancel.reason.as_str(), now)?;
            if was == MessageState::Received {
                queue::leave(tx, conversation, seq, now).await?;
            }
            Ok(Cancelled::Message)
        }
        MessageState::Processing => {
            stops::ask_to_cancel(tx, (id, conversation), &cancel.reason, now).await?;
            Ok(Cancelled::Stopping)
        }
        over => {
            let answers = ask!(tx, fetch_all, (Uuid,), SUPPRESS, id, class, cancel.reason.as_str(), now)?;
            let suppressed: Vec<_> = answers.into_iter().map(|(answer,)| ResponseId(answer)).collect();
            Ok(if suppressed.is_empty() { Cancelled::Over { state: over } } else { Cancelled::Answers { suppressed } })
        }
    }
}

operation!(Cancel: CancelMessage => Cancelled, "cancel", cancel);

impl Store {
    /// Ends a message that waits for its turn, asks for a stop of the one that has it, or keeps its answers from being
    /// delivered. May be called while workers
    /// run, and again after any error.
    pub async fn cancel(&self, message: MessageId, reason: &str) -> Result<Cancelled, StoreError> {
        self.once::<Cancel>(CancelMessage { message, reason: reason.to_owned() }).await
    }
}
