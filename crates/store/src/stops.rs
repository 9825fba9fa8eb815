//! Turns that somebody wants stopped: their sender or an operator, for good, or a route, for the sake of a later message.
//!
//! A wish is a row that whoever runs the turn looks for, about once a second, and finds at once when it takes the turn
//! up. That is for speed. What makes a cancellation certain is `messages.stopping`, which the statement that ends
//! a turn finds in the very row that it writes: an end that does not know of the wish is refused.

use broca_core::{ConversationId, EventKind, MessageId, agent::FailureClass};
use serde_json::json;
use sqlx::types::Uuid;

use crate::{
    Fenced, Store, StoreError,
    decode::parsed,
    journal::{Event, note},
    reading::fetch,
    set_aside::LOCK,
    tx::{Tx, ask, change, operation},
};

/// Why a turn is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopKind {
    /// Its message is not to be answered.
    Cancel,
    /// A later message is to be answered together with it.
    Interrupt,
}

impl StopKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Interrupt => "interrupt",
        }
    }
}

impl std::str::FromStr for StopKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cancel" => Ok(Self::Cancel),
            "interrupt" => Ok(Self::Interrupt),
            _ => Err(format!("'{text}' is no reason to stop a turn")),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub conversation: ConversationId,
    pub message: MessageId,
    pub kind: StopKind,
    pub reason: String,
}

pub(crate) const ALL: &str = "-- stops
SELECT conversation_id, message_id, kind, reason FROM stops ORDER BY asked_at LIMIT 10000";

/// A person's word goes over a route's.
pub(crate) const ASK: &str = "-- stop: ask
INSERT INTO stops (message_id, conversation_id, kind, reason, asked_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (message_id) DO UPDATE
SET kind = excluded.kind, reason = excluded.reason, asked_at = excluded.asked_at
WHERE stops.kind = 'interrupt' AND excluded.kind = 'cancel'";

pub(crate) const MARK: &str = "-- stop: mark
UPDATE messages SET stopping = TRUE WHERE id = $1";

pub(crate) const FORGET: &str = "-- stop: done
DELETE FROM stops WHERE message_id = $1";

/// Under the lock of the conversation, for a message that is worked on.
pub(crate) async fn ask_to_cancel(
    tx: &mut Tx<'_>,
    (message, conversation): (Uuid, Uuid),
    reason: &str,
    now: i64,
) -> Result<(), StoreError> {
    change!(tx, MARK, message)?;
    let news = change!(tx, ASK, message, conversation, StopKind::Cancel.as_str(), reason, now)?;
    if news > 0 {
        let detail = json!({"class": FailureClass::Operator, "reason": reason});
        note(tx, &Event::new(EventKind::StopAsked, now).message(message).detail(detail)).await?;
    }
    Ok(())
}

#[derive(Clone, Debug)]
pub(crate) struct Interruption {
    conversation: ConversationId,
    epoch: i64,
    message: MessageId,
    reason: String,
}

pub(crate) const HOLDER: &str = "-- interrupt: holder
SELECT owner FROM conversations WHERE id = $1 AND epoch = $2 AND owner IS NOT NULL";

async fn interrupt(tx: &mut Tx<'_>, it: &Interruption) -> Result<Fenced<()>, StoreError> {
    tx.lock(LOCK, it.conversation.0).await?;
    let holder = ask!(tx, fetch_optional, (String,), HOLDER, it.conversation.0, it.epoch)?;
    let Some((owner,)) = holder else { return Ok(Fenced::LeaseLost) };
    let (now, kind) = (tx.now().await?, StopKind::Interrupt.as_str());
    let news = change!(tx, ASK, it.message.0, it.conversation.0, kind, it.reason.as_str(), now)?;
    if news > 0 {
        let event = Event::new(EventKind::StopAsked, now).message(it.message.0).actor(&owner).epoch(it.epoch);
        let detail = json!({"class": FailureClass::Superseded, "reason": it.reason});
        note(tx, &event.detail(detail)).await?;
    }
    Ok(Fenced::Done(()))
}

operation!(Interrupt: Interruption => Fenced<()>, "interrupt", interrupt);

/// The newest message behind a turn under way, in the same chat.
#[derive(Clone, Debug)]
pub struct Behind {
    pub conversation: ConversationId,
    pub seq: i64,
    pub message: MessageId,
}

pub(crate) const BEHIND: &str = "-- interrupt: what came since
SELECT m.id FROM messages m JOIN messages o ON o.id = $2
WHERE m.conversation_id = $1 AND m.seq > $3 AND m.state = 'received'
  AND m.route = o.route AND m.instance = o.instance
  AND COALESCE(m.chat_id, '') = COALESCE(o.chat_id, '') AND (o.chat_id IS NOT NULL OR m.profile_id = o.profile_id)
ORDER BY m.seq DESC LIMIT 1";

impl Store {
    /// Every turn that is to be stopped and has not ended: mostly none, and then one look into an empty table.
    pub async fn stops(&self) -> Result<Vec<Stop>, StoreError> {
        let rows = fetch!(self, fetch_all, (Uuid, Uuid, String, String), ALL)?;
        let stop = |(conversation, message, kind, reason): (Uuid, Uuid, String, String)| {
            let (conversation, message) = (ConversationId(conversation), MessageId(message));
            Ok(Stop { conversation, message, kind: parsed(&kind)?, reason })
        };
        rows.into_iter().map(stop).collect()
    }

    /// What was accepted behind a turn under way, of its own route and chat: the newest one. `turn_of` is a message of that
    /// turn and `seq` the place of its last.
    pub async fn waiting_behind(&self, behind: &Behind) -> Result<Option<MessageId>, StoreError> {
        let Behind { conversation, seq, message } = behind;
        let row = fetch!(self, fetch_optional, (Uuid,), BEHIND, conversation.0, message.0, *seq)?;
        Ok(row.map(|(id,)| MessageId(id)))
    }

    /// Records that the holder is about to stop the turn that begins with `message`, for a later one: a successor goes on
    /// with that.
    pub async fn interrupt(
        &self,
        conversation: ConversationId,
        epoch: i64,
        message: MessageId,
        reason: &str,
    ) -> Result<Fenced<()>, StoreError> {
        self.once::<Interrupt>(Interruption { conversation, epoch, message, reason: reason.to_owned() }).await
    }
}
