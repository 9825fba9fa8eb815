//! Which messages go.
//!
//! Chosen twice: by a reader, so that what stays costs no lock, and again by whoever deletes, under the lock of the
//! messages' rows and by a statement that began after it had them. A replay works on a plan that was committed before;
//! a plan that this second look does not see is made later, and skips what it does not find.

use broca_core::MessageId;
use serde_json::json;
use sqlx::types::Uuid;

use super::{Cuts, Removed, hanging};
use crate::{
    Store, StoreError,
    lite::{batch, hex},
    reading::fetch,
    tx::{Tx, operation},
};

/// A part of the walk.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    pub going: Vec<MessageId>,
    /// Those of them that are dead letters.
    pub dead_letters: u64,
    /// Where the walk goes on; `None` when it is over.
    pub next: Option<MessageId>,
}

pub(crate) const WALK: &str = "-- retention: walk
SELECT id FROM messages WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3";

macro_rules! verdict {
    ($among:literal) => {
        concat!(
            "-- retention: verdict
WITH c AS MATERIALIZED (
    SELECT x.id, x.instance, x.event_id, x.received_at, x.state, x.finished_at, x.failed OR x.undelivered AS letter,
           CASE WHEN x.open THEN CAST($3 AS bigint) WHEN x.id < $6 THEN CAST($2 AS bigint)
                WHEN x.failed OR x.undelivered THEN CAST($4 AS bigint) ELSE CAST($5 AS bigint) END AS cut
    FROM (
        SELECT m.id, m.instance, m.event_id, m.received_at, m.state, m.finished_at, m.state = 'failed' AS failed,
               EXISTS (SELECT 1 FROM responses r WHERE r.message_id = m.id AND r.state IN ('dead', 'unknown')) AS undelivered,
               m.state = 'failed'
                   AND NOT (SELECT EXISTS (SELECT 1 FROM letters_closed l
                                           WHERE l.subject_id = m.id AND l.round = m.replays))
               OR EXISTS (SELECT 1 FROM responses r
                          WHERE r.message_id = m.id AND r.state IN ('dead', 'unknown')
                            AND NOT (SELECT EXISTS (SELECT 1 FROM letters_closed l
                                                    WHERE l.subject_id = r.id AND l.round = r.replays))) AS open
        FROM messages m WHERE m.id ",
            $among,
            "
    ) x
)
SELECT c.id, c.instance, c.event_id, c.received_at, c.letter
FROM c
WHERE c.state IN ('completed', 'stored', 'suppressed', 'failed', 'cancelled') AND c.finished_at <= c.cut
  AND NOT EXISTS (SELECT 1 FROM responses r WHERE r.message_id = c.id AND (r.open OR r.finished_at > c.cut))
  AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.message_id = c.id AND t.state = 'started')
  AND NOT EXISTS (SELECT 1 FROM letters_closed l WHERE l.message_id = c.id AND l.closed_at > c.cut)
  AND NOT EXISTS (SELECT 1 FROM replay_items i JOIN replay_plans p ON p.id = i.plan_id
                  WHERE i.message_id = c.id AND i.outcome IS NULL AND p.expires_at > $2)
  AND c.id NOT IN (SELECT message_id FROM outbox)
ORDER BY c.id"
        )
    };
}
pub(crate) const VERDICT_PG: &str = verdict!("= ANY ($1)");
pub(crate) const VERDICT_LITE: &str = verdict!("IN (SELECT unhex(value) FROM json_each($1))");

pub(crate) const LOCK: &str = "-- retention: lock
SELECT id FROM messages WHERE id = ANY ($1) ORDER BY id FOR UPDATE SKIP LOCKED";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    instance: String,
    event_id: String,
    received_at: i64,
    letter: bool,
}

macro_rules! judged {
    ($sql:expr, $on:expr, $ids:expr, $cuts:expr) => {{
        let cuts: &Cuts = $cuts;
        let query = sqlx::query_as::<_, Row>($sql).bind($ids).bind(cuts.now).bind(cuts.open_dead_letters);
        query.bind(cuts.dead_letters).bind(cuts.messages).bind(cuts.trim).fetch_all($on).await?
    }};
}

/// What a batch of candidates is judged by.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    ids: Vec<Uuid>,
    cuts: Cuts,
}

async fn remove(tx: &mut Tx<'_>, candidates: &Candidates) -> Result<Removed, StoreError> {
    let Candidates { ids, cuts } = candidates;
    let rows = match tx {
        Tx::Pg(conn) => {
            let locked: Vec<(Uuid,)> = sqlx::query_as(LOCK).bind(ids).fetch_all(&mut **conn).await?;
            let locked: Vec<Uuid> = locked.into_iter().map(|(id,)| id).collect();
            judged!(VERDICT_PG, &mut **conn, locked, cuts)
        }
        Tx::Lite(conn) => judged!(VERDICT_LITE, &mut **conn, batch(ids, |id| json!(hex(*id))), cuts),
    };
    let going: Vec<hanging::Going> = rows
        .into_iter()
        .map(|row| hanging::Going {
            id: row.id,
            instance: row.instance,
            event_id: row.event_id,
            received_at: row.received_at,
            letter: row.letter,
        })
        .collect();
    hanging::remove(tx, &going, cuts.dedupe, cuts.now).await
}

operation!(RemoveMessages: Candidates => Removed, "retention", remove);

impl Store {
    /// Looks at the next `limit` messages of the walk behind `after`. Changes nothing.
    pub async fn retention_choose(
        &self,
        cuts: &Cuts,
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<Chosen, StoreError> {
        let after = after.map_or(Uuid::nil(), |id| id.0);
        let ids = fetch!(self, fetch_all, (Uuid,), WALK, after, cuts.below, i64::from(limit))?;
        let ids: Vec<Uuid> = ids.into_iter().map(|(id,)| id).collect();
        if ids.is_empty() {
            return Ok(Chosen::default());
        }
        let more = ids.len() >= limit as usize;
        let next = ids.last().filter(|_| more).map(|id| MessageId(*id));
        let rows = match &self.db {
            crate::db::Db::Pg(pg) => judged!(VERDICT_PG, &pg.pool, ids, cuts),
            crate::db::Db::Lite(lite) => judged!(VERDICT_LITE, &lite.reader, batch(&ids, |id| json!(hex(*id))), cuts),
        };
        let dead_letters = rows.iter().filter(|row| row.letter).count() as u64;
        Ok(Chosen { going: rows.into_iter().map(|row| MessageId(row.id)).collect(), dead_letters, next })
    }

    /// Removes those of these messages that still are to go, with all that hangs on them.
    pub async fn retention_remove(&self, cuts: &Cuts, messages: &[MessageId]) -> Result<Removed, StoreError> {
        if messages.is_empty() {
            return Ok(Removed::default());
        }
        let ids = messages.iter().map(|message| message.0).collect();
        self.once::<RemoveMessages>(Candidates { ids, cuts: *cuts }).await
    }
}
