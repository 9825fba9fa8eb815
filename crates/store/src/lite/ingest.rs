//! Accepting messages.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};
use sqlx::{
    SqliteConnection,
    types::{Json, Uuid},
};

use super::{batch, delivery, hex, now, write};
use crate::{
    Accepted, NewMessage, StoreError,
    accept::{ASIDE, Batch, Entry, Person, TOUCH_EVERY_MICROS, WAKE_AFTER_MICROS},
    limits,
    operation::Each,
    pairing,
    tx::Tx,
};

/// With it, whether anybody is to be brought back to life: mostly nobody, and then it costs no statement.
pub(crate) const NOW: &str = concat!("-- ingest: now\nSELECT ", now!(), ", EXISTS (SELECT 1 FROM dead_targets)");

pub(crate) const SEEN: &str = "-- ingest: events seen before
SELECT j.key + 1, m.id
FROM json_each($1) j
JOIN messages m ON m.instance = j.value ->> 'instance' AND m.event_id = j.value ->> 'event'
UNION ALL
SELECT j.key + 1, g.message_id FROM json_each($1) j JOIN past_messages g ON g.key = unhex(j.value ->> 'key')";

pub(crate) const PROFILES: &str = "-- ingest: known people
SELECT j.key AS k, x.id, x.user_id, x.username, x.display_name, x.metadata, x.last_active
FROM json_each($1) j
JOIN profiles x ON x.platform = j.value ->> 'platform' AND x.platform_user_id = j.value ->> 'id'";

pub(crate) const MEET: &str = "-- ingest: new users
INSERT INTO users (id, display_name, created_at)
SELECT unhex(value ->> 'user'), COALESCE(value ->> 'display_name', value ->> 'username'), value ->> 'now'
FROM json_each($1)";

pub(crate) const PROFILE: &str = "-- ingest: profiles
INSERT INTO profiles (id, user_id, platform, platform_user_id, username, display_name, metadata, created_at, last_active)
SELECT unhex(value ->> 'profile'), unhex(value ->> 'user'), value ->> 'platform', value ->> 'id', value ->> 'username',
       value ->> 'display_name', value ->> 'metadata', value ->> 'now', value ->> 'now'
FROM json_each($1) WHERE true
ON CONFLICT (platform, platform_user_id) DO UPDATE
    SET username = excluded.username, display_name = excluded.display_name, metadata = excluded.metadata,
        last_active = excluded.last_active";

pub(crate) const QUEUE: &str = "-- ingest: places
INSERT INTO conversations (id, agent, scope_key, tail, aside, wake_at, created_at)
SELECT unhex(value ->> 'id'), value ->> 'agent', value ->> 'scope_key', value ->> 'places', value ->> 'aside',
       value ->> 'wake_at', value ->> 'now'
FROM json_each($1) WHERE true
ON CONFLICT (id) DO UPDATE
    SET tail = tail + excluded.tail, aside = aside + excluded.aside,
        wake_at = CASE WHEN head = tail THEN max(not_before, excluded.wake_at) ELSE wake_at END
RETURNING id, tail, aside";

pub(crate) const MESSAGE: &str = "-- ingest: messages
INSERT INTO messages (id, instance, event_id, platform, conversation_id, seq, profile_id, route, chat_id,
                      is_group, text, attributes, trace, budget, urgent, files, state, class, reason, received_at, finished_at)
SELECT unhex(value ->> 'id'), value ->> 'instance', value ->> 'event', value ->> 'platform',
       unhex(value ->> 'conversation'), value ->> 'seq', unhex(value ->> 'profile'), value ->> 'route',
       value ->> 'chat', value ->> 'is_group', value ->> 'text', value ->> 'attributes', value ->> 'trace',
       value ->> 'budget', value ->> 'urgent', value ->> 'files',
       CASE WHEN value ->> 'class' IS NULL THEN 'received' ELSE 'suppressed' END, value ->> 'class',
       value ->> 'reason', value ->> 'now', CASE WHEN value ->> 'class' IS NOT NULL THEN value ->> 'now' END
FROM json_each($1)";

pub(crate) const OWE: &str = "-- owed wakes
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, created_at)
SELECT unhex(value ->> 'outbox'), 'wake', value ->> 'instance', unhex(value ->> 'id'),
       unhex(value ->> 'conversation'), value ->> 'now'
FROM json_each($1)";

#[derive(sqlx::FromRow)]
struct Known {
    k: i64,
    id: Uuid,
    user_id: Uuid,
    username: Option<String>,
    display_name: Option<String>,
    metadata: Json<Map<String, Value>>,
    last_active: i64,
}

pub(crate) async fn run(conn: &mut SqliteConnection, items: &[NewMessage]) -> Result<Vec<Each<Accepted>>, StoreError> {
    let (now, any_dead): (i64, bool) = sqlx::query_as(NOW).fetch_one(&mut *conn).await?;
    let mut batch = Batch::of(items);
    let known = known_people(conn, &batch.people).await?;
    batch.assume_users(known.values().map(|known| (known.k + 1, known.user_id)));
    let mut entries = batch.entries();
    let seen = seen_events(conn, &entries).await?;
    if !batch.is_plain() {
        let counters = limits::open(&mut Tx::Lite(conn), &entries).await?;
        limits::take(&mut Tx::Lite(conn), counters, &mut entries, |n| seen.contains_key(&n), now).await?;
    }
    let fresh: Vec<(i64, &Entry<'_>)> = (1..).zip(&entries).filter(|(n, _)| !seen.contains_key(n)).collect();
    let profiles = write_people(conn, &batch.people, &known, &fresh, now).await?;
    store(conn, &fresh, &profiles, now).await?;
    if any_dead {
        revive(conn, &fresh, &profiles).await?;
    }
    let accepted = (1..).zip(&entries).map(|(n, entry)| Ok(entry.accepted(seen.get(&n).copied(), now)));
    let mut accepted: Vec<Each<Accepted>> = accepted.collect();
    if !batch.is_plain() {
        pairing::invite(&mut Tx::Lite(conn), &entries, &mut accepted, now).await?;
    }
    Ok(batch.answers(accepted))
}

async fn known_people(conn: &mut SqliteConnection, people: &[Person<'_>]) -> Result<HashMap<i64, Known>, StoreError> {
    let keys = batch(people, |p| json!({"platform": p.platform, "id": p.platform_user_id}));
    let known: Vec<Known> = sqlx::query_as(PROFILES).bind(keys).fetch_all(conn).await?;
    Ok(known.into_iter().map(|known| (known.k, known)).collect())
}

async fn seen_events(conn: &mut SqliteConnection, entries: &[Entry<'_>]) -> Result<HashMap<i64, Uuid>, StoreError> {
    let events = batch(
        entries,
        |e| json!({"instance": e.message.instance.as_str(), "event": e.message.incoming.event_id, "key": hex(e.event_key)}),
    );
    let seen: Vec<(i64, Uuid)> = sqlx::query_as(SEEN).bind(events).fetch_all(conn).await?;
    Ok(seen.into_iter().collect())
}

/// Writes the senders of fresh messages that are new, changed or long unseen; gives each one's profile id.
async fn write_people(
    conn: &mut SqliteConnection,
    people: &[Person<'_>],
    known: &HashMap<i64, Known>,
    fresh: &[(i64, &Entry<'_>)],
    now: i64,
) -> Result<HashMap<usize, Uuid>, StoreError> {
    let mut ids = HashMap::new();
    let (mut users, mut profiles) = (Vec::new(), Vec::new());
    let senders: HashSet<usize> = fresh.iter().map(|(_, entry)| entry.person).collect();
    for (index, (k, person)) in (0..).zip(people).enumerate() {
        if !senders.contains(&index) {
            continue;
        }
        let old = known.get(&k);
        ids.insert(index, old.map_or(person.profile_id.0, |old| old.id));
        let row = profile_row(person, old, now);
        if old.is_none() {
            users.push(row.clone());
        }
        if old.is_none_or(|old| changed(person, old) || old.last_active < now - TOUCH_EVERY_MICROS) {
            profiles.push(row);
        }
    }
    write(conn, MEET, users).await?;
    write(conn, PROFILE, profiles).await?;
    Ok(ids)
}

fn changed(person: &Person<'_>, old: &Known) -> bool {
    let differs = |new: Option<&str>, old: &Option<String>| new.is_some() && new != old.as_deref();
    differs(person.username, &old.username)
        || differs(person.display_name, &old.display_name)
        || person.metadata.iter().any(|(key, value)| old.metadata.get(key) != Some(value))
}

fn profile_row(person: &Person<'_>, old: Option<&Known>, now: i64) -> Value {
    let mut metadata = old.map(|old| old.metadata.0.clone()).unwrap_or_default();
    metadata.extend(person.metadata.clone());
    json!({
        "profile": hex(person.profile_id.0), "user": hex(old.map_or(person.user_id.0, |old| old.user_id)),
        "platform": person.platform, "id": person.platform_user_id,
        "username": person.username.or(old.and_then(|old| old.username.as_deref())),
        "display_name": person.display_name.or(old.and_then(|old| old.display_name.as_deref())),
        "metadata": Value::Object(metadata).to_string(), "now": now,
    })
}

/// Gives each fresh message its place, and stores it with the wake it owes.
async fn store(
    conn: &mut SqliteConnection,
    fresh: &[(i64, &Entry<'_>)],
    profiles: &HashMap<usize, Uuid>,
    now: i64,
) -> Result<(), StoreError> {
    if fresh.is_empty() {
        return Ok(());
    }
    let mut places: HashMap<Uuid, (i64, i64, &Entry<'_>)> = HashMap::new();
    for (_, entry) in fresh {
        let (places, aside, _) = places.entry(entry.conversation.0).or_insert((0, 0, entry));
        *if entry.suppressed.is_none() { places } else { aside } += 1;
    }
    let queues = batch(&places, |(id, (places, aside, entry))| {
        json!({"id": hex(*id), "agent": entry.message.agent, "scope_key": entry.scope_key, "places": places,
               "aside": aside, "wake_at": now + WAKE_AFTER_MICROS, "now": now})
    });
    let ends: Vec<(Uuid, i64, i64)> = sqlx::query_as(QUEUE).bind(queues).fetch_all(&mut *conn).await?;
    // The places of each conversation's last messages before this batch, in its queue and aside.
    let before = |(id, tail, aside): (Uuid, i64, i64)| {
        let (new, new_aside) = places.get(&id).map_or((0, 0), |(places, aside, _)| (*places, *aside));
        (id, (tail - new, ASIDE + aside - new_aside))
    };
    let mut last: HashMap<Uuid, (i64, i64)> = ends.into_iter().map(before).collect();
    let row = |(_, entry): &(i64, &Entry<'_>)| {
        let (queued, aside) = last.entry(entry.conversation.0).or_default();
        let seq = if entry.suppressed.is_none() { queued } else { aside };
        *seq += 1;
        let message = entry.message;
        json!({
            "id": hex(message.id.0), "instance": message.instance.as_str(), "event": message.incoming.event_id,
            "platform": message.platform, "conversation": hex(entry.conversation.0), "seq": *seq,
            "profile": profiles.get(&entry.person).copied().map(hex), "route": message.route,
            "chat": message.incoming.chat_id, "is_group": message.incoming.is_group, "text": entry.text(),
            "attributes": entry.attributes_text(), "trace": message.trace.to_string(),
            "budget": entry.budget_text(), "urgent": message.incoming.urgent, "files": entry.files_text(), "class": entry.class(), "reason": entry.reason(),
            "outbox": hex(entry.outbox.0), "now": now,
        })
    };
    let rows: Vec<Value> = fresh.iter().map(row).collect();
    write(conn, MESSAGE, rows.clone()).await?;
    write(conn, OWE, rows.into_iter().filter(|row| row["class"].is_null()).collect()).await
}

/// Whoever writes takes answers again.
async fn revive(
    conn: &mut SqliteConnection,
    fresh: &[(i64, &Entry<'_>)],
    profiles: &HashMap<usize, Uuid>,
) -> Result<(), StoreError> {
    let lane = |(_, entry): &(i64, &Entry<'_>)| {
        let profile = profiles.get(&entry.person).copied().unwrap_or_default();
        json!(super::lane(entry.message.instance.as_str(), entry.message.incoming.chat_id.as_deref(), profile))
    };
    write(conn, delivery::REVIVE, fresh.iter().map(lane).collect()).await
}
