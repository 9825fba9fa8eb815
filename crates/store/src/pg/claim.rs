//! Claiming conversations, and reading what is pending in them.

use broca_core::{ConversationId, Timestamp, clock::micros};
use sqlx::{Connection, PgConnection, types::Uuid};

use crate::{
    ClaimRequest, Claimed, Lease, PENDING_PAGE, PendingMessage, StoreError,
    decode::{Pages, PendingRow},
    holding::{conversation_hold, if_any_hold, kept_back},
    operation::{Each, column, in_order},
    queue::Left,
    set_aside::set_aside,
    tx::Tx,
};

/// A conversation on hold is given out while a turn of it is open: what was begun goes to its end.
pub(crate) const CLAIM: &str = concat!(
    "-- claim
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
wanted AS MATERIALIZED (
    SELECT i.n, i.worker, i.ttl, m.conversation_id
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
        WITH ORDINALITY AS i (message_id, instance, worker, ttl, n)
    JOIN messages m ON m.id = i.message_id AND m.instance IS NOT DISTINCT FROM i.instance
), locked AS MATERIALIZED (
    SELECT w.n, w.worker, w.ttl, c.*
    FROM wanted w JOIN conversations c ON c.id = w.conversation_id
    ORDER BY c.id
    FOR UPDATE OF c
), judged AS MATERIALIZED (
    SELECT l.*, held_until,
           CASE WHEN l.head = l.tail THEN 'idle'
                WHEN l.owner IS NOT NULL AND l.lease_until > clock.now THEN 'busy'
                WHEN l.not_before > clock.now AND l.not_before <> l.window_until THEN 'parked'
                WHEN row_number() OVER (PARTITION BY l.id ORDER BY l.n) > 1 THEN 'busy'
                WHEN held_until IS NOT NULL AND NOT begun THEN 'on_hold'
                ELSE 'held' END AS verdict
    FROM clock CROSS JOIN locked l
    CROSS JOIN LATERAL (SELECT ",
    if_any_hold!(conversation_hold!(pg, "l.id", "l.agent", "clock.now"), "NULL"),
    " AS held_until) hold
    CROSS JOIN LATERAL (
        SELECT held_until IS NOT NULL AND EXISTS (
            SELECT FROM messages m WHERE m.conversation_id = l.id AND m.seq > l.head AND m.state = 'processing') AS begun
    ) open
), taken AS (
    UPDATE conversations c
    SET owner = j.worker, epoch = j.epoch + 1, lease_until = clock.now + j.ttl, wake_at = clock.now + j.ttl, parked = NULL
    FROM judged j, clock
    WHERE c.id = j.id AND j.verdict = 'held'
), journal AS (
    INSERT INTO events (at, kind, conversation_id, actor, epoch, detail)
    SELECT now, CASE WHEN owner IS NULL THEN 'claimed' ELSE 'taken_over' END, id, worker, epoch + 1,
           CASE WHEN owner IS NULL THEN jsonb_build_object('ttl', ttl) ELSE jsonb_build_object('ttl', ttl, 'from', owner) END
    FROM judged, clock
    WHERE verdict = 'held'
)
SELECT n, verdict, id, epoch + 1 AS epoch, agent, agent_conversation, not_before, held_until FROM judged"
);

pub(crate) const PENDING: &str = concat!(
    "-- pending
SELECT m.*, m.seq <= c.join_until AS to_join, now, user_id, p.platform, platform_user_id, username, display_name, metadata, p.instructions,
       t.id AS turn_id, t.messages AS turn_messages, t.attempt AS turn_attempt, t.run, t.run_seq, t.agent_conversation AS turn_conversation,
       t.started_at, ",
    if_any_hold!(kept_back!(pg, "m", "p.user_id", "c.agent", "clock.now"), "FALSE"),
    " AS kept_back
FROM (SELECT broca_now() AS now) clock
CROSS JOIN unnest($1::uuid[], $2::bigint[]) AS l (id, epoch)
JOIN conversations c ON c.id = l.id AND c.epoch = l.epoch AND c.owner IS NOT NULL
CROSS JOIN LATERAL (
    SELECT conversation_id, id, seq, state, attempts, attempts_before, instance, route, chat_id, is_group, text, received_at,
           replayed_at, trace, budget, urgent, heard, interrupted, files, profile_id
    FROM messages
    WHERE conversation_id = c.id AND seq > c.head AND state IN ('received', 'processing')
    ORDER BY seq LIMIT $3
) m
JOIN profiles p ON p.id = m.profile_id
LEFT JOIN turns t ON t.message_id = m.id AND t.state IS NOT DISTINCT FROM 'started'
ORDER BY m.conversation_id, m.seq"
);

#[derive(sqlx::FromRow)]
struct Row {
    n: i64,
    verdict: String,
    id: Uuid,
    epoch: i64,
    agent: String,
    agent_conversation: Option<String>,
    not_before: i64,
    held_until: Option<i64>,
}

/// Two statements: messages that were accepted while the first one waited for a lock are seen by the second.
pub(crate) async fn run(conn: &mut PgConnection, items: &[ClaimRequest]) -> Result<Vec<Each<Claimed>>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(CLAIM)
        .bind(column(items, |i| i.message.0))
        .bind(column(items, |i| i.instance.as_str()))
        .bind(column(items, |i| i.worker.as_str()))
        .bind(column(items, |i| micros(i.ttl)))
        .fetch_all(&mut *conn)
        .await?;
    let held: Vec<(Uuid, i64)> =
        rows.iter().filter(|row| row.verdict == "held").map(|row| (row.id, row.epoch)).collect();
    let (mut pages, given_up) = pages(conn, &held, PENDING_PAGE).await?;
    let claimed =
        |row: Row| (row.n, if given_up.contains(&row.id) { Ok(Claimed::Idle) } else { claimed(row, &mut pages) });
    let answers: Vec<_> = rows.into_iter().map(claimed).collect();
    Ok(in_order(items.len(), answers, || Ok(Claimed::Unknown)))
}

fn claimed(row: Row, pages: &mut Pages) -> Each<Claimed> {
    match row.verdict.as_str() {
        "idle" => Ok(Claimed::Idle),
        "busy" => Ok(Claimed::Busy),
        "parked" => Ok(Claimed::Parked { until: Timestamp(row.not_before) }),
        "on_hold" => Ok(Claimed::on_hold(row.held_until)),
        _ => pages.fill(Lease {
            conversation: ConversationId(row.id),
            epoch: row.epoch,
            agent: row.agent,
            agent_conversation: row.agent_conversation,
            pending: Vec::new(),
            open_turn: None,
        }),
    }
}

/// What may be begun in held conversations. What is kept back by a hold is set aside first, and the conversations that
/// had nothing else are given up.
async fn pages(conn: &mut PgConnection, held: &[(Uuid, i64)], at_most: u32) -> Result<(Pages, Vec<Uuid>), StoreError> {
    if held.is_empty() {
        return Ok((Pages::default(), Vec::new()));
    }
    let pages = Pages::of(pending_rows(conn, held, at_most).await?);
    let kept_back = pages.kept_back();
    if kept_back.is_empty() {
        return Ok((pages, Vec::new()));
    }
    let mut given_up = Vec::new();
    for (conversation, epoch) in held.iter().filter(|(conversation, _)| kept_back.contains(conversation)) {
        let mut tx = conn.begin().await?;
        if set_aside(&mut Tx::Pg(&mut tx), ConversationId(*conversation), *epoch).await? == Left::Nothing {
            given_up.push(*conversation);
        }
        tx.commit().await?;
    }
    let mut pages = Pages::of(pending_rows(conn, held, at_most).await?);
    pages.cut();
    Ok((pages, given_up))
}

async fn pending_rows(
    conn: &mut PgConnection,
    held: &[(Uuid, i64)],
    at_most: u32,
) -> Result<Vec<PendingRow>, StoreError> {
    Ok(sqlx::query_as(PENDING)
        .bind(column(held, |held| held.0))
        .bind(column(held, |held| held.1))
        .bind(i64::from(at_most))
        .fetch_all(conn)
        .await?)
}

pub(crate) async fn pending(
    conn: &mut PgConnection,
    items: &[(ConversationId, i64)],
) -> Result<Vec<Each<Vec<PendingMessage>>>, StoreError> {
    let held: Vec<(Uuid, i64)> = items.iter().map(|(conversation, epoch)| (conversation.0, *epoch)).collect();
    let (mut pages, _) = pages(conn, &held, PENDING_PAGE).await?;
    Ok(held.iter().map(|(conversation, _)| pages.take(*conversation)).collect())
}

/// A longer page of one conversation.
pub(crate) async fn gather(
    conn: &mut PgConnection,
    (conversation, epoch, at_most): (ConversationId, i64, u32),
) -> Result<Vec<PendingMessage>, StoreError> {
    let (mut pages, _) = pages(conn, &[(conversation.0, epoch)], at_most).await?;
    pages.take(conversation.0)
}
