//! What is over besides messages: replay plans, holds, marks of removed messages, what operators did, codes that nobody
//! approved, and counts of people who say nothing any more. There are few of them.

use broca_core::Timestamp;
use sqlx::types::Uuid;

use super::{Cuts, Removed};
use crate::{
    Store, StoreError,
    export::ids_of,
    reading::fetch,
    tx::{Tx, change, operation},
};

/// At most so many of each at a time.
const LIMIT: i64 = 1_000;

pub(crate) const PLANS: &str = "-- retention: items of old plans
DELETE FROM replay_items WHERE plan_id IN (SELECT id FROM replay_plans WHERE expires_at <= $1 ORDER BY id LIMIT $2)";

pub(crate) const EMPTY: &str = "-- retention: old plans
DELETE FROM replay_plans WHERE id IN (SELECT id FROM replay_plans WHERE expires_at <= $1 ORDER BY id LIMIT $2)";

pub(crate) const HOLDS: &str = "-- retention: old holds
DELETE FROM holds WHERE id IN (SELECT id FROM holds WHERE settled_at <= $1 ORDER BY id LIMIT $2)";

pub(crate) const MARKS: &str = "-- retention: marks
DELETE FROM past_messages WHERE key IN (SELECT key FROM past_messages WHERE until <= $1 ORDER BY until LIMIT $2)";

/// The ids are those of the acts' time, and `$2` is above them all.
pub(crate) const ACTS: &str = "-- retention: old acts
DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE id < $2 AND at <= $1 ORDER BY id LIMIT $3)";

pub(crate) const CODES: &str = "-- retention: old codes
DELETE FROM pairings WHERE id IN (
    SELECT id FROM pairings WHERE approved_at IS NULL AND revoked_at IS NULL AND expires_at <= $1 ORDER BY id LIMIT $2)";

/// Whoever was silent for so long may say as much as somebody new.
const SILENT_MICROS: i64 = 30 * 86_400 * 1_000_000;

/// All at once: their table has no index by time, which would be written with each message that is counted.
pub(crate) const COUNTERS: &str = "-- retention: old counters
DELETE FROM access_counters WHERE at <= $1";

pub(crate) const COUNT: &str = "-- retention: old records
SELECT (SELECT count(*) FROM replay_items i JOIN replay_plans p ON p.id = i.plan_id WHERE p.expires_at <= $1),
       (SELECT count(*) FROM replay_plans WHERE expires_at <= $1), (SELECT count(*) FROM holds WHERE settled_at <= $1),
       (SELECT count(*) FROM past_messages WHERE until <= $2), (SELECT count(*) FROM audit_log WHERE at <= $3),
       (SELECT count(*) FROM pairings WHERE approved_at IS NULL AND revoked_at IS NULL AND expires_at <= $1),
       (SELECT count(*) FROM access_counters WHERE at <= $4)";

/// No act of before has a greater id.
fn acts_before(cuts: &Cuts) -> Uuid {
    ids_of(None, Some(Timestamp(cuts.audit))).1
}

async fn remove(tx: &mut Tx<'_>, cuts: &Cuts) -> Result<Removed, StoreError> {
    Ok(Removed {
        plan_items: change!(tx, PLANS, cuts.records, LIMIT)?,
        plans: change!(tx, EMPTY, cuts.records, LIMIT)?,
        holds: change!(tx, HOLDS, cuts.records, LIMIT)?,
        marks: change!(tx, MARKS, cuts.now, LIMIT)?,
        acts: change!(tx, ACTS, cuts.audit, acts_before(cuts), LIMIT)?,
        codes: change!(tx, CODES, cuts.records, LIMIT)?,
        counters: change!(tx, COUNTERS, cuts.now.saturating_sub(SILENT_MICROS))?,
        ..Removed::default()
    })
}

operation!(RemoveRecords: Cuts => Removed, "retention: records", remove);

impl Store {
    /// How many records of other kinds than messages are over for long enough.
    pub async fn retention_records(&self, cuts: &Cuts) -> Result<Removed, StoreError> {
        type Row = (i64, i64, i64, i64, i64, i64, i64);
        let silent = cuts.now.saturating_sub(SILENT_MICROS);
        let (items, plans, holds, marks, acts, codes, counters) =
            fetch!(self, fetch_one, Row, COUNT, cuts.records, cuts.now, cuts.audit, silent)?;
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Removed {
            plan_items: number(items),
            plans: number(plans),
            holds: number(holds),
            marks: number(marks),
            acts: number(acts),
            codes: number(codes),
            counters: number(counters),
            ..Removed::default()
        })
    }

    /// Removes some of them.
    pub async fn retention_remove_records(&self, cuts: &Cuts) -> Result<Removed, StoreError> {
        self.once::<RemoveRecords>(*cuts).await
    }
}
