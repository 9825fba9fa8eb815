//! Old steps: of messages that have ended, where their age is set apart, and those that belong to no message (any more).
//!
//! They are walked by their id, which rises with their time: the walk ends at the first one that is too young. The rest
//! of a journey is told by other rows, and stays as long as its message.

use super::Cuts;
use crate::{
    Store, StoreError,
    reading::fetch,
    tx::{Tx, operation},
};

/// A part of the walk.
#[derive(Clone, Debug, Default)]
pub struct EventsStep {
    pub going: Vec<i64>,
    /// Where the walk goes on; `None` when it is over.
    pub next: Option<i64>,
}

pub(crate) const WALK: &str = "-- retention: events
SELECT e.id, e.at > $3 AS young,
       e.at <= $3 AND m.id IS NULL
           OR e.at <= $4 AND m.state IN ('completed', 'stored', 'suppressed', 'failed', 'cancelled') AS goes
FROM (SELECT id, at, message_id FROM events WHERE id > $1 ORDER BY id LIMIT $2) e
LEFT JOIN messages m ON m.id = e.message_id
ORDER BY e.id";

pub(crate) const DELETE_PG: &str = "-- retention: delete events
DELETE FROM events WHERE id = ANY ($1)";

pub(crate) const DELETE_LITE: &str = "-- retention: delete events
DELETE FROM events WHERE id IN (SELECT value FROM json_each($1))";

async fn remove(tx: &mut Tx<'_>, ids: &Vec<i64>) -> Result<u64, StoreError> {
    Ok(match tx {
        Tx::Pg(conn) => sqlx::query(DELETE_PG).bind(ids).execute(&mut **conn).await?.rows_affected(),
        Tx::Lite(conn) => {
            let ids = serde_json::json!(ids).to_string();
            sqlx::query(DELETE_LITE).bind(ids).execute(&mut **conn).await?.rows_affected()
        }
    })
}

operation!(RemoveEvents: Vec<i64> => u64, "retention: events", remove);

impl Store {
    /// Looks at the next `limit` events of the walk behind `after`. Changes nothing.
    pub async fn retention_events(&self, cuts: &Cuts, after: i64, limit: u32) -> Result<EventsStep, StoreError> {
        type Row = (i64, bool, Option<bool>);
        if cuts.other_events == i64::MIN {
            return Ok(EventsStep::default());
        }
        let rows = fetch!(self, fetch_all, Row, WALK, after, i64::from(limit), cuts.other_events, cuts.own_events)?;
        let more = rows.len() >= limit as usize && rows.iter().any(|(_, young, _)| !young);
        let next = rows.last().filter(|_| more).map(|(id, ..)| *id);
        let going = rows.into_iter().filter(|(.., goes)| *goes == Some(true)).map(|(id, ..)| id).collect();
        Ok(EventsStep { going, next })
    }

    pub async fn retention_remove_events(&self, ids: &[i64]) -> Result<u64, StoreError> {
        if ids.is_empty() { Ok(0) } else { self.once::<RemoveEvents>(ids.to_vec()).await }
    }
}
