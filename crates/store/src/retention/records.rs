//! What is over besides messages: replay plans, holds, and marks of removed messages. There are few of them.

use super::{Cuts, Removed};
use crate::{
    Store, StoreError,
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

pub(crate) const COUNT: &str = "-- retention: old records
SELECT (SELECT count(*) FROM replay_items i JOIN replay_plans p ON p.id = i.plan_id WHERE p.expires_at <= $1),
       (SELECT count(*) FROM replay_plans WHERE expires_at <= $1), (SELECT count(*) FROM holds WHERE settled_at <= $1),
       (SELECT count(*) FROM past_messages WHERE until <= $2)";

async fn remove(tx: &mut Tx<'_>, cuts: &Cuts) -> Result<Removed, StoreError> {
    Ok(Removed {
        plan_items: change!(tx, PLANS, cuts.records, LIMIT)?,
        plans: change!(tx, EMPTY, cuts.records, LIMIT)?,
        holds: change!(tx, HOLDS, cuts.records, LIMIT)?,
        marks: change!(tx, MARKS, cuts.now, LIMIT)?,
        ..Removed::default()
    })
}

operation!(RemoveRecords: Cuts => Removed, "retention: records", remove);

impl Store {
    /// How many records of other kinds than messages are over for long enough.
    pub async fn retention_records(&self, cuts: &Cuts) -> Result<Removed, StoreError> {
        type Row = (i64, i64, i64, i64);
        let (items, plans, holds, marks) = fetch!(self, fetch_one, Row, COUNT, cuts.records, cuts.now)?;
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Removed {
            plan_items: number(items),
            plans: number(plans),
            holds: number(holds),
            marks: number(marks),
            ..Removed::default()
        })
    }

    /// Removes some of them.
    pub async fn retention_remove_records(&self, cuts: &Cuts) -> Result<Removed, StoreError> {
        self.once::<RemoveRecords>(*cuts).await
    }
}
