//! The end of a turn that says several messages, or that was stopped: each of its messages ends by itself, all of them in
//! one transaction with the turn, the answer, the lease and what is owed to the broker.
//!
//! An ordinary turn of one message ends in one statement (`finish`); this is the longer way for the rarer case. Both keep
//! what `queue.rs` says of places: whatever is pending stands behind `head`, and the last of it at `tail`.

use broca_core::{
    ConversationId, EventKind, HoldId, MessageId, MessageState, OutboxId, Timestamp, TurnId, TurnState, Usage,
    agent::Failure, clock::micros,
};
use serde_json::json;
use sqlx::types::Uuid;
use std::time::Duration;

use crate::{
    Fenced, IfFailed, NewResponse, Store, StoreError, holds,
    journal::{Event, note},
    lite::lane,
    notices::{self, About},
    queue,
    set_aside::LOCK,
    stops,
    tx::{Tx, ask, change, operation},
};

/// How one message of a turn ends.
#[derive(Clone, Debug, PartialEq)]
pub enum MessageEnd {
    /// Completed. The answer, if there is one, is to the last message that ends like this.
    Answered,
    Cancelled(Failure),
    Failed(Failure),
    /// Tried again after the turn's `delay`.
    Again(Failure),
    /// Back in the queue, with one attempt less used: it is said again, or, when the agent has `heard` it, answered
    /// with what came after it.
    Interrupted {
        heard: bool,
    },
}

impl MessageEnd {
    fn state(&self) -> MessageState {
        match self {
            Self::Answered => MessageState::Completed,
            Self::Cancelled(_) => MessageState::Cancelled,
            Self::Failed(_) => MessageState::Failed,
            Self::Again(_) | Self::Interrupted { .. } => MessageState::Received,
        }
    }

    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Cancelled(failure) | Self::Failed(failure) | Self::Again(failure) => Some(failure),
            Self::Answered | Self::Interrupted { .. } => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct EndTurn {
    pub conversation: ConversationId,
    pub epoch: i64,
    pub turn: TurnId,
    pub state: TurnState,
    pub failure: Option<Failure>,
    pub usage: Option<Usage>,
    /// All of its messages, in their order.
    pub ends: Vec<(MessageId, MessageEnd)>,
    pub response: Option<NewResponse>,
    /// What follows when some of them failed: one notice, with the last of these, and one failure of the conversation.
    pub if_failed: IfFailed,
    /// When there is a message that is tried again: the conversation is parked and given up for so long.
    pub delay: Duration,
}

/// What an [`EndTurn`] led to.
#[derive(Clone, Debug)]
pub struct TurnEnded {
    /// The answer's owed publish, and those of dead letters, to be made now.
    pub owed: Vec<(MessageId, OutboxId)>,
    pub at: Timestamp,
    /// The lease was released: nothing is pending, or the conversation is parked.
    pub released: bool,
    /// The hold that the conversation is on from now, because it failed too often.
    pub quarantined: Option<HoldId>,
}

pub(crate) const TURN: &str = "-- end turn: look
SELECT c.owner, t.state FROM conversations c JOIN turns t ON t.id = $3 AND t.conversation_id = c.id
WHERE c.id = $1 AND c.epoch = $2 AND c.owner IS NOT NULL";

pub(crate) const MESSAGE: &str = "-- end turn: message
SELECT state, stopping, instance, profile_id, chat_id, attempts FROM messages WHERE id = $1 AND conversation_id = $2";

pub(crate) const END: &str = "-- end turn: end message
UPDATE messages
SET state = $2, class = $3, reason = $4, finished_at = $5, attempts_before = attempts_before + $6,
    interrupted = interrupted + $6, heard = heard OR $7, stopping = FALSE
WHERE id = $1";

pub(crate) const END_TURN_PG: &str = "-- end turn
UPDATE turns SET state = $2, class = $3, reason = $4, usage = $5::jsonb, finished_at = $6 WHERE id = $1";
pub(crate) const END_TURN_LITE: &str = "-- end turn
UPDATE turns SET state = $2, class = $3, reason = $4, usage = $5, finished_at = $6 WHERE id = $1";

pub(crate) const ANSWER: &str = "-- end turn: response
INSERT INTO responses (id, message_id, turn_id, conversation_id, profile_id, instance, lane, text, state, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', $9)";

pub(crate) const OWE_PG: &str = "-- end turn: owe
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, detail, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8)";
pub(crate) const OWE_LITE: &str = "-- end turn: owe
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, detail, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// What is pending stands behind the head; a lease that is kept stays as it is.
pub(crate) const ADVANCE: &str = "-- end turn: advance
UPDATE conversations
SET head = $2, tail = $3,
    owner = CASE WHEN $4 THEN NULL ELSE owner END, lease_until = CASE WHEN $4 THEN 0 ELSE lease_until END,
    not_before = CASE WHEN $4 THEN $5 ELSE not_before END, wake_at = CASE WHEN $4 THEN $5 ELSE wake_at END
WHERE id = $1";

#[derive(sqlx::FromRow)]
struct Message {
    state: String,
    stopping: bool,
    instance: String,
    profile_id: Uuid,
    chat_id: Option<String>,
    attempts: i64,
}

type Ended = Result<Fenced<TurnEnded>, StoreError>;

async fn end(tx: &mut Tx<'_>, it: &EndTurn) -> Result<Ended, StoreError> {
    let (conversation, turn) = (it.conversation.0, it.turn.0);
    tx.lock(LOCK, conversation).await?;
    let Some((owner, state)) = ask!(tx, fetch_optional, (String, String), TURN, conversation, it.epoch, turn)? else {
        return Ok(Ok(Fenced::LeaseLost));
    };
    if state != TurnState::Started.as_str() {
        return Ok(Err(StoreError::Refused(format!("turn {} is {state}: it has ended", it.turn))));
    }
    let mut messages = Vec::with_capacity(it.ends.len());
    for (id, end) in &it.ends {
        let found = ask!(tx, fetch_optional, Message, MESSAGE, id.0, conversation)?;
        let Some(message) = found.filter(|message| message.state == MessageState::Processing.as_str()) else {
            return Ok(Err(StoreError::Refused(format!("message {id} is not worked on in this turn"))));
        };
        if message.stopping && !matches!(end, MessageEnd::Cancelled(_)) {
            return Ok(Err(StoreError::StopAsked(*id)));
        }
        messages.push((*id, end, message));
    }
    let now = tx.now().await?;
    let owed = write(tx, it, &messages, now).await?;
    let again = it.ends.iter().find(|(_, end)| matches!(end, MessageEnd::Again(_)));
    let until = again.map(|_| now.saturating_add(micros(it.delay)));
    let released = advance(tx, conversation, until).await?;
    if let Some(((id, end), until)) = again.zip(until) {
        let why = end.failure();
        let event = Event::new(EventKind::Parked, now).message(id.0).conversation(conversation);
        let detail = json!({"until": until, "class": why.map(|w| w.class), "reason": why.map(|w| w.reason.as_str())});
        note(tx, &event.actor(&owner).epoch(it.epoch).detail(detail)).await?;
    }
    let quarantined = judge(tx, it, &messages, now).await?;
    Ok(Ok(Fenced::Done(TurnEnded { owed, at: Timestamp(now), released, quarantined })))
}

/// What the end says of the conversation, and to the person.
async fn judge(
    tx: &mut Tx<'_>,
    it: &EndTurn,
    messages: &[(MessageId, &MessageEnd, Message)],
    now: i64,
) -> Result<Option<HoldId>, StoreError> {
    if messages.iter().any(|(_, end, _)| matches!(end, MessageEnd::Answered)) {
        change!(tx, holds::FORGIVE, it.conversation.0)?;
        return Ok(None);
    }
    let failed = messages.iter().rev().find_map(|(id, end, message)| match end {
        MessageEnd::Failed(failure) => Some((id, failure, message)),
        _ => None,
    });
    let Some((id, failure, message)) = failed else { return Ok(None) };
    if let Some(notice) = &it.if_failed.notice {
        let (instance, chat, profile) = (message.instance.as_str(), message.chat_id.as_deref(), message.profile_id);
        let about = About { message: id.0, conversation: it.conversation, instance, chat, profile };
        notices::tell(tx, notice, &about, now).await?;
    }
    match it.if_failed.quarantine_after {
        Some(after) => holds::count_failure(tx, it.conversation, (after, failure.class), now).await,
        None => Ok(None),
    }
}

/// Messages, turn, answer, and what is owed.
async fn write(
    tx: &mut Tx<'_>,
    it: &EndTurn,
    messages: &[(MessageId, &MessageEnd, Message)],
    now: i64,
) -> Result<Vec<(MessageId, OutboxId)>, StoreError> {
    let (conversation, turn) = (it.conversation.0, it.turn.0);
    let answered = messages.iter().rposition(|(_, end, _)| matches!(end, MessageEnd::Answered));
    let answering = answered.map(|place| messages[place].0);
    let mut owed = Vec::new();
    for (place, (id, end, message)) in messages.iter().enumerate() {
        let failure = end.failure();
        let (class, mut reason) =
            (failure.map(|failure| failure.class.as_str()), failure.map(|failure| failure.reason.clone()));
        if let (MessageEnd::Answered, Some(with)) = (end, answering.filter(|with| with != id)) {
            reason = Some(format!("answered in one turn with message {with}, which has the answer"));
        }
        let finished = end.state().is_terminal().then_some(now);
        let interrupted = i64::from(matches!(end, MessageEnd::Interrupted { .. }));
        let heard = matches!(end, MessageEnd::Interrupted { heard: true });
        change!(tx, END, id.0, end.state().as_str(), class, reason.as_deref(), finished, interrupted, heard)?;
        change!(tx, stops::FORGET, id.0)?;
        let outbox = match (end, &it.response) {
            (MessageEnd::Answered, Some(response)) if Some(place) == answered => {
                let lane = lane(&message.instance, message.chat_id.as_deref(), message.profile_id);
                let (profile, instance) = (message.profile_id, message.instance.as_str());
                let text = response.text.as_str();
                change!(tx, ANSWER, response.id.0, id.0, turn, conversation, profile, instance, lane, text, now)?;
                Some((OutboxId(response.id.0), "response", Some(response.id.0), None))
            }
            (MessageEnd::Failed(failure), _) => {
                let detail = json!({"stage": "turn", "class": failure.class, "reason": failure.reason,
                                    "attempts": message.attempts});
                Some((OutboxId::new(), "dead_letter", None, Some(detail.to_string())))
            }
            _ => None,
        };
        if let Some((outbox, kind, response, detail)) = outbox {
            let sql = tx.either(OWE_PG, OWE_LITE);
            let instance = message.instance.as_str();
            change!(tx, sql, outbox.0, kind, instance, id.0, conversation, response, detail.as_deref(), now)?;
            owed.push((*id, outbox));
        }
    }
    let (class, reason) =
        (it.failure.as_ref().map(|f| f.class.as_str()), it.failure.as_ref().map(|f| f.reason.as_str()));
    let usage = it.usage.and_then(|usage| serde_json::to_string(&usage).ok());
    let sql = tx.either(END_TURN_PG, END_TURN_LITE);
    change!(tx, sql, turn, it.state.as_str(), class, reason, usage.as_deref(), now)?;
    Ok(owed)
}

/// Says whether the lease is released.
async fn advance(tx: &mut Tx<'_>, conversation: Uuid, until: Option<i64>) -> Result<bool, StoreError> {
    type Left = (i64, Option<i64>, Option<i64>);
    let (tail, front, last) = ask!(tx, fetch_one, Left, queue::LEFT, conversation)?;
    let (Some(front), Some(last)) = (front, last) else {
        change!(tx, queue::REST, conversation)?;
        return Ok(true);
    };
    let (mut front, mut end) = (front, tail);
    if last < tail {
        end = tail + 1;
        change!(tx, queue::LAST, conversation, last, end)?;
        front = if front == last { end } else { front };
    }
    let parked = until.is_some();
    change!(tx, ADVANCE, conversation, front - 1, end, parked, until.unwrap_or(0))?;
    Ok(parked)
}

operation!(End: EndTurn => Ended, "end turn", end);

impl Store {
    /// Ends a turn that says several messages, or one that was stopped. The lease is kept while something is pending
    /// and nothing is to be tried again later. [`StoreError::StopAsked`] when somebody asked to have it stopped for a
    /// message that is not to end as cancelled: look at [`Self::stops`] and end it accordingly.
    pub async fn end_turn(&self, turn: EndTurn) -> Result<Fenced<TurnEnded>, StoreError> {
        self.once::<End>(turn).await?
    }
}
