//! The start of a turn that says several messages at once: the first pending ones of a conversation.
//!
//! The turn belongs to the first of them, as an ordinary one does to its only one: the queue's head, its hand-over and
//! its recovery find it there. `turn_messages` has all of them, written with the turn, so that a successor goes on
//! with the very same ones under the same key.

use broca_core::{ConversationId, EventKind, MessageId, MessageState, TurnId, WorkerId};
use serde_json::json;
use sqlx::types::Uuid;

use crate::{
    Fenced, Store, StoreError,
    decode::count,
    holding::{if_any_hold, kept_back},
    journal::{Event, note},
    set_aside::LOCK,
    tx::{Tx, ask, change, operation},
};

/// Recorded before the agent is called. Also counts the attempt on each of the messages.
#[derive(Clone, Debug)]
pub struct StartJoint {
    pub turn: TurnId,
    pub conversation: ConversationId,
    pub epoch: i64,
    /// At least two, in order: the first pending ones.
    pub messages: Vec<MessageId>,
    pub worker: WorkerId,
}

pub(crate) const HELD: &str = "-- joint turn: conversation
SELECT c.head, c.agent_conversation, t.state
FROM conversations c LEFT JOIN turns t ON t.id = $3 AND t.epoch = $2
WHERE c.id = $1 AND c.epoch = $2 AND c.owner IS NOT NULL";

macro_rules! first {
    ($db:ident) => {
        concat!(
            "-- joint turn: the first pending messages
SELECT m.id, m.seq, m.state, m.attempts, ",
            if_any_hold!(kept_back!($db, "m", "p.user_id", "c.agent", "$4"), "FALSE"),
            " AS kept_back
FROM conversations c
JOIN messages m ON m.conversation_id = c.id AND m.seq > $2 AND m.state IN ('received', 'processing')
JOIN profiles p ON p.id = m.profile_id
WHERE c.id = $1
ORDER BY m.seq LIMIT $3"
        )
    };
}
pub(crate) const FIRST_PG: &str = first!(pg);
pub(crate) const FIRST_LITE: &str = first!(lite);

pub(crate) const COUNT: &str = "-- joint turn: count attempts
UPDATE messages SET state = 'processing', attempts = attempts + 1 WHERE id = $1";

pub(crate) const START: &str = "-- joint turn
INSERT INTO turns (id, conversation_id, message_id, attempt, epoch, worker, state, agent_conversation, started_at, messages)
VALUES ($1, $2, $3, $4, $5, $6, 'started', $7, $8, $9)";

pub(crate) const SAYS: &str = "-- joint turn: messages
INSERT INTO turn_messages (turn_id, message_id, ord, attempt) VALUES ($1, $2, $3, $4)";

pub(crate) const MEMBERS: &str = "-- messages of a joint turn
SELECT message_id FROM turn_messages WHERE turn_id = $1 ORDER BY ord";

#[derive(sqlx::FromRow)]
struct First {
    id: Uuid,
    seq: i64,
    state: String,
    attempts: i64,
    kept_back: bool,
}

async fn start(tx: &mut Tx<'_>, start: &StartJoint) -> Result<Result<Fenced<u32>, StoreError>, StoreError> {
    type Held = (i64, Option<String>, Option<String>);
    let StartJoint { turn, conversation, epoch, messages, worker } = start;
    tx.lock(LOCK, conversation.0).await?;
    let Some((head, side, was)) = ask!(tx, fetch_optional, Held, HELD, conversation.0, *epoch, turn.0)? else {
        return Ok(Ok(Fenced::LeaseLost));
    };
    let (now, look) = (tx.now().await?, tx.either(FIRST_PG, FIRST_LITE));
    let several = i64::try_from(messages.len()).map_err(StoreError::unreadable)?;
    let first = ask!(tx, fetch_all, First, look, conversation.0, head, several, now)?;
    let same = first.len() == messages.len() && first.iter().zip(messages).all(|(row, id)| row.id == id.0);
    let Some(lead) = first.first().filter(|_| same && several > 1) else {
        return Ok(Err(StoreError::QueueChanged(*conversation)));
    };
    // The turn is there already: written by a call whose answer got lost.
    if was.as_deref() == Some("started") {
        return Ok(count(lead.attempts).map(Fenced::Done));
    }
    if first.iter().any(|row| row.kept_back || row.state != MessageState::Received.as_str()) {
        return Ok(Err(StoreError::QueueChanged(*conversation)));
    }
    let attempt = lead.attempts + 1;
    let (id, worker) = (turn.0, worker.as_str());
    change!(tx, START, id, conversation.0, lead.id, attempt, *epoch, worker, side.as_deref(), now, several)?;
    for (ord, row) in (1_i64..).zip(&first) {
        change!(tx, COUNT, row.id)?;
        change!(tx, SAYS, id, row.id, ord, row.attempts + 1)?;
        let event = Event::new(EventKind::Coalesced, now).message(row.id).actor(worker).epoch(*epoch);
        let detail = json!({"turn": turn, "place": ord, "of": several, "seq": row.seq});
        note(tx, &event.detail(detail)).await?;
    }
    Ok(count(attempt).map(Fenced::Done))
}

operation!(Start: StartJoint => Result<Fenced<u32>, StoreError>, "start joint turn", start);

impl Store {
    /// Records a turn of several messages before the agent is called, and counts the attempt on each; gives its number
    /// for the first of them. [`StoreError::QueueChanged`] when they are not the first pending ones any more, or one of
    /// them is on hold: read the queue again.
    pub async fn start_joint(&self, turn: StartJoint) -> Result<Fenced<u32>, StoreError> {
        self.once::<Start>(turn).await?
    }

    /// The messages of a turn that says several, in order; of any other turn, none.
    pub async fn messages_of_turn(&self, turn: TurnId) -> Result<Vec<MessageId>, StoreError> {
        let rows = crate::reading::fetch!(self, fetch_all, (Uuid,), MEMBERS, turn.0)?;
        Ok(rows.into_iter().map(|(id,)| MessageId(id)).collect())
    }
}
