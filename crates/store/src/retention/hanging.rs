//! A message and all that hangs on it, deleted together.
//!
//! Every table that names a message is here; a test looks for one that is not. What a platform may report again
//! leaves a mark until then, so that it stays a duplicate.

use std::time::Duration;

use broca_core::clock::micros;
use serde_json::json;
use sqlx::types::Uuid;

use super::Removed;
use crate::{
    StoreError,
    accept::event_key,
    lite::{batch, hex},
    tx::{Tx, change},
};

/// A message that is to go.
#[derive(Clone, Debug)]
pub(crate) struct Going {
    pub(crate) id: Uuid,
    pub(crate) instance: String,
    pub(crate) event_id: String,
    pub(crate) received_at: i64,
    pub(crate) letter: bool,
}

/// The same statement for an array of ids on either database.
macro_rules! by_ids {
    ($name:ident = $label:literal, $sql:literal) => {
        pub(crate) const $name: [&str; 2] = [
            concat!("-- remove: ", $label, "\n", $sql, " = ANY ($1)"),
            concat!("-- remove: ", $label, "\n", $sql, " IN (SELECT unhex(value) FROM json_each($1))"),
        ];
    };
}

by_ids!(ANSWERS = "answers of messages", "SELECT id FROM responses WHERE message_id");
by_ids!(DELIVERIES = "deliveries", "DELETE FROM deliveries WHERE response_id");
by_ids!(CLOSINGS = "closings", "DELETE FROM letters_closed WHERE subject_id");
by_ids!(REPLAYS = "replays", "DELETE FROM replays WHERE message_id");
by_ids!(PLAN_ITEMS = "plan items", "DELETE FROM replay_items WHERE message_id");
by_ids!(EVENTS = "events", "DELETE FROM events WHERE message_id");
by_ids!(RESPONSES = "answers", "DELETE FROM responses WHERE id");
by_ids!(STOPS = "wishes to stop", "DELETE FROM stops WHERE message_id");
by_ids!(MEMBERS = "messages of turns", "DELETE FROM turn_messages WHERE message_id");
by_ids!(TURNS = "turns", "DELETE FROM turns WHERE message_id");
by_ids!(OUTBOX = "outbox", "DELETE FROM outbox WHERE message_id");
by_ids!(MESSAGES = "messages", "DELETE FROM messages WHERE id");

/// Turns of several messages of which the first goes, with those of them that stay, in order.
pub(crate) const HEIRS: [&str; 2] = [
    "-- remove: heirs of turns
SELECT t.id, m.message_id, m.attempt FROM turns t JOIN turn_messages m ON m.turn_id = t.id
WHERE t.message_id = ANY ($1) AND t.messages > 1 AND m.message_id <> ALL ($1) ORDER BY t.id, m.ord",
    "-- remove: heirs of turns
SELECT t.id, m.message_id, m.attempt FROM turns t JOIN turn_messages m ON m.turn_id = t.id
WHERE t.message_id IN (SELECT unhex(value) FROM json_each($1)) AND t.messages > 1
  AND m.message_id NOT IN (SELECT unhex(value) FROM json_each($1)) ORDER BY t.id, m.ord",
];

pub(crate) const HAND_ON: &str = "-- remove: hand a turn on
UPDATE turns SET message_id = $2, attempt = $3 WHERE id = $1";

pub(crate) const MARK_PG: &str = "-- remove: marks
INSERT INTO past_messages (key, message_id, until)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[])
ON CONFLICT (key) DO UPDATE SET message_id = EXCLUDED.message_id, until = EXCLUDED.until";

pub(crate) const MARK_LITE: &str = "-- remove: marks
INSERT INTO past_messages (key, message_id, until)
SELECT unhex(value ->> 'key'), unhex(value ->> 'message'), value ->> 'until' FROM json_each($1) WHERE true
ON CONFLICT (key) DO UPDATE SET message_id = excluded.message_id, until = excluded.until";

/// The caller has the lock on these messages, and knows that nothing of them is under way.
pub(crate) async fn remove(
    tx: &mut Tx<'_>,
    going: &[Going],
    dedupe: Duration,
    now: i64,
) -> Result<Removed, StoreError> {
    if going.is_empty() {
        return Ok(Removed::default());
    }
    mark(tx, going, dedupe, now).await?;
    let messages: Vec<Uuid> = going.iter().map(|message| message.id).collect();
    let answers = ids(tx, ANSWERS, &messages).await?;
    hand_turns_on(tx, &messages).await?;
    delete(tx, STOPS, &messages).await?;
    delete(tx, MEMBERS, &messages).await?;
    let subjects: Vec<Uuid> = messages.iter().chain(&answers).copied().collect();
    Ok(Removed {
        deliveries: delete(tx, DELIVERIES, &answers).await?,
        closings: delete(tx, CLOSINGS, &subjects).await?,
        replays: delete(tx, REPLAYS, &messages).await?,
        plan_items: delete(tx, PLAN_ITEMS, &messages).await?,
        events: delete(tx, EVENTS, &messages).await?,
        responses: delete(tx, RESPONSES, &answers).await?,
        turns: delete(tx, TURNS, &messages).await?,
        outbox: delete(tx, OUTBOX, &messages).await?,
        // They are what the others hang on.
        messages: delete(tx, MESSAGES, &messages).await?,
        dead_letters: going.iter().filter(|message| message.letter).count() as u64,
        ..Removed::default()
    })
}

/// A turn belongs to the first message that was said in it. What it says of those that stay, stays.
async fn hand_turns_on(tx: &mut Tx<'_>, going: &[Uuid]) -> Result<(), StoreError> {
    let mut heirs: Vec<(Uuid, Uuid, i64)> = match tx {
        Tx::Pg(conn) => sqlx::query_as(HEIRS[0]).bind(going.to_vec()).fetch_all(&mut **conn).await?,
        Tx::Lite(conn) => {
            sqlx::query_as(HEIRS[1]).bind(batch(going, |id| json!(hex(*id)))).fetch_all(&mut **conn).await?
        }
    };
    // The first that stays.
    heirs.dedup_by_key(|(turn, ..)| *turn);
    for (turn, message, attempt) in heirs {
        change!(tx, HAND_ON, turn, message, attempt)?;
    }
    Ok(())
}

async fn mark(tx: &mut Tx<'_>, going: &[Going], dedupe: Duration, now: i64) -> Result<(), StoreError> {
    let until = |message: &Going| message.received_at.saturating_add(micros(dedupe));
    let marks: Vec<(Uuid, Uuid, i64)> = going
        .iter()
        .filter(|message| until(message) > now)
        .map(|message| (event_key(&message.instance, &message.event_id), message.id, until(message)))
        .collect();
    if marks.is_empty() {
        return Ok(());
    }
    match tx {
        Tx::Pg(conn) => {
            let keys: Vec<Uuid> = marks.iter().map(|(key, ..)| *key).collect();
            let messages: Vec<Uuid> = marks.iter().map(|(_, message, _)| *message).collect();
            let untils: Vec<i64> = marks.iter().map(|(.., until)| *until).collect();
            sqlx::query(MARK_PG).bind(keys).bind(messages).bind(untils).execute(&mut **conn).await?;
        }
        Tx::Lite(conn) => {
            let marks = batch(
                &marks,
                |(key, message, until)| json!({"key": hex(*key), "message": hex(*message), "until": until}),
            );
            sqlx::query(MARK_LITE).bind(marks).execute(&mut **conn).await?;
        }
    }
    Ok(())
}

pub(crate) async fn ids(tx: &mut Tx<'_>, sql: [&'static str; 2], among: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    let rows: Vec<(Uuid,)> = match tx {
        Tx::Pg(conn) => sqlx::query_as(sql[0]).bind(among.to_vec()).fetch_all(&mut **conn).await?,
        Tx::Lite(conn) => {
            sqlx::query_as(sql[1]).bind(batch(among, |id| json!(hex(*id)))).fetch_all(&mut **conn).await?
        }
    };
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

pub(crate) async fn delete(tx: &mut Tx<'_>, sql: [&'static str; 2], among: &[Uuid]) -> Result<u64, StoreError> {
    if among.is_empty() {
        return Ok(0);
    }
    Ok(match tx {
        Tx::Pg(conn) => sqlx::query(sql[0]).bind(among.to_vec()).execute(&mut **conn).await?.rows_affected(),
        Tx::Lite(conn) => {
            sqlx::query(sql[1]).bind(batch(among, |id| json!(hex(*id)))).execute(&mut **conn).await?.rows_affected()
        }
    })
}
