//! Publishes that are owed to the broker.

use std::time::Duration;

use broca_core::{OutboxId, clock::micros};
use sqlx::PgConnection;

use crate::{
    Owed, StoreError,
    decode::OwedRow,
    operation::{Each, column},
};

pub(crate) const DONE: &str = "-- outbox done
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
gone AS (
    DELETE FROM outbox WHERE id = ANY ($1) RETURNING kind, message_id, response_id
)
INSERT INTO events (at, kind, message_id, response_id)
SELECT now,
       CASE kind WHEN 'wake' THEN 'wake_published'
                 WHEN 'response' THEN 'answer_published'
                 ELSE 'dead_letter_published' END,
       message_id, response_id
FROM gone, clock";

pub(crate) async fn done(conn: &mut PgConnection, items: &[OutboxId]) -> Result<Vec<Each<()>>, StoreError> {
    sqlx::query(DONE).bind(column(items, |id| id.0)).execute(conn).await?;
    Ok(items.iter().map(|_| Ok(())).collect())
}

/// In the order of the ids, which are made as time goes by.
pub(crate) const DUE: &str = "-- outbox due
SELECT o.id, o.kind, o.instance, o.message_id, o.conversation_id, o.response_id, o.detail, o.created_at,
       COALESCE(r.text, m.text) AS text, m.trace
FROM outbox o
JOIN messages m ON m.id = o.message_id
LEFT JOIN responses r ON r.id = o.response_id
WHERE o.created_at <= broca_now() - $1
ORDER BY o.id LIMIT $2";

pub(crate) async fn due(conn: &mut PgConnection, min_age: Duration, limit: i64) -> Result<Vec<Owed>, StoreError> {
    let rows: Vec<OwedRow> = sqlx::query_as(DUE).bind(micros(min_age)).bind(limit).fetch_all(conn).await?;
    rows.into_iter().map(OwedRow::owed).collect()
}
