//! Conversations that wait though nothing of them failed.

use broca_core::{Timestamp, clock::micros};
use sqlx::PgConnection;

use crate::{
    Fenced, Park, StoreError, Unpark,
    operation::{Each, column, in_order},
};

pub(crate) const PARK: &str = "-- park
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
                         $8::text[], $9::boolean[], $10::bigint[])
        WITH ORDINALITY AS i (conversation_id, epoch, message_id, what_for, until, delay, class, reason, trouble, seen, n)
), locked AS MATERIALIZED (
    SELECT i.*, c.owner, GREATEST(i.until, now + i.delay) AS due, COALESCE(c.tail > i.seen, false) AS outdated
    FROM clock CROSS JOIN input i
    JOIN conversations c ON c.id = i.conversation_id AND c.epoch = i.epoch AND c.owner IS NOT NULL
    ORDER BY c.id
    FOR UPDATE OF c
), waits AS (
    UPDATE conversations c
    SET owner = NULL, lease_until = 0, not_before = l.due, wake_at = l.due, parked = l.what_for,
        window_until = CASE WHEN l.what_for IS NULL THEN l.due ELSE c.window_until END
    FROM locked l WHERE c.id = l.conversation_id AND NOT l.outdated
), told AS (
    UPDATE messages m SET class = l.class, reason = l.reason
    FROM locked l
    WHERE m.id = l.message_id AND l.trouble AND NOT l.outdated AND m.state IN ('received', 'processing')
), journal AS (
    INSERT INTO events (at, kind, message_id, conversation_id, actor, epoch, detail)
    SELECT now, 'parked', message_id, conversation_id, owner, epoch,
           jsonb_build_object('until', due, 'class', class, 'reason', reason)
    FROM locked, clock WHERE NOT outdated
)
SELECT n, CASE WHEN outdated THEN 0 ELSE due END FROM locked";

pub(crate) async fn park(conn: &mut PgConnection, items: &[Park]) -> Result<Vec<Each<Fenced<Timestamp>>>, StoreError> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(PARK)
        .bind(column(items, |i| i.conversation.0))
        .bind(column(items, |i| i.epoch))
        .bind(column(items, |i| i.message.0))
        .bind(column(items, |i| i.what_for.column()))
        .bind(column(items, |i| i.until.micros()))
        .bind(column(items, |i| micros(i.delay)))
        .bind(column(items, |i| i.why.class.as_str()))
        .bind(column(items, |i| i.why.reason.as_str()))
        .bind(column(items, |i| i.what_for.is_trouble()))
        .bind(column(items, |i| i.seen))
        .fetch_all(conn)
        .await?;
    let due = rows.into_iter().map(|(n, due)| (n, Ok(Fenced::Done(Timestamp(due)))));
    Ok(in_order(items.len(), due, || Ok(Fenced::LeaseLost)))
}

/// In the order in which they were to come back anyway.
pub(crate) const UNPARK: &str = "-- unpark
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
chosen AS MATERIALIZED (
    SELECT c.id, c.wake_at FROM conversations c
    WHERE c.parked IS NOT NULL AND c.parked = $1 AND c.agent = ANY ($2) AND c.head < c.tail AND c.owner IS NULL
    ORDER BY c.wake_at LIMIT $3
    FOR UPDATE SKIP LOCKED
), spread AS MATERIALIZED (
    SELECT id, GREATEST($4, now) + (row_number() OVER (ORDER BY wake_at, id) - 1) * LEAST($5, $6 / count(*) OVER ()) AS due
    FROM chosen, clock
)
UPDATE conversations c SET not_before = s.due, wake_at = s.due FROM spread s WHERE c.id = s.id";

pub(crate) async fn unpark(conn: &mut PgConnection, wish: &Unpark) -> Result<u64, StoreError> {
    let done = sqlx::query(UNPARK)
        .bind(wish.what_for.as_str())
        .bind(&wish.agents)
        .bind(i64::from(wish.at_most))
        .bind(wish.from.micros())
        .bind(micros(wish.apart))
        .bind(micros(wish.within))
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}
