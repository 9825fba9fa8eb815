//! Publishes that are owed to the broker.

use std::time::Duration;

use broca_core::{OutboxId, clock::micros};
use serde_json::json;
use sqlx::{SqliteConnection, SqlitePool};

use super::{batch, hex, now};
use crate::{Owed, StoreError, decode::OwedRow, operation::Each};

pub(crate) const PUBLISHED: &str = concat!(
    "-- outbox done: journal
INSERT INTO events (at, kind, message_id, response_id)
SELECT ",
    now!(),
    ", CASE o.kind WHEN 'wake' THEN 'wake_published'
                   WHEN 'response' THEN 'answer_published'
                   ELSE 'dead_letter_published' END,
       o.message_id, o.response_id
FROM json_each($1) j CROSS JOIN outbox o ON o.id = unhex(j.value)"
);

pub(crate) const DONE: &str = "-- outbox done
DELETE FROM outbox WHERE id IN (SELECT unhex(value) FROM json_each($1))";

pub(crate) async fn done(conn: &mut SqliteConnection, items: &[OutboxId]) -> Result<Vec<Each<()>>, StoreError> {
    let ids = batch(items, |id| json!(hex(id.0)));
    sqlx::query(PUBLISHED).bind(ids.as_str()).execute(&mut *conn).await?;
    sqlx::query(DONE).bind(ids).execute(conn).await?;
    Ok(items.iter().map(|_| Ok(())).collect())
}

/// In the order of the ids, which are made as time goes by.
pub(crate) const DUE: &str = concat!(
    "-- outbox due
SELECT o.id, o.kind, o.instance, o.message_id, o.conversation_id, o.response_id, o.detail, o.created_at,
       COALESCE(r.text, m.text) AS text, m.trace
FROM outbox o
JOIN messages m ON m.id = o.message_id
LEFT JOIN responses r ON r.id = o.response_id
WHERE o.created_at <= ",
    now!(),
    " - $1
ORDER BY o.id LIMIT $2"
);

pub(crate) async fn due(pool: &SqlitePool, min_age: Duration, limit: i64) -> Result<Vec<Owed>, StoreError> {
    let rows: Vec<OwedRow> = sqlx::query_as(DUE).bind(micros(min_age)).bind(limit).fetch_all(pool).await?;
    rows.into_iter().map(OwedRow::owed).collect()
}
