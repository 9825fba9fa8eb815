//! Accepting messages.

use sqlx::{PgConnection, types::Uuid};

use crate::{
    Accepted, NewMessage, StoreError,
    accept::{self, Batch},
    operation::{Each, column, in_order},
};

/// A unique violation of `messages_event` means that another process accepted the same event since the snapshot: the
/// whole statement is repeated, and finds it. A message that lost its place would otherwise leave a gap at
/// the tail, and the conversation would never look idle again.
pub(crate) const INGEST: &str = "-- ingest
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
person AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
        WITH ORDINALITY AS p (profile_id, user_id, platform, platform_user_id, username, display_name, metadata, k)
), input AS MATERIALIZED (
    SELECT i.*, m.id AS seen
    FROM unnest($8::uuid[], $9::text[], $10::text[], $11::bigint[], $12::uuid[], $13::text[], $14::text[], $15::text[],
                $16::text[], $17::boolean[], $18::text[], $19::text[], $20::text[], $21::uuid[], $22::uuid[])
        WITH ORDINALITY AS i (id, instance, event_id, person, conversation_id, agent, scope_key, route,
                              chat_id, is_group, text, attributes, trace, outbox_id, assumed_user, n)
    LEFT JOIN messages m ON m.instance = i.instance AND m.event_id = i.event_id
), known AS MATERIALIZED (
    SELECT p.*, x.id AS known_id, x.user_id AS known_user,
           p.username IS DISTINCT FROM x.username AND p.username IS NOT NULL
               OR p.display_name IS DISTINCT FROM x.display_name AND p.display_name IS NOT NULL
               OR x.metadata || p.metadata::jsonb <> x.metadata
               OR x.last_active < clock.now - $23 AS changed
    FROM clock CROSS JOIN person p
    LEFT JOIN profiles x ON x.platform = p.platform AND x.platform_user_id = p.platform_user_id
    WHERE p.k IN (SELECT person FROM input WHERE seen IS NULL)
), written AS (
    INSERT INTO profiles AS x
        (id, user_id, platform, platform_user_id, username, display_name, metadata, created_at, last_active)
    SELECT profile_id, user_id, platform, platform_user_id, username, display_name, metadata::jsonb, now, now
    FROM known, clock
    WHERE known_id IS NULL OR changed
    ORDER BY platform, platform_user_id
    ON CONFLICT (platform, platform_user_id) DO UPDATE
        SET username = COALESCE(EXCLUDED.username, x.username),
            display_name = COALESCE(EXCLUDED.display_name, x.display_name),
            metadata = x.metadata || EXCLUDED.metadata,
            last_active = GREATEST(x.last_active, EXCLUDED.last_active)
    RETURNING id, user_id, platform, platform_user_id
), met AS (
    INSERT INTO users (id, display_name, created_at)
    SELECT k.user_id, COALESCE(k.display_name, k.username), now
    FROM known k JOIN written w ON w.user_id = k.user_id, clock
), resolved AS MATERIALIZED (
    SELECT k.k, COALESCE(w.id, k.known_id) AS profile_id, COALESCE(w.user_id, k.known_user) AS user_id
    FROM known k
    LEFT JOIN written w ON w.platform = k.platform AND w.platform_user_id = k.platform_user_id
), fresh AS MATERIALIZED (
    SELECT i.*, p.platform, r.profile_id,
           row_number() OVER (PARTITION BY i.conversation_id ORDER BY i.n) AS place,
           count(*) OVER (PARTITION BY i.conversation_id) AS places
    FROM input i JOIN resolved r ON r.k = i.person JOIN person p ON p.k = i.person
    WHERE i.seen IS NULL AND (i.assumed_user IS NULL OR i.assumed_user = r.user_id)
), queued AS (
    INSERT INTO conversations AS c (id, agent, scope_key, tail, wake_at, created_at)
    SELECT conversation_id, agent, scope_key, places, now + $24, now
    FROM fresh, clock
    WHERE place = 1
    ORDER BY conversation_id
    ON CONFLICT (id) DO UPDATE
        SET tail = c.tail + EXCLUDED.tail,
            wake_at = CASE WHEN c.head = c.tail THEN GREATEST(c.not_before, EXCLUDED.wake_at) ELSE c.wake_at END
    RETURNING id, tail
), stored AS (
    INSERT INTO messages (id, instance, event_id, platform, conversation_id, seq, profile_id, route, chat_id,
                          is_group, text, attributes, trace, state, received_at)
    SELECT f.id, instance, event_id, platform, conversation_id, q.tail - places + place, profile_id, route, chat_id,
           is_group, text, attributes::jsonb, trace, 'received', now
    FROM fresh f JOIN queued q ON q.id = f.conversation_id, clock
), owed AS (
    INSERT INTO outbox (id, kind, instance, message_id, conversation_id, created_at)
    SELECT outbox_id, 'wake', instance, id, conversation_id, now FROM fresh, clock
)
SELECT i.n, i.seen, f.id IS NOT NULL AS fresh, clock.now AS at
FROM clock CROSS JOIN input i LEFT JOIN fresh f ON f.n = i.n";

/// Only the scope `user` needs it: the id of such a conversation depends on the user's.
pub(crate) const USERS: &str = "-- users of profiles
SELECT p.k, x.user_id
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS p (platform, platform_user_id, k)
JOIN profiles x ON x.platform = p.platform AND x.platform_user_id = p.platform_user_id";

#[derive(sqlx::FromRow)]
struct Row {
    n: i64,
    seen: Option<Uuid>,
    fresh: bool,
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
    let entries = batch.entries();
    let rows: Vec<Row> = sqlx::query_as(INGEST)
        .bind(column(&batch.people, |p| p.profile_id.0))
        .bind(column(&batch.people, |p| p.user_id.0))
        .bind(column(&batch.people, |p| p.platform))
        .bind(column(&batch.people, |p| p.platform_user_id))
        .bind(column(&batch.people, |p| p.username))
        .bind(column(&batch.people, |p| p.display_name))
        .bind(column(&batch.people, |p| p.metadata_text()))
        .bind(column(&entries, |e| e.message.id.0))
        .bind(column(&entries, |e| e.message.instance.as_str()))
        .bind(column(&entries, |e| e.message.incoming.event_id.as_str()))
        .bind(column(&entries, |e| e.person))
        .bind(column(&entries, |e| e.conversation.0))
        .bind(column(&entries, |e| e.message.agent.as_str()))
        .bind(column(&entries, |e| e.scope_key.as_str()))
        .bind(column(&entries, |e| e.message.route.as_str()))
        .bind(column(&entries, |e| e.message.incoming.chat_id.as_deref()))
        .bind(column(&entries, |e| e.message.incoming.is_group))
        .bind(column(&entries, |e| e.message.incoming.text.as_str()))
        .bind(column(&entries, |e| e.message.incoming.attributes.to_string()))
        .bind(column(&entries, |e| e.message.trace.to_string()))
        .bind(column(&entries, |e| e.outbox.0))
        .bind(column(&entries, |e| e.assumed_user.map(|user| user.0)))
        .bind(accept::TOUCH_EVERY_MICROS)
        .bind(accept::WAKE_AFTER_MICROS)
        .fetch_all(conn)
        .await?;
    let accepted = in_order(
        entries.len(),
        rows.into_iter().map(|row| (row.n, entries[place(row.n)].accepted(row.seen, row.fresh, row.at))),
        || Err(StoreError::unreadable("ingest lost a row")),
    );
    Ok(batch.answers(accepted))
}

fn place(n: i64) -> usize {
    usize::try_from(n - 1).unwrap_or(0)
}
