//! A plan for what waits, carried out: answered at a pace, answered by one turn for each conversation, or passed over.
//!
//! The rows of plans are those of replays (`plans.rs`): what was shown is what is done, an item is dealt with once,
//! whoever runs the plan and however often. A pace needs nobody who keeps it: each conversation gets a hold that ends by
//! itself, the next one's a little later. Whatever restarts, the holds end when they end.

use std::num::NonZeroU32;

use broca_core::{ConversationId, EventKind, HoldId, MessageState, PlanId, ResponseId, Timestamp, agent::FailureClass};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::{Json, Uuid};

use crate::{
    NewResponse, PlanItem, Store, StoreError, catch_up,
    decode::parsed,
    journal::{Event, note},
    lite,
    notices::{self, About},
    plans::{self, ItemRow},
    queue,
    replay::LOCK_PLAN,
    tx::{Tx, ask, change, operation},
};

/// What is done with what waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum BacklogAct {
    /// Answered as ever, so many conversations a second.
    Answer { per_second: NonZeroU32 },
    /// What waits in a conversation becomes one turn; likewise.
    CatchUp { per_second: NonZeroU32 },
    /// Ended without an answer, for this reason; with a notice, one for each chat.
    Skip { reason: String, notice: Option<String> },
}

/// What a call of [`Store::backlog_next`] did.
#[derive(Clone, Debug)]
pub enum BacklogStep {
    /// These: their `outcome` says whether they were done or skipped.
    Items(Vec<PlanItem>),
    /// Every item of the plan has its outcome.
    Over,
    /// There is something left to do, but the plan is too old.
    Expired {
        at: Timestamp,
    },
    /// It is a plan of replays.
    Replays,
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Next {
    plan: PlanId,
    actor: String,
}

/// Items of one conversation, or conversations, that are dealt with in one transaction.
const AT_ONCE: i64 = 100;

pub(crate) const PLAN: &str = "-- backlog: plan
SELECT p.expires_at, p.act, (SELECT min(i.applied_at) FROM replay_items i WHERE i.plan_id = p.id)
FROM replay_plans p WHERE p.id = $1";

async fn step(tx: &mut Tx<'_>, next: &Next) -> Result<BacklogStep, StoreError> {
    type Row = (i64, Option<Json<BacklogAct>>, Option<i64>);
    tx.lock(LOCK_PLAN, next.plan.0).await?;
    let now = tx.now().await?;
    let Some((expires, act, begun)) = ask!(tx, fetch_optional, Row, PLAN, next.plan.0)? else {
        return Ok(BacklogStep::Unknown);
    };
    let Some(Json(act)) = act else { return Ok(BacklogStep::Replays) };
    let mut items = plans::next_items(tx, next.plan, AT_ONCE).await?;
    if items.is_empty() {
        return Ok(BacklogStep::Over);
    }
    if expires <= now {
        return Ok(BacklogStep::Expired { at: Timestamp(expires) });
    }
    // Only whoever paces touches several conversations at once: it locks none of them.
    let paced = matches!(act, BacklogAct::Answer { .. });
    items.truncate(if paced { items.len() } else { 1 });
    let mut done = Vec::with_capacity(items.len());
    for item in items {
        let skipped = match &act {
            BacklogAct::Answer { per_second } | BacklogAct::CatchUp { per_second } => {
                let until = until(begun, now, &item, *per_second);
                go_on(tx, next, &item, (!paced, until), now).await?
            }
            BacklogAct::Skip { reason, notice } => pass_over(tx, next, &item, (reason, notice.as_deref()), now).await?,
        };
        done.push(item.ended(tx, next.plan, "done", skipped, now).await?);
    }
    Ok(BacklogStep::Items(done))
}

operation!(Step: Next => BacklogStep, "backlog", step);

/// When an item's turn comes, from the moment on at which the plan was begun.
fn until(begun: Option<i64>, now: i64, item: &ItemRow, per_second: NonZeroU32) -> i64 {
    let after = (item.n - 1).saturating_mul(1_000_000) / i64::from(per_second.get());
    begun.unwrap_or(now).saturating_add(after)
}

pub(crate) const WORK: &str = "-- backlog: does anything wait
SELECT c.id FROM messages m JOIN conversations c ON c.id = m.conversation_id
WHERE m.id = $1 AND (c.head < c.tail
    OR (SELECT EXISTS (SELECT 1 FROM messages h WHERE h.conversation_id = c.id AND h.held_by IS NOT NULL)))";

pub(crate) const PACE: &str = "-- backlog: pace
INSERT INTO holds (id, kind, subject, reason, actor, created_at, expires_at, plan_id)
VALUES ($1, 'conversation', $2, $3, $4, $5, $6, $7)
ON CONFLICT (kind, subject) WHERE settled_at IS NULL DO NOTHING";

/// At its time, and by one turn where it is to be caught up with: a conversation that is on hold is caught up with when it
/// goes on. Says why it was skipped.
async fn go_on(
    tx: &mut Tx<'_>,
    next: &Next,
    item: &ItemRow,
    (join, until): (bool, i64),
    now: i64,
) -> Result<Option<String>, StoreError> {
    let Some((conversation,)) = ask!(tx, fetch_optional, (Uuid,), WORK, item.message_id)? else {
        return Ok(Some("nothing of it waits any more".to_owned()));
    };
    if join && catch_up::join(tx, &ConversationId(conversation)).await? == 0 {
        return Ok(Some("nothing stands in its queue: what waits is on hold, or its turn has begun".to_owned()));
    }
    if until <= now {
        return Ok(None);
    }
    let (hold, subject) = (HoldId::new(), lite::hex(conversation));
    let reason = format!("its turn in backlog plan {}", next.plan);
    let (actor, plan) = (next.actor.as_str(), next.plan.0);
    if change!(tx, PACE, hold.0, subject.as_str(), reason.as_str(), actor, now, until, plan)? != 1 {
        return Ok(Some("its conversation is on hold already: `broca hold list`".to_owned()));
    }
    let detail = json!({"hold": hold, "reason": reason, "until": until});
    note(tx, &Event::new(EventKind::Held, now).conversation(conversation).actor(actor).detail(detail)).await?;
    Ok(None)
}

pub(crate) const LOOK: &str = "-- backlog: message
SELECT m.state, m.replays, m.conversation_id, m.seq, m.instance, m.chat_id, m.profile_id FROM messages m WHERE m.id = $1";

pub(crate) const END: &str = "-- backlog: pass a message over
UPDATE messages SET state = 'cancelled', held_by = NULL, class = $2, reason = $3, finished_at = $4 WHERE id = $1";

type Message = (String, i64, Uuid, i64, String, Option<String>, Uuid);

async fn pass_over(
    tx: &mut Tx<'_>,
    next: &Next,
    item: &ItemRow,
    (reason, notice): (&str, Option<&str>),
    now: i64,
) -> Result<Option<String>, StoreError> {
    let id = item.message_id;
    tx.lock(queue::LOCK, id).await?;
    let Some(message) = ask!(tx, fetch_optional, Message, LOOK, id)? else {
        return Ok(Some("there is no such message any more".to_owned()));
    };
    let (state, replays, conversation, seq) = (parsed(&message.0)?, message.1, message.2, message.3);
    match state {
        MessageState::Received | MessageState::Held if replays == item.round => {}
        MessageState::Processing => return Ok(Some("its turn has begun".to_owned())),
        MessageState::Received | MessageState::Held => {
            return Ok(Some("it was replayed since the plan was made".to_owned()));
        }
        over => return Ok(Some(format!("it is {over} by now"))),
    }
    change!(tx, END, id, FailureClass::Operator.as_str(), reason, now)?;
    if state == MessageState::Received {
        queue::leave(tx, conversation, seq, now).await?;
    }
    if let Some(text) = notice {
        tell(tx, next.plan, (id, &message), text, now).await?;
    }
    Ok(None)
}

/// One for each chat, with the first of its messages that is passed over.
async fn tell(
    tx: &mut Tx<'_>,
    plan: PlanId,
    (id, message): (Uuid, &Message),
    text: &str,
    now: i64,
) -> Result<(), StoreError> {
    let (_, _, conversation, _, instance, chat, profile) = message;
    let (conversation, chat, profile) = (ConversationId(*conversation), chat.as_deref(), *profile);
    let about = About { message: id, conversation, instance, chat, profile };
    let id = ResponseId(Uuid::new_v5(&plan.0, about.lane().as_bytes()));
    notices::tell(tx, &NewResponse { id, text: text.to_owned() }, &about, now).await
}

pub(crate) const PACED: &str = "-- backlog: what a pace keeps back
SELECT h.plan_id, count(*), max(h.expires_at) FROM holds h
WHERE h.settled_at IS NULL AND h.released_at IS NULL AND h.expires_at > $1 AND h.plan_id IS NOT NULL
GROUP BY h.plan_id ORDER BY max(h.expires_at)";

pub(crate) const LET_GO: &str = "-- backlog: let go
UPDATE holds SET released_at = $2, released_by = $3
WHERE plan_id = $1 AND settled_at IS NULL AND released_at IS NULL AND expires_at > $2";

/// A plan that is being carried out at a pace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct PacedPlan {
    pub plan: PlanId,
    /// Conversations whose turn has not come.
    pub waiting: i64,
    /// When the last one's comes.
    pub until: Timestamp,
}

pub(crate) async fn paced(tx: &mut Tx<'_>, now: i64) -> Result<Vec<PacedPlan>, StoreError> {
    let rows = ask!(tx, fetch_all, (Uuid, i64, i64), PACED, now)?;
    let plan = |(plan, waiting, until)| PacedPlan { plan: PlanId(plan), waiting, until: Timestamp(until) };
    Ok(rows.into_iter().map(plan).collect())
}

async fn let_go(tx: &mut Tx<'_>, next: &Next) -> Result<u64, StoreError> {
    let now = tx.now().await?;
    Ok(change!(tx, LET_GO, next.plan.0, now, next.actor.as_str())?)
}

operation!(LetGo: Next => u64, "backlog: let go", let_go);

impl Store {
    /// Deals with the next items of a plan for what waits; what became of each is recorded with it. May be called while
    /// workers run, by several at once, and again after any error: what was done stays done.
    pub async fn backlog_next(&self, plan: PlanId, actor: &str) -> Result<BacklogStep, StoreError> {
        self.once::<Step>(Next { plan, actor: actor.to_owned() }).await
    }

    /// Ends the pace of a plan: what it still keeps back goes on at once. Says how many conversations that are.
    pub async fn backlog_let_go(&self, plan: PlanId, actor: &str) -> Result<u64, StoreError> {
        self.once::<LetGo>(Next { plan, actor: actor.to_owned() }).await
    }
}
