//! Accepting messages.

use std::collections::HashSet;

use sqlx::{Connection, PgConnection, types::Uuid};

use crate::{
    Accepted, NewMessage, StoreError,
    accept::{self, Batch, Entry},
    limits,
    operation::{Each, column, in_order, index},
    pairing,
    tx::Tx,
};

/// A unique violation of `messages_event` means that another process accepted the same event since the snapshot: the
/// whole statement is repeated, and finds it. A message that lost its place would otherwise leave a gap at
/// the tail, and the conversation would never look idle again.
///
/// The planner takes a batch for ten rows, and would join two of its parts by trying every pair. So the parts carry along
/// what later ones need; and where the places meet the messages, `many` is one row that it takes for a thousand.
pub(crate) const INGEST: &str = "-- ingest
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
input AS MATERIALIZED (
    SELECT i.*, COALESCE(m.id, g.message_id) AS seen, x.id AS known_profile, x.user_id AS known_user,
           x.id IS NULL
               OR i.username IS NOT NULL AND i.username IS DISTINCT FROM x.username
               OR i.display_name IS NOT NULL AND i.display_name IS DISTINCT FROM x.display_name
               OR x.metadata || i.metadata::jsonb <> x.metadata
               OR x.last_active < clock.now - $22 AS news
    FROM clock
    CROSS JOIN unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
                      $9::boolean[], $10::text[], $11::text[], $12::text[], $13::uuid[], $14::uuid[], $15::uuid[],
                      $16::uuid[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $25::text[],
                      $26::text[], $27::text[], $29::boolean[], $30::uuid[], $31::text[])
        WITH ORDINALITY AS i (id, instance, event_id, conversation_id, agent, scope_key, route, chat_id,
                              is_group, text, attributes, trace, outbox_id, assumed_user, new_profile,
                              new_user, platform, platform_user_id, username, display_name, metadata, budget,
                              class, reason, urgent, event_key, files, n)
    LEFT JOIN messages m ON m.instance = i.instance AND m.event_id = i.event_id
    LEFT JOIN past_messages g ON g.key = i.event_key
    LEFT JOIN profiles x ON x.platform = i.platform AND x.platform_user_id = i.platform_user_id
), written AS (
    INSERT INTO profiles AS x
        (id, user_id, platform, platform_user_id, username, display_name, metadata, created_at, last_active)
    SELECT DISTINCT ON (platform, platform_user_id)
           new_profile, new_user, platform, platform_user_id, username, display_name, metadata::jsonb, now, now
    FROM input, clock
    WHERE seen IS NULL AND news
    ORDER BY platform, platform_user_id
    ON CONFLICT (platform, platform_user_id) DO UPDATE
        SET username = COALESCE(EXCLUDED.username, x.username),
            display_name = COALESCE(EXCLUDED.display_name, x.display_name),
            metadata = x.metadata || EXCLUDED.metadata,
            last_active = GREATEST(x.last_active, EXCLUDED.last_active)
    RETURNING id, user_id, platform, platform_user_id, username, display_name
), met AS (
    INSERT INTO users (id, display_name, created_at)
    SELECT user_id, COALESCE(display_name, username), now FROM written, clock
    ON CONFLICT (id) DO NOTHING
), fresh AS MATERIALIZED (
    SELECT f.*,
           row_number() OVER in_order AS nth,
           count(*) FILTER (WHERE class IS NULL) OVER in_order AS place,
           count(*) FILTER (WHERE class IS NULL) OVER (PARTITION BY conversation_id) AS places,
           count(*) FILTER (WHERE class IS NOT NULL) OVER (PARTITION BY conversation_id) AS asides
    FROM (
        SELECT i.*, known_profile AS profile_id FROM input i
        WHERE seen IS NULL AND known_profile IS NOT NULL AND (assumed_user IS NULL OR assumed_user = known_user)
        UNION ALL
        SELECT i.*, w.id FROM input i
        JOIN written w ON w.platform_user_id = i.platform_user_id AND w.platform = i.platform
        WHERE seen IS NULL AND known_profile IS NULL AND (assumed_user IS NULL OR assumed_user = w.user_id)
    ) f
    CROSS JOIN generate_series(1, $24) AS many
    WINDOW in_order AS (PARTITION BY conversation_id ORDER BY n)
), queued AS (
    INSERT INTO conversations AS c (id, agent, scope_key, tail, aside, wake_at, created_at)
    SELECT conversation_id, agent, scope_key, places, asides, now + $23, now
    FROM fresh, clock
    WHERE nth = 1
    ORDER BY conversation_id
    ON CONFLICT (id) DO UPDATE
        SET tail = c.tail + EXCLUDED.tail, aside = c.aside + EXCLUDED.aside,
            wake_at = CASE WHEN c.head = c.tail THEN GREATEST(c.not_before, EXCLUDED.wake_at) ELSE c.wake_at END
    RETURNING id, tail, aside
), stored AS (
    INSERT INTO messages (id, instance, event_id, platform, conversation_id, seq, profile_id, route, chat_id,
                          is_group, text, attributes, trace, budget, urgent, files, state, class, reason, received_at, finished_at)
    SELECT f.id, instance, event_id, platform, conversation_id,
           CASE WHEN class IS NULL THEN q.tail - places + place ELSE $28 + q.aside - asides + nth - place END,
           profile_id, route, chat_id, is_group, text, attributes::jsonb, trace, budget::jsonb, urgent, files::jsonb,
           CASE WHEN class IS NULL THEN 'received' ELSE 'suppressed' END, class, reason, now,
           CASE WHEN class IS NOT NULL THEN now END
    FROM fresh f JOIN queued q ON q.id = f.conversation_id, clock
), owed AS (
    INSERT INTO outbox (id, kind, instance, message_id, conversation_id, created_at)
    SELECT outbox_id, 'wake', instance, id, conversation_id, now FROM fresh, clock WHERE class IS NULL
), revived AS (
    DELETE FROM dead_targets
    WHERE lane = ANY (ARRAY(SELECT instance || '/' || COALESCE(chat_id, profile_id::text) FROM fresh))
)
SELECT n, seen, now AS at FROM input, clock WHERE seen IS NOT NULL
UNION ALL
SELECT n, NULL, now FROM fresh, clock";

/// Only the scope `user` needs it: the id of such a conversation depends on the user's.
pub(crate) const USERS: &str = "-- users of profiles
SELECT p.k, x.user_id
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS p (platform, platform_user_id, k)
JOIN profiles x ON x.platform = p.platform AND x.platform_user_id = p.platform_user_id";

#[derive(sqlx::FromRow)]
struct Row {
    n: i64,
    seen: Option<Uuid>,
    at: i64,
}

pub(crate) async fn run(conn: &mut PgConnection, items: &[NewMessage]) -> Result<Vec<Each<Accepted>>, StoreError> {
    let mut batch = Batch::of(items);
    if batch.needs_users() {
        let people = &batch.people;
        let users: Vec<(i64, Uuid)> = sqlx::query_as(USERS)
            .bind(column(people, |p| p.platform))
            .bind(column(people, |p| p.platform_user_id))
            .fetch_all(&mut *conn)
            .await?;
        batch.assume_users(users);
    }
    let mut entries = batch.entries();
    if batch.is_plain() {
        let accepted = write(conn, &batch, &entries).await?;
        return Ok(batch.answers(accepted));
    }
    let mut tx = conn.begin().await?;
    let counters = limits::open(&mut Tx::Pg(&mut tx), &entries).await?;
    // Looked up under the locks of the counters: an event that two processes report at once is counted once.
    let (seen, now) = seen(&mut tx, &entries).await?;
    limits::take(&mut Tx::Pg(&mut tx), counters, &mut entries, |n| seen.contains(&n), now).await?;
    let mut accepted = write(&mut tx, &batch, &entries).await?;
    pairing::invite(&mut Tx::Pg(&mut tx), &entries, &mut accepted, now).await?;
    tx.commit().await?;
    Ok(batch.answers(accepted))
}

pub(crate) const SEEN: &str = "-- ingest: events seen before
SELECT i.n, m.id IS NOT NULL, broca_now()
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS i (instance, event_id, n)
LEFT JOIN messages m ON m.instance = i.instance AND m.event_id = i.event_id";

/// The places of those entries that were accepted before, and the time.
async fn seen(conn: &mut PgConnection, entries: &[Entry<'_>]) -> Result<(HashSet<i64>, i64), StoreError> {
    let rows: Vec<(i64, bool, i64)> = sqlx::query_as(SEEN)
        .bind(column(entries, |e| e.message.instance.as_str()))
        .bind(column(entries, |e| e.message.incoming.event_id.as_str()))
        .fetch_all(conn)
        .await?;
    let now = rows.first().map_or(0, |(_, _, now)| *now);
    Ok((rows.into_iter().filter(|(_, seen, _)| *seen).map(|(n, _, _)| n).collect(), now))
}

async fn write(
    conn: &mut PgConnection,
    batch: &Batch<'_>,
    entries: &[Entry<'_>],
) -> Result<Vec<Each<Accepted>>, StoreError> {
    let people = column(entries, |e| &batch.people[e.person]);
    let rows: Vec<Row> = sqlx::query_as(INGEST)
        .bind(column(entries, |e| e.message.id.0))
        .bind(column(entries, |e| e.message.instance.as_str()))
        .bind(column(entries, |e| e.message.incoming.event_id.as_str()))
        .bind(column(entries, |e| e.conversation.0))
        .bind(column(entries, |e| e.message.agent.as_str()))
        .bind(column(entries, |e| e.scope_key.as_str()))
        .bind(column(entries, |e| e.message.route.as_str()))
        .bind(column(entries, |e| e.message.incoming.chat_id.as_deref()))
        .bind(column(entries, |e| e.message.incoming.is_group))
        .bind(column(entries, |e| e.text()))
        .bind(column(entries, |e| e.attributes_text()))
        .bind(column(entries, |e| e.message.trace.to_string()))
        .bind(column(entries, |e| e.outbox.0))
        .bind(column(entries, |e| e.assumed_user.map(|user| user.0)))
        .bind(column(&people, |p| p.profile_id.0))
        .bind(column(&people, |p| p.user_id.0))
        .bind(column(&people, |p| p.platform))
        .bind(column(&people, |p| p.platform_user_id))
        .bind(column(&people, |p| p.username))
        .bind(column(&people, |p| p.display_name))
        .bind(column(&people, |p| p.metadata_text()))
        .bind(accept::TOUCH_EVERY_MICROS)
        .bind(accept::WAKE_AFTER_MICROS)
        .bind(1_i32)
        .bind(column(entries, |e| e.budget_text()))
        .bind(column(entries, Entry::class))
        .bind(column(entries, Entry::reason))
        .bind(accept::ASIDE)
        .bind(column(entries, |e| e.message.incoming.urgent))
        .bind(column(entries, |e| e.event_key))
        .bind(column(entries, |e| e.files_text()))
        .fetch_all(conn)
        .await?;
    let answer = |row: Row| Some((row.n, Ok(entries.get(index(row.n)?)?.accepted(row.seen, row.at))));
    Ok(in_order(entries.len(), rows.into_iter().filter_map(answer), || Err(accept::user_changed())))
}
