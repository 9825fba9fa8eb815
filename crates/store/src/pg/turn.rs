//! Attempts at an agent: started, resumed, known by the agent's run.

use sqlx::PgConnection;

use crate::{
    Fenced, ResumeTurn, StartTurn, StoreError,
    decode::count,
    holding::{if_any_hold, kept_back},
    operation::{Each, column, in_order},
    queue::first_pending,
    turns::{REFUSED, RunSeen, not_open, not_started},
};

/// A turn that is already there under the same epoch is the caller's own, written by a call whose answer got lost.
pub(crate) const START: &str = concat!(
    "-- start turn
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[])
        WITH ORDINALITY AS i (turn_id, conversation_id, epoch, message_id, worker, n)
), locked AS MATERIALIZED (
    SELECT i.*, c.head, c.agent_conversation, CASE t.state WHEN 'started' THEN t.attempt END AS again, ",
    if_any_hold!(
        concat!(
            "(SELECT ",
            kept_back!(pg, "k", "p.user_id", "c.agent", "clock.now"),
            " FROM messages k JOIN profiles p ON p.id = k.profile_id WHERE k.id = i.message_id)"
        ),
        "FALSE"
    ),
    " AS kept_back
    FROM clock CROSS JOIN input i
    JOIN conversations c ON c.id = i.conversation_id AND c.epoch = i.epoch AND c.owner IS NOT NULL
    LEFT JOIN turns t ON t.id = i.turn_id AND t.epoch = i.epoch
    ORDER BY c.id
    FOR UPDATE OF c
), moved AS (
    UPDATE messages m SET state = 'processing', attempts = m.attempts + 1
    FROM locked l
    WHERE m.id = l.message_id AND m.conversation_id IS NOT DISTINCT FROM l.conversation_id
      AND m.state IN ('received', 'processing') AND l.again IS NULL AND l.kept_back IS NOT TRUE
      AND m.id = ",
    first_pending!("l.conversation_id", "l.head"),
    "
    RETURNING l.*, m.attempts
), started AS (
    INSERT INTO turns (id, conversation_id, message_id, attempt, epoch, worker, state, agent_conversation, started_at)
    SELECT turn_id, conversation_id, message_id, attempts, epoch, worker, 'started', agent_conversation, now
    FROM moved, clock
)
SELECT n, again FROM locked UNION ALL SELECT n, attempts FROM moved"
);

pub(crate) const RESUME: &str = "-- resume turn
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[])
        WITH ORDINALITY AS i (turn_id, conversation_id, epoch, worker, n)
), locked AS MATERIALIZED (
    SELECT i.*
    FROM input i
    JOIN conversations c ON c.id = i.conversation_id AND c.epoch = i.epoch AND c.owner IS NOT NULL
    ORDER BY c.id
    FOR UPDATE OF c
), open AS MATERIALIZED (
    SELECT l.n, l.epoch, l.worker, t.id, t.message_id, t.handed_over, t.epoch AS was_epoch, t.worker AS was_worker
    FROM locked l JOIN turns t ON t.id = l.turn_id AND t.conversation_id = l.conversation_id
    WHERE t.state IS NOT DISTINCT FROM 'started'
    FOR UPDATE OF t
), resumed AS (
    UPDATE turns t SET epoch = o.epoch, worker = o.worker, handed_over = false FROM open o WHERE t.id = o.id
), said AS MATERIALIZED (
    SELECT n, handed_over, message_id, true AS first FROM open
    UNION ALL
    SELECT o.n, o.handed_over, s.message_id, false
    FROM open o JOIN turn_messages s ON s.turn_id = o.id AND s.message_id <> o.message_id
), counted AS (
    UPDATE messages m SET attempts = m.attempts + CASE WHEN s.handed_over THEN 0 ELSE 1 END
    FROM said s
    WHERE m.id = s.message_id AND m.state = 'processing'
    RETURNING s.n, s.first, m.attempts
), journal AS (
    INSERT INTO events (at, kind, message_id, actor, epoch, detail)
    SELECT broca_now(), 'turn_resumed', s.message_id, worker, epoch,
           jsonb_build_object('turn', id, 'from', was_worker, 'from_epoch', was_epoch, 'handed_over', o.handed_over)
    FROM open o JOIN said s ON s.n = o.n
)
SELECT n, NULL::bigint FROM locked UNION ALL SELECT n, attempts FROM counted WHERE first";

pub(crate) const RUN: &str = "-- record run
WITH locked AS MATERIALIZED (
    SELECT i.n, i.run, i.epoch, t.id, t.message_id, c.owner, t.run IS DISTINCT FROM i.run AS news
    FROM unnest($1::uuid[], $2::bigint[], $3::text[]) WITH ORDINALITY AS i (turn_id, epoch, run, n)
    JOIN turns t ON t.id = i.turn_id
    JOIN conversations c ON c.id = t.conversation_id AND c.epoch = i.epoch AND c.owner IS NOT NULL
    ORDER BY c.id
    FOR UPDATE OF c
), known AS (
    UPDATE turns t SET run = l.run FROM locked l WHERE t.id = l.id AND t.state IS NOT DISTINCT FROM 'started'
    RETURNING l.*
), journal AS (
    INSERT INTO events (at, kind, message_id, actor, epoch, detail)
    SELECT broca_now(), 'run_known', COALESCE(s.message_id, k.message_id), owner, epoch,
           jsonb_build_object('turn', id, 'run', run)
    FROM known k LEFT JOIN turn_messages s ON s.turn_id = k.id
    WHERE news
)
SELECT n, NULL::bigint FROM locked UNION ALL SELECT n, 1 FROM known";

/// One row for each item whose lease holds, and one with a number if it was also done.
type Rows = Vec<(i64, Option<i64>)>;

fn answers(items: usize, mut rows: Rows, refusal: impl Fn(i64) -> StoreError) -> Vec<Each<Fenced<u32>>> {
    rows.sort_by_key(|(_, done)| done.is_some());
    let answer = |(n, done): (i64, Option<i64>)| {
        (n, done.ok_or_else(|| refusal(n)).and_then(|attempts| Ok(Fenced::Done(count(attempts)?))))
    };
    in_order(items, rows.into_iter().map(answer), || Ok(Fenced::LeaseLost))
}

pub(crate) async fn start(conn: &mut PgConnection, items: &[StartTurn]) -> Result<Vec<Each<Fenced<u32>>>, StoreError> {
    let rows: Rows = sqlx::query_as(START)
        .bind(column(items, |i| i.turn.0))
        .bind(column(items, |i| i.conversation.0))
        .bind(column(items, |i| i.epoch))
        .bind(column(items, |i| i.message.0))
        .bind(column(items, |i| i.worker.as_str()))
        .fetch_all(&mut *conn)
        .await?;
    let mut started = answers(items.len(), rows, |_| not_open("the message of a turn that starts"));
    for (answer, item) in started.iter_mut().zip(items).filter(|(answer, _)| answer.is_err()) {
        let state: Option<(String,)> = sqlx::query_as(REFUSED).bind(item.message.0).fetch_optional(&mut *conn).await?;
        *answer = Err(not_started(item.message, state.as_ref().map(|(state,)| state.as_str())));
    }
    Ok(started)
}

pub(crate) async fn resume(
    conn: &mut PgConnection,
    items: &[ResumeTurn],
) -> Result<Vec<Each<Fenced<u32>>>, StoreError> {
    let rows: Rows = sqlx::query_as(RESUME)
        .bind(column(items, |i| i.turn.0))
        .bind(column(items, |i| i.conversation.0))
        .bind(column(items, |i| i.epoch))
        .bind(column(items, |i| i.worker.as_str()))
        .fetch_all(conn)
        .await?;
    Ok(answers(items.len(), rows, |_| not_open("the turn to resume")))
}

pub(crate) async fn record_run(
    conn: &mut PgConnection,
    items: &[RunSeen],
) -> Result<Vec<Each<Fenced<u32>>>, StoreError> {
    let rows: Rows = sqlx::query_as(RUN)
        .bind(column(items, |i| i.turn.0))
        .bind(column(items, |i| i.epoch))
        .bind(column(items, |i| i.run.as_str()))
        .fetch_all(conn)
        .await?;
    Ok(answers(items.len(), rows, |_| not_open("the turn of a run")))
}
