//! Replay: an old row takes the road again.
//!
//! One call replays the next item of a plan, in one transaction with the item's outcome: an item is applied at most
//! once, whoever runs the plan and however often, and two who run it at once take turns in its order.
//!
//! - Stage `turn`: the message gets a new place at the tail of its conversation, under the lock of the conversation's
//!   row as an accepted one does, and its wake is owed again.
//! - Stage `delivery`: the answer gets a new place at the end of its lane. Its old place is gone: answers behind it were
//!   delivered since it was given up. With the old `ord` it would hold up every open answer of the lane, and overtake
//!   one under way; at the end it waits for what is open now and nothing waits for it but what comes later.
//!
//! No attempt is deleted and no number is given twice: `attempts_before` remembers how many there were, and budgets
//! count from there, and their age from `replayed_at`. A late end of an attempt from before therefore still finds
//! nothing that it fits.

mod history;

use broca_core::{EventKind, MessageState, OutboxId, PlanId, ResponseState, Timestamp, agent::FailureClass};
use serde_json::json;
use sqlx::types::Uuid;

pub use self::history::ReplayRecord;
pub(crate) use self::history::replays_of;
use self::history::{History, record};
use crate::{
    PlanItem, Stage, Store, StoreError,
    decode::parsed,
    journal::{Event, note},
    plans::{self, ItemRow},
    queue,
    tx::{Tx, ask, change, operation},
};

/// What a call of [`Store::replay_next`] did.
#[derive(Clone, Debug)]
pub enum Replayed {
    /// One item: its `outcome` says whether it was replayed or skipped.
    Item(PlanItem),
    /// Every item of the plan has its outcome.
    Over,
    /// There is something left to do, but the plan is too old: what it showed may not be so any more.
    Expired {
        at: Timestamp,
    },
    /// It is a plan for what waits ([`crate::BacklogAct`]).
    OfBacklog,
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Next {
    plan: PlanId,
    actor: String,
}

pub(crate) const LOCK_PLAN: &str = "-- replay: lock plan
SELECT id FROM replay_plans WHERE id = $1 FOR UPDATE";

pub(crate) const EXPIRES: &str = "-- replay: plan
SELECT expires_at, act IS NOT NULL FROM replay_plans WHERE id = $1";

async fn step(tx: &mut Tx<'_>, next: &Next) -> Result<Replayed, StoreError> {
    tx.lock(LOCK_PLAN, next.plan.0).await?;
    let now = tx.now().await?;
    let Some((expires, of_backlog)) = ask!(tx, fetch_optional, (i64, bool), EXPIRES, next.plan.0)? else {
        return Ok(Replayed::Unknown);
    };
    if of_backlog {
        return Ok(Replayed::OfBacklog);
    }
    let Some(item) = plans::next(tx, next.plan).await? else { return Ok(Replayed::Over) };
    if expires <= now {
        return Ok(Replayed::Expired { at: Timestamp(expires) });
    }
    let skipped = match (parsed(&item.stage)?, item.response_id) {
        (Stage::Turn, _) => turn(tx, next, &item, now).await?,
        (Stage::Delivery, Some(response)) => delivery(tx, next, (&item, response), now).await?,
        (Stage::Delivery, None) => Some("it has no answer that could be delivered".to_owned()),
    };
    Ok(Replayed::Item(item.ended(tx, next.plan, "replayed", skipped, now).await?))
}

operation!(Step: Next => Replayed, "replay", step);

pub(crate) const MESSAGE: &str = "-- replay: message
SELECT m.state, m.replays, m.class, m.reason, m.finished_at, m.seq, m.attempts, m.text, m.instance, m.conversation_id,
       EXISTS (SELECT 1 FROM responses r WHERE r.message_id = m.id AND r.open AND r.kind = 'answer') AS answering
FROM messages m WHERE m.id = $1";

pub(crate) const REOPEN_MESSAGE: &str = "-- replay: reopen message
UPDATE messages
SET state = 'received', class = NULL, reason = NULL, finished_at = NULL, seq = $3, first_seq = COALESCE(first_seq, seq),
    text = COALESCE($4, text), heard = FALSE, interrupted = 0, stopping = FALSE, replays = replays + 1, attempts_before = attempts, replayed_at = $5
WHERE id = $1 AND state = $2";

#[derive(sqlx::FromRow)]
struct Message {
    state: String,
    replays: i64,
    class: Option<String>,
    reason: Option<String>,
    finished_at: Option<i64>,
    seq: i64,
    attempts: i64,
    text: String,
    instance: String,
    conversation_id: Uuid,
    answering: bool,
}

impl Message {
    /// Why it is not replayed.
    fn refusal(&self, item: &ItemRow) -> Result<Option<String>, StoreError> {
        let state: MessageState = parsed(&self.state)?;
        Ok(match state.to(MessageState::Received) {
            _ if self.replays != item.round => Some("it was replayed since the plan was made".to_owned()),
            _ if !state.is_terminal() => Some(format!("it is {state}: only what has ended is replayed")),
            Err(refused) => Some(refused.to_string()),
            Ok(_) if self.answering => Some("an answer of it is still on its way".to_owned()),
            Ok(_) if self.text.is_empty() && item.text.is_none() => {
                Some("its text was not kept: give it one with `broca replay --edit`".to_owned())
            }
            Ok(_) => None,
        })
    }

    /// The end that the replay takes back.
    fn end(&self, id: Uuid) -> Result<Event<'static>, StoreError> {
        let end = EventKind::end_of(parsed(&self.state)?).zip(self.finished_at);
        let (kind, at) = end.ok_or_else(|| StoreError::Unreadable(format!("message {id} ended at no time")))?;
        Ok(Event::new(kind, at).message(id).detail(json!({"class": self.class, "reason": self.reason})))
    }
}

/// Says why it was skipped.
async fn turn(tx: &mut Tx<'_>, next: &Next, item: &ItemRow, now: i64) -> Result<Option<String>, StoreError> {
    let id = item.message_id;
    tx.lock(queue::LOCK, id).await?;
    let Some(message) = ask!(tx, fetch_optional, Message, MESSAGE, id)? else {
        return Ok(Some("there is no such message any more".to_owned()));
    };
    let refusal = message.refusal(item)?;
    if refusal.is_some() {
        return Ok(refusal);
    }
    note(tx, &message.end(id)?).await?;
    let tail = queue::enter(tx, message.conversation_id, now).await?;
    let moved = change!(tx, REOPEN_MESSAGE, id, message.state.as_str(), tail, item.text.as_deref(), now)?;
    moved_one(moved, id)?;
    owe(tx, Stage::Turn, &message.instance, (id, message.conversation_id, None), now).await?;
    let history = History {
        state: &message.state,
        class: message.class.as_deref(),
        reason: message.reason.as_deref(),
        seq: message.seq,
        attempts: message.attempts,
        text: item.text.as_ref().map(|_| message.text.as_str()),
    };
    record(tx, next, item, history, now).await?;
    change!(tx, CLOSE_ANSWERS, id, next.actor.as_str(), now)?;
    change!(tx, TAKE_NOTICES_BACK, id, FailureClass::Operator.as_str(), now)?;
    Ok(None)
}

/// What failed of the answers before is no letter any more.
pub(crate) const CLOSE_ANSWERS: &str = "-- replay: close letters of older answers
INSERT INTO letters_closed (subject_id, round, stage, message_id, how, actor, closed_at)
SELECT id, replays, 'delivery', message_id, 'replayed', $2, $3
FROM responses WHERE message_id = $1 AND kind = 'answer' AND state IN ('dead', 'unknown')
ON CONFLICT DO NOTHING";

/// A notice that nobody has begun to deliver is not true any more.
pub(crate) const TAKE_NOTICES_BACK: &str = "-- replay: take notices back
UPDATE responses SET state = 'suppressed', open = FALSE, class = $2, reason = 'its message was replayed', finished_at = $3
WHERE message_id = $1 AND kind = 'notice' AND state IN ('pending', 'retry')";

pub(crate) const LOCK_RESPONSE: &str = "-- replay: lock answer
SELECT id FROM responses WHERE id = $1 FOR UPDATE";

pub(crate) const RESPONSE: &str = "-- replay: answer
SELECT r.state, r.replays, r.class, r.reason, r.finished_at, m.seq, r.attempts, r.instance, r.conversation_id,
       m.replayed_at IS NOT NULL AND m.replayed_at > r.created_at AS superseded
FROM responses r JOIN messages m ON m.id = r.message_id WHERE r.id = $1 AND r.message_id = $2";

pub(crate) const REOPEN_RESPONSE_PG: &str = "-- replay: reopen answer
UPDATE responses
SET ord = nextval('responses_ord'), state = 'pending', open = TRUE, class = NULL, reason = NULL, receipt = NULL, host = NULL,
    lease_until = 0, not_before = 0, started_at = NULL, finished_at = NULL,
    replays = replays + 1, attempts_before = attempts, replayed_at = $3
WHERE id = $1 AND state = $2";

/// The next `ord` that is given out is greater than the greatest in the table, this one included.
pub(crate) const REOPEN_RESPONSE_LITE: &str = "-- replay: reopen answer
UPDATE responses
SET ord = (SELECT max(ord) + 1 FROM responses), state = 'pending', open = TRUE, class = NULL, reason = NULL,
    receipt = NULL, host = NULL, lease_until = 0, not_before = 0, started_at = NULL, finished_at = NULL,
    replays = replays + 1, attempts_before = attempts, replayed_at = $3
WHERE id = $1 AND state = $2";

#[derive(sqlx::FromRow)]
struct Response {
    state: String,
    replays: i64,
    class: Option<String>,
    reason: Option<String>,
    finished_at: Option<i64>,
    seq: i64,
    attempts: i64,
    instance: String,
    conversation_id: Uuid,
    superseded: bool,
}

impl Response {
    fn refusal(&self, item: &ItemRow) -> Result<Option<String>, StoreError> {
        let state: ResponseState = parsed(&self.state)?;
        Ok(match state.to(ResponseState::Pending) {
            _ if self.replays != item.round => Some("it was replayed since the plan was made".to_owned()),
            _ if self.superseded => Some("its message was replayed, and a newer answer counts".to_owned()),
            _ if !state.is_terminal() => Some(format!("its answer is {state}: only what has ended is replayed")),
            Err(refused) => Some(refused.to_string()),
            Ok(_) => None,
        })
    }

    /// The end that the replay takes back, unless it was that of an attempt, which has its own row.
    fn end(&self, message: Uuid, id: Uuid) -> Result<Option<Event<'static>>, StoreError> {
        if parsed::<ResponseState>(&self.state)? != ResponseState::Suppressed {
            return Ok(None);
        }
        let at = self.finished_at.ok_or_else(|| StoreError::Unreadable(format!("answer {id} ended at no time")))?;
        let event = Event::new(EventKind::DeliverySuppressed, at).message(message).response(id);
        Ok(Some(event.detail(json!({"class": self.class, "reason": self.reason}))))
    }
}

/// Says why it was skipped.
async fn delivery(
    tx: &mut Tx<'_>,
    next: &Next,
    (item, id): (&ItemRow, Uuid),
    now: i64,
) -> Result<Option<String>, StoreError> {
    tx.lock(LOCK_RESPONSE, id).await?;
    let Some(response) = ask!(tx, fetch_optional, Response, RESPONSE, id, item.message_id)? else {
        return Ok(Some("there is no such answer any more".to_owned()));
    };
    let refusal = response.refusal(item)?;
    if refusal.is_some() {
        return Ok(refusal);
    }
    if let Some(end) = response.end(item.message_id, id)? {
        note(tx, &end).await?;
    }
    let reopen = tx.either(REOPEN_RESPONSE_PG, REOPEN_RESPONSE_LITE);
    let moved = change!(tx, reopen, id, response.state.as_str(), now)?;
    moved_one(moved, id)?;
    owe(tx, Stage::Delivery, &response.instance, (item.message_id, response.conversation_id, Some(id)), now).await?;
    let history = History {
        state: &response.state,
        class: response.class.as_deref(),
        reason: response.reason.as_deref(),
        seq: response.seq,
        attempts: response.attempts,
        text: None,
    };
    record(tx, next, item, history, now).await?;
    Ok(None)
}

/// The lock above makes anything else impossible, unless somebody writes rows by hand.
fn moved_one(rows: u64, id: Uuid) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Refused(format!("{id} changed its state under a lock"))) }
}

pub(crate) const OWE: &str = "-- replay: outbox
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Under a fresh id: the broker knows the first publish's.
async fn owe(
    tx: &mut Tx<'_>,
    stage: Stage,
    instance: &str,
    (message, conversation, response): (Uuid, Uuid, Option<Uuid>),
    now: i64,
) -> Result<(), StoreError> {
    let kind = match stage {
        Stage::Turn => "wake",
        Stage::Delivery => "response",
    };
    change!(tx, OWE, OutboxId::new().0, kind, instance, message, conversation, response, now)?;
    Ok(())
}

impl Store {
    /// Replays the next item of a plan, or finds that it must be skipped; either is recorded with it. May be called
    /// while workers run, by several at once, and again after any error: what was done stays done.
    ///
    /// The publish is owed and not made: the sweeps of the workers and plugins bring it within a second.
    pub async fn replay_next(&self, plan: PlanId, actor: &str) -> Result<Replayed, StoreError> {
        self.once::<Step>(Next { plan, actor: actor.to_owned() }).await
    }
}
