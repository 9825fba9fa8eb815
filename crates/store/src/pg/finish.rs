//! The end of work on a message: the turn, the message, the answer, the lease and the owed publish in one statement.

use sqlx::{PgConnection, types::Uuid};

use crate::{
    Fenced, Finish, Finished, StoreError,
    ending::Ending,
    operation::{Each, column, in_order, index},
    queue::first_pending,
};

/// PostgreSQL tries the new row's constraints on the snapshot's version of it before it finds a newer one: `tail` is written
/// as the lock returned it, or a message that has just got the place behind the old `tail` could not end.
///
/// `released` compares counters, never messages: what is accepted while this statement waits for the row has already
/// moved the `tail` that the lock returns.
pub(crate) const FINISH: &str = concat!(
    "-- finish
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                         $8::text[], $9::bigint[], $10::text[], $11::uuid[], $12::text[], $13::uuid[],
                         $14::bigint[], $15::uuid[])
        WITH ORDINALITY AS i (conversation_id, epoch, message_id, turn_id, message_state, turn_state, class,
                              reason, delay, usage, response_id, response_text, outbox_id, quarantine_after, hold_id, n)
), locked AS MATERIALIZED (
    SELECT i.*, c.owner, c.head, c.tail, c.failures
    FROM input i
    JOIN conversations c ON c.id = i.conversation_id AND c.epoch = i.epoch AND c.owner IS NOT NULL
    ORDER BY c.id
    FOR UPDATE OF c
), ended AS (
    UPDATE messages m
    SET state = l.message_state, class = l.class, reason = l.reason,
        finished_at = CASE WHEN l.message_state <> 'received' THEN now END
    FROM locked l, clock
    WHERE m.id = l.message_id AND NOT m.stopping
      AND l.turn_id IS NOT DISTINCT FROM (
          SELECT t.id FROM turns t WHERE t.message_id = l.message_id AND t.state IS NOT DISTINCT FROM 'started')
      AND m.id = ",
    first_pending!("l.conversation_id", "l.head"),
    "
    RETURNING l.*, m.seq, m.instance, m.profile_id, m.chat_id, m.attempts,
              l.message_state = 'received' OR m.seq = l.tail AS released
), turned AS (
    UPDATE turns t
    SET state = e.turn_state, class = e.class, reason = e.reason, usage = e.usage::jsonb, finished_at = now
    FROM ended e, clock
    WHERE t.id = e.turn_id
), advanced AS (
    UPDATE conversations c
    SET head = CASE WHEN e.message_state = 'received' THEN c.head ELSE e.seq END, tail = e.tail,
        owner = CASE WHEN e.released THEN NULL ELSE c.owner END,
        lease_until = CASE WHEN e.released THEN 0 ELSE c.lease_until END,
        not_before = CASE WHEN e.message_state = 'received' THEN now + e.delay ELSE c.not_before END,
        wake_at = CASE WHEN e.message_state = 'received' THEN now + e.delay ELSE c.wake_at END,
        failures = CASE WHEN e.message_state = 'completed' THEN 0
                        WHEN e.quarantine_after IS NOT NULL THEN c.failures + 1 ELSE c.failures END
    FROM ended e, clock
    WHERE c.id = e.conversation_id
), answered AS (
    INSERT INTO responses (id, kind, message_id, turn_id, conversation_id, profile_id, instance, lane, text, state, created_at)
    SELECT response_id, CASE message_state WHEN 'failed' THEN 'notice' ELSE 'answer' END, message_id,
           CASE WHEN message_state <> 'failed' THEN turn_id END, conversation_id, profile_id, instance,
           instance || '/' || COALESCE(chat_id, profile_id::text), response_text, 'pending', now
    FROM ended, clock
    WHERE response_id IS NOT NULL
), owed AS (
    INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, detail, created_at)
    SELECT outbox_id, CASE message_state WHEN 'failed' THEN 'dead_letter' ELSE 'response' END, instance, message_id,
           conversation_id, CASE WHEN message_state <> 'failed' THEN response_id END,
           CASE message_state WHEN 'failed' THEN
               jsonb_build_object('stage', 'turn', 'class', class, 'reason', reason, 'attempts', attempts) END,
           now
    FROM ended, clock
    WHERE outbox_id IS NOT NULL
    UNION ALL
    SELECT response_id, 'response', instance, message_id, conversation_id, response_id, NULL, now
    FROM ended, clock
    WHERE response_id IS NOT NULL AND message_state = 'failed'
), quarantined AS (
    INSERT INTO holds (id, kind, subject, reason, actor, created_at)
    SELECT hold_id, 'conversation', encode(uuid_send(conversation_id), 'hex'),
           'quarantined after ' || failures + 1 || ' failures in a row: ' || class, 'broca', now
    FROM ended, clock
    WHERE failures + 1 >= quarantine_after
    ON CONFLICT (kind, subject) WHERE settled_at IS NULL DO NOTHING
    RETURNING id, reason
), journal AS (
    INSERT INTO events (at, kind, message_id, conversation_id, actor, epoch, detail)
    SELECT now, 'parked', message_id, conversation_id, owner, epoch,
           jsonb_build_object('until', now + delay, 'class', class, 'reason', reason)
    FROM ended, clock
    WHERE message_state = 'received'
    UNION ALL
    SELECT now, 'quarantined', NULL, e.conversation_id, 'broca', NULL, jsonb_build_object('hold', q.id, 'reason', q.reason)
    FROM quarantined q JOIN ended e ON e.hold_id = q.id, clock
)
SELECT n, NULL::boolean AS released, FALSE AS quarantined, now AS at FROM locked, clock
UNION ALL
SELECT n, released, EXISTS (SELECT FROM quarantined q WHERE q.id = hold_id), now FROM ended, clock"
);

pub(crate) const REFUSED: &str = "-- finish: refused
SELECT m.state, t.id, m.stopping
FROM messages m LEFT JOIN turns t ON t.message_id = m.id AND t.state IS NOT DISTINCT FROM 'started'
WHERE m.id = $1 AND m.conversation_id = $2";

/// One for each item whose lease holds, and one that says `released` if it was also done.
#[derive(sqlx::FromRow)]
struct Row {
    n: i64,
    released: Option<bool>,
    quarantined: bool,
    at: i64,
}

pub(crate) async fn run(conn: &mut PgConnection, items: &[Finish]) -> Result<Vec<Each<Fenced<Finished>>>, StoreError> {
    let endings = column(items, Ending::of);
    let mut rows: Vec<Row> = sqlx::query_as(FINISH)
        .bind(column(items, |i| i.conversation.0))
        .bind(column(items, |i| i.epoch))
        .bind(column(items, |i| i.message.0))
        .bind(column(items, |i| i.turn.map(|turn| turn.0)))
        .bind(column(&endings, |e| e.message_state.as_str()))
        .bind(column(&endings, |e| e.turn_state.as_str()))
        .bind(column(&endings, Ending::class))
        .bind(column(&endings, Ending::reason))
        .bind(column(&endings, |e| e.delay))
        .bind(column(&endings, |e| e.usage.as_ref().map(ToString::to_string)))
        .bind(column(&endings, |e| e.response.map(|response| response.id.0)))
        .bind(column(&endings, |e| e.response.map(|response| response.text.as_str())))
        .bind(column(&endings, |e| e.outbox.map(|outbox| outbox.0)))
        .bind(column(&endings, |e| e.quarantine.map(|(after, _)| after)))
        .bind(column(&endings, |e| e.quarantine.map(|(_, hold)| hold.0)))
        .fetch_all(&mut *conn)
        .await?;
    rows.sort_by_key(|row| row.released.is_some());
    let answer = |row: Row| {
        let ending = index(row.n).and_then(|n| endings.get(n))?;
        Some((row.n, Ok(row.released.map(|released| ending.done(released, row.quarantined, row.at)))))
    };
    // Lost is `Some`, refused is `None` until the reason is known.
    let answers = in_order(items.len(), rows.into_iter().filter_map(answer), || Ok(Some(Fenced::LeaseLost)));
    let mut explained = Vec::with_capacity(answers.len());
    for (answer, ending) in answers.into_iter().zip(&endings) {
        explained.push(match answer? {
            Some(finished) => Ok(finished),
            None => Err(refusal(conn, ending).await?),
        });
    }
    Ok(explained)
}

async fn refusal(conn: &mut PgConnection, ending: &Ending<'_>) -> Result<StoreError, StoreError> {
    let found: Option<(String, Option<Uuid>, bool)> = sqlx::query_as(REFUSED)
        .bind(ending.finish.message.0)
        .bind(ending.finish.conversation.0)
        .fetch_optional(conn)
        .await?;
    let (was, open, stopping) = found.map_or((None, None, false), |(was, open, stopping)| (Some(was), open, stopping));
    Ok(ending.refusal(was.as_deref(), open, stopping))
}
