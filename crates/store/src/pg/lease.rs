//! Leases: kept, given up, and found abandoned.

use std::time::Duration;

use broca_core::{ConversationId, MessageId, OutboxId, Timestamp, TurnId, WorkerId, clock::micros};
use sqlx::{Connection, PgConnection, types::Uuid};

use crate::{
    Fenced, Owed, StoreError, SweptWake,
    accept::WAKE_AFTER_MICROS,
    decode::{OwedRow, parsed},
    holding::{SLEEP_MICROS, sleeps_by},
    operation::column,
};

pub(crate) const SET_AGENT_CONVERSATION: &str = "-- set agent conversation
WITH held AS MATERIALIZED (
    SELECT id, owner, agent_conversation AS old FROM conversations WHERE id = $1 AND epoch = $2 AND owner IS NOT NULL
    FOR UPDATE
), named AS (
    UPDATE conversations c SET agent_conversation = $4 FROM held h WHERE c.id = h.id
), open AS (
    UPDATE turns t SET agent_conversation = $4 FROM held h
    WHERE t.id = $3 AND t.conversation_id IS NOT DISTINCT FROM h.id AND t.state IS NOT DISTINCT FROM 'started'
), journal AS (
    INSERT INTO events (at, kind, conversation_id, actor, epoch, detail)
    SELECT broca_now(), 'conversation_renewed', id, owner, $2, jsonb_build_object('turn', $3::uuid, 'from', old, 'to', $4)
    FROM held WHERE old <> $4
)
SELECT 1 FROM held";

pub(crate) async fn set_agent_conversation(
    conn: &mut PgConnection,
    conversation: ConversationId,
    epoch: i64,
    turn: TurnId,
    name: &str,
) -> Result<Fenced<()>, StoreError> {
    let held = sqlx::query(SET_AGENT_CONVERSATION).bind(conversation.0).bind(epoch).bind(turn.0).bind(name);
    let held = held.fetch_optional(conn).await?;
    Ok(if held.is_some() { Fenced::Done(()) } else { Fenced::LeaseLost })
}

pub(crate) const RELEASE: &str = "-- release
WITH held AS MATERIALIZED (
    SELECT id, owner, head FROM conversations WHERE id = $1 AND epoch = $2 AND owner IS NOT NULL FOR UPDATE
)
UPDATE conversations c SET owner = NULL, lease_until = 0, wake_at = broca_now() + $3
FROM held h WHERE c.id = h.id
RETURNING c.head, h.owner";

/// A second statement, so that it sees every message that was accepted before the first one got the row.
pub(crate) const HAND_OVER: &str = "-- hand over
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
first AS MATERIALIZED (
    SELECT m.id, m.instance, m.text, m.trace
    FROM messages m
    WHERE m.conversation_id = $1 AND m.seq > $2 AND m.state IN ('received', 'processing')
    ORDER BY m.seq LIMIT 1
), handed AS (
    UPDATE turns t SET handed_over = true FROM first f WHERE t.message_id = f.id AND t.state IS NOT DISTINCT FROM 'started'
    RETURNING t.id
), journal AS (
    INSERT INTO events (at, kind, message_id, conversation_id, actor, epoch, detail)
    SELECT now, 'handed_over', f.id, $1, $4, $5,
           (SELECT jsonb_build_object('turn', h.id) FROM handed h)
    FROM first f, clock
), owed AS (
    INSERT INTO outbox (id, kind, instance, message_id, conversation_id, created_at)
    SELECT $3, 'wake', f.instance, f.id, $1, now FROM first f, clock
    RETURNING id, kind, instance, message_id, conversation_id, response_id, detail, created_at
)
SELECT o.*, f.text, f.trace FROM owed o, first f";

pub(crate) async fn release(
    conn: &mut PgConnection,
    conversation: ConversationId,
    epoch: i64,
) -> Result<Fenced<Option<Owed>>, StoreError> {
    let mut tx = conn.begin().await?;
    let held: Option<(i64, String)> = sqlx::query_as(RELEASE)
        .bind(conversation.0)
        .bind(epoch)
        .bind(WAKE_AFTER_MICROS)
        .fetch_optional(&mut *tx)
        .await?;
    let Some((head, owner)) = held else { return Ok(Fenced::LeaseLost) };
    let owed: Option<OwedRow> = sqlx::query_as(HAND_OVER)
        .bind(conversation.0)
        .bind(head)
        .bind(OutboxId::new().0)
        .bind(owner)
        .bind(epoch)
        .fetch_optional(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Fenced::Done(owed.map(OwedRow::owed).transpose()?))
}

pub(crate) const RENEW: &str = "-- renew
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
lease AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS l (id, epoch)),
locked AS MATERIALIZED (
    SELECT c.id FROM lease l JOIN conversations c ON c.id = l.id AND c.epoch = l.epoch AND c.owner = $3
    ORDER BY c.id
    FOR UPDATE OF c
), kept AS (
    UPDATE conversations c SET lease_until = now + $4, wake_at = now + $4 FROM locked k, clock WHERE c.id = k.id
), progress AS (
    UPDATE turns t SET run_seq = s.run_seq
    FROM unnest($5::uuid[], $6::bigint[]) AS s (turn_id, run_seq)
    WHERE t.id = s.turn_id AND t.state IS NOT DISTINCT FROM 'started' AND t.run_seq < s.run_seq
      AND t.conversation_id IN (SELECT id FROM locked)
)
SELECT l.id FROM lease l LEFT JOIN locked k ON k.id = l.id WHERE k.id IS NULL";

pub(crate) async fn renew(
    conn: &mut PgConnection,
    worker: &WorkerId,
    leases: &[(ConversationId, i64)],
    seen: &[(TurnId, i64)],
    ttl: Duration,
) -> Result<Vec<ConversationId>, StoreError> {
    let lost: Vec<(Uuid,)> = sqlx::query_as(RENEW)
        .bind(column(leases, |lease| lease.0.0))
        .bind(column(leases, |lease| lease.1))
        .bind(worker.as_str())
        .bind(micros(ttl))
        .bind(column(seen, |seen| seen.0.0))
        .bind(column(seen, |seen| seen.1))
        .fetch_all(conn)
        .await?;
    Ok(lost.into_iter().map(|(id,)| ConversationId(id)).collect())
}

pub(crate) const WAKE_DUE: &str = concat!(
    "-- wake due
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
due AS MATERIALIZED (
    SELECT c.id, c.head, c.agent
    FROM conversations c
    WHERE c.head < c.tail AND c.wake_at <= (SELECT now FROM clock) AND c.not_before <= (SELECT now FROM clock)
      AND (c.owner IS NULL OR c.lease_until <= (SELECT now FROM clock))
    ORDER BY c.wake_at LIMIT $1
    FOR UPDATE SKIP LOCKED
), pushed AS (
    UPDATE conversations c SET wake_at = now + $2 FROM due d, clock WHERE c.id = d.id
)
SELECT d.id, m.id AS message_id, m.instance, clock.now AS at, ",
    sleeps_by!("h.id", pg, "d.id", "d.head", "d.agent", "clock.now"),
    " AS hold
FROM clock CROSS JOIN due d
CROSS JOIN LATERAL (
    SELECT id, instance FROM messages
    WHERE conversation_id = d.id AND seq > d.head AND state IN ('received', 'processing')
    ORDER BY seq LIMIT 1
) m"
);

/// The lock makes the end of a hold wait, so that the wake which follows it is not overwritten. A conversation that
/// somebody else is at, or whose hold has just ended, is woken instead.
pub(crate) const SLEEP: &str = "-- wake due: on hold
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
input AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::uuid[]) AS i (conversation_id, hold_id)),
kept AS MATERIALIZED (
    SELECT h.id, COALESCE(h.expires_at, 9223372036854775807) AS until
    FROM holds h
    WHERE h.id IN (SELECT hold_id FROM input) AND h.released_at IS NULL
    FOR SHARE OF h
), asleep AS MATERIALIZED (
    SELECT c.id, k.until
    FROM input i JOIN kept k ON k.id = i.hold_id JOIN conversations c ON c.id = i.conversation_id AND c.owner IS NULL
    FOR UPDATE OF c SKIP LOCKED
)
UPDATE conversations c SET wake_at = LEAST(a.until, now + $3) FROM asleep a, clock WHERE c.id = a.id
RETURNING c.id";

#[derive(sqlx::FromRow)]
struct Due {
    id: Uuid,
    message_id: Uuid,
    instance: String,
    at: i64,
    hold: Option<Uuid>,
}

pub(crate) async fn wake_due(
    conn: &mut PgConnection,
    limit: i64,
    grace: Duration,
) -> Result<Vec<SweptWake>, StoreError> {
    let mut due: Vec<Due> = sqlx::query_as(WAKE_DUE).bind(limit).bind(micros(grace)).fetch_all(&mut *conn).await?;
    let on_hold: Vec<(Uuid, Uuid)> = due.iter().filter_map(|due| Some((due.id, due.hold?))).collect();
    if !on_hold.is_empty() {
        let asleep: Vec<(Uuid,)> = sqlx::query_as(SLEEP)
            .bind(column(&on_hold, |(conversation, _)| *conversation))
            .bind(column(&on_hold, |(_, hold)| *hold))
            .bind(SLEEP_MICROS)
            .fetch_all(conn)
            .await?;
        due.retain(|due| !asleep.contains(&(due.id,)));
    }
    let wake = |due: Due| {
        Ok(SweptWake {
            conversation: ConversationId(due.id),
            message: MessageId(due.message_id),
            instance: parsed(&due.instance)?,
            at: Timestamp(due.at),
        })
    };
    due.into_iter().map(wake).collect()
}
