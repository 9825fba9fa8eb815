//! Replay plans: exactly what an operator saw, item by item, with what became of each.

use std::time::Duration;

use broca_core::{MessageId, PlanId, ResponseId, Timestamp, clock::micros};
use serde::Serialize;
use serde_json::json;
use sqlx::types::{Json, Uuid};

use crate::{
    BacklogAct, Stage, Store, StoreError,
    decode::parsed,
    lite::{batch, hex},
    operation::column,
    reading::fetch,
    tx::{Tx, ask, change, operation},
};

/// A list of replays to be made, in order.
#[derive(Clone, Debug)]
pub struct NewPlan {
    /// Who asks.
    pub actor: String,
    /// What was asked for, for the record.
    pub asked: serde_json::Value,
    /// How long it may be applied.
    pub life: Duration,
    /// What is done with its items; `None` is that they are replayed.
    pub act: Option<BacklogAct>,
    pub items: Vec<NewPlanItem>,
}

#[derive(Clone, Debug)]
pub struct NewPlanItem {
    pub message: MessageId,
    /// The answer to deliver; must be set at stage `delivery`, and there alone.
    pub response: Option<ResponseId>,
    pub stage: Stage,
    /// [`crate::Letter::replays`] as it was seen: the item is skipped should it be replayed by anybody else first.
    pub replays: i64,
    /// What the message is to say from now on; stage `turn` alone.
    pub text: Option<String>,
}

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Plan {
    pub id: PlanId,
    pub actor: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub items: Vec<PlanItem>,
}

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct PlanItem {
    /// Its place in the plan, from 1.
    pub n: i64,
    pub message_id: MessageId,
    pub response_id: Option<ResponseId>,
    pub stage: Stage,
    /// `replayed`, or `done` by a plan of another kind; `skipped`, or nothing yet.
    pub outcome: Option<String>,
    /// Why it was skipped.
    pub reason: Option<String>,
    pub applied_at: Option<Timestamp>,
}

pub(crate) const PLAN: &str = "-- plan
INSERT INTO replay_plans (id, actor, asked, created_at, expires_at, act) VALUES ($1, $2, $3, $4, $5, $6)";

pub(crate) const ITEMS_PG: &str = "-- plan items
INSERT INTO replay_items (plan_id, n, message_id, response_id, stage, round, text)
SELECT $1, i.n, i.message_id, i.response_id, i.stage, i.round, i.text
FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[])
    WITH ORDINALITY AS i (message_id, response_id, stage, round, text, n)";

pub(crate) const ITEMS_LITE: &str = "-- plan items
INSERT INTO replay_items (plan_id, n, message_id, response_id, stage, round, text)
SELECT $1, key + 1, unhex(value ->> 'message'), unhex(value ->> 'response'), value ->> 'stage', value ->> 'round',
       value ->> 'text'
FROM json_each($2)";

async fn make(tx: &mut Tx<'_>, plan: &NewPlan) -> Result<PlanId, StoreError> {
    let (id, now) = (PlanId::new(), tx.now().await?);
    let expires = now.saturating_add(micros(plan.life));
    change!(tx, PLAN, id.0, plan.actor.as_str(), Json(&plan.asked), now, expires, plan.act.as_ref().map(Json))?;
    let items = &plan.items;
    match tx {
        Tx::Pg(conn) => {
            sqlx::query(ITEMS_PG)
                .bind(id.0)
                .bind(column(items, |i| i.message.0))
                .bind(column(items, |i| i.response.map(|response| response.0)))
                .bind(column(items, |i| i.stage.as_str()))
                .bind(column(items, |i| i.replays))
                .bind(column(items, |i| i.text.as_deref()))
                .execute(&mut **conn)
                .await?;
        }
        Tx::Lite(conn) => {
            let items = batch(items, |i| {
                json!({"message": hex(i.message.0), "response": i.response.map(|response| hex(response.0)),
                       "stage": i.stage.as_str(), "round": i.replays, "text": i.text})
            });
            sqlx::query(ITEMS_LITE).bind(id.0).bind(items).execute(&mut **conn).await?;
        }
    }
    Ok(id)
}

operation!(MakePlan: NewPlan => PlanId, "plan", make);

pub(crate) const LOOK: &str = "-- plan: look
SELECT actor, created_at, expires_at FROM replay_plans WHERE id = $1";

pub(crate) const ITEMS: &str = "-- plan: items
SELECT n, message_id, response_id, stage, round, text, outcome, reason, applied_at
FROM replay_items WHERE plan_id = $1 ORDER BY n";

pub(crate) const NEXT: &str = "-- plan: next item
SELECT n, message_id, response_id, stage, round, text, outcome, reason, applied_at
FROM replay_items WHERE plan_id = $1 AND outcome IS NULL ORDER BY n LIMIT $2";

pub(crate) const OUTCOME: &str = "-- plan: outcome
UPDATE replay_items SET outcome = $3, reason = $4, applied_at = $5 WHERE plan_id = $1 AND n = $2 AND outcome IS NULL";

#[derive(sqlx::FromRow)]
pub(crate) struct ItemRow {
    pub(crate) n: i64,
    pub(crate) message_id: Uuid,
    pub(crate) response_id: Option<Uuid>,
    pub(crate) stage: String,
    pub(crate) round: i64,
    pub(crate) text: Option<String>,
    outcome: Option<String>,
    reason: Option<String>,
    applied_at: Option<i64>,
}

impl ItemRow {
    pub(crate) fn item(self) -> Result<PlanItem, StoreError> {
        Ok(PlanItem {
            n: self.n,
            message_id: MessageId(self.message_id),
            response_id: self.response_id.map(ResponseId),
            stage: parsed(&self.stage)?,
            outcome: self.outcome,
            reason: self.reason,
            applied_at: self.applied_at.map(Timestamp),
        })
    }

    /// Ends the item: `done`, or skipped for a reason.
    pub(crate) async fn ended(
        mut self,
        tx: &mut Tx<'_>,
        plan: PlanId,
        done: &'static str,
        skipped: Option<String>,
        now: i64,
    ) -> Result<PlanItem, StoreError> {
        let outcome = if skipped.is_some() { "skipped" } else { done };
        if change!(tx, OUTCOME, plan.0, self.n, outcome, skipped.as_deref(), now)? != 1 {
            return Err(StoreError::Refused(format!("item {} of plan {plan} was applied by somebody else", self.n)));
        }
        (self.outcome, self.reason, self.applied_at) = (Some(outcome.to_owned()), skipped, Some(now));
        self.item()
    }
}

/// The first item that nobody has applied.
pub(crate) async fn next(tx: &mut Tx<'_>, plan: PlanId) -> Result<Option<ItemRow>, StoreError> {
    Ok(next_items(tx, plan, 1).await?.pop())
}

/// The first items that nobody has applied.
pub(crate) async fn next_items(tx: &mut Tx<'_>, plan: PlanId, at_most: i64) -> Result<Vec<ItemRow>, StoreError> {
    Ok(ask!(tx, fetch_all, ItemRow, NEXT, plan.0, at_most)?)
}

impl Store {
    /// Writes a plan down. Nothing is replayed yet.
    pub async fn make_plan(&self, plan: NewPlan) -> Result<PlanId, StoreError> {
        self.once::<MakePlan>(plan).await
    }

    /// A plan with all its items; `None` when there is no such plan.
    pub async fn plan(&self, id: PlanId) -> Result<Option<Plan>, StoreError> {
        type Head = (String, i64, i64);
        let Some((actor, created_at, expires_at)) = fetch!(self, fetch_optional, Head, LOOK, id.0)? else {
            return Ok(None);
        };
        let items = fetch!(self, fetch_all, ItemRow, ITEMS, id.0)?;
        let items = items.into_iter().map(ItemRow::item).collect::<Result<_, _>>()?;
        Ok(Some(Plan { id, actor, created_at: Timestamp(created_at), expires_at: Timestamp(expires_at), items }))
    }
}
