//! What was replayed, how often and why, and what each replay overwrote.

use broca_core::{MessageId, PlanId, ResponseId, Timestamp};
use serde::Serialize;
use sqlx::types::Uuid;

use super::Next;
use crate::{
    Stage, StoreError,
    closing::{CloseLetter, close},
    decode::{count, parsed},
    plans::ItemRow,
    tx::{Tx, ask, change},
};

/// One replay that was made, and what it overwrote.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct ReplayRecord {
    pub stage: Stage,
    pub response_id: Option<ResponseId>,
    pub plan_id: PlanId,
    pub actor: String,
    pub at: Timestamp,
    pub was_state: String,
    pub class: Option<String>,
    pub reason: Option<String>,
    /// Its place in the conversation until then.
    pub was_seq: i64,
    /// Attempts at this stage until then.
    pub attempts: u32,
    /// What the message said before it was edited.
    pub was_text: Option<String>,
}

/// What the replay overwrites.
pub(super) struct History<'a> {
    pub(super) state: &'a str,
    pub(super) class: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
    pub(super) seq: i64,
    pub(super) attempts: i64,
    pub(super) text: Option<&'a str>,
}

pub(crate) const RECORD: &str = "-- replay: history
INSERT INTO replays (message_id, response_id, stage, plan_id, actor, was_state, class, reason, was_seq, attempts,
                     was_text, replayed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

pub(super) async fn record(
    tx: &mut Tx<'_>,
    next: &Next,
    item: &ItemRow,
    was: History<'_>,
    now: i64,
) -> Result<(), StoreError> {
    change!(
        tx,
        RECORD,
        item.message_id,
        item.response_id,
        item.stage.as_str(),
        next.plan.0,
        next.actor.as_str(),
        was.state,
        was.class,
        was.reason,
        was.seq,
        was.attempts,
        was.text,
        now,
    )?;
    // A stored, cancelled or answered message was no letter.
    if ["failed", "dead", "unknown"].contains(&was.state) {
        let letter = CloseLetter {
            subject: item.response_id.unwrap_or(item.message_id),
            round: item.round,
            stage: parsed(&item.stage)?,
            message: MessageId(item.message_id),
            how: "replayed",
            actor: next.actor.clone(),
            note: None,
        };
        close(tx, &letter).await?;
    }
    Ok(())
}

pub(crate) const REPLAYS: &str = "-- replays of a message
SELECT stage, response_id, plan_id, actor, replayed_at, was_state, class, reason, was_seq, attempts, was_text
FROM replays WHERE message_id = $1 ORDER BY replayed_at";

#[derive(sqlx::FromRow)]
struct Record {
    stage: String,
    response_id: Option<Uuid>,
    plan_id: Uuid,
    actor: String,
    replayed_at: i64,
    was_state: String,
    class: Option<String>,
    reason: Option<String>,
    was_seq: i64,
    attempts: i64,
    was_text: Option<String>,
}

/// How often and why a message was replayed, oldest first.
pub(crate) async fn replays_of(tx: &mut Tx<'_>, message: Uuid) -> Result<Vec<ReplayRecord>, StoreError> {
    let record = |row: Record| {
        Ok(ReplayRecord {
            stage: parsed(&row.stage)?,
            response_id: row.response_id.map(ResponseId),
            plan_id: PlanId(row.plan_id),
            actor: row.actor,
            at: Timestamp(row.replayed_at),
            was_state: row.was_state,
            class: row.class,
            reason: row.reason,
            was_seq: row.was_seq,
            attempts: count(row.attempts)?,
            was_text: row.was_text,
        })
    };
    ask!(tx, fetch_all, Record, REPLAYS, message)?.into_iter().map(record).collect()
}
