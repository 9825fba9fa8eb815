//! Conversations that wait though nothing of them failed.

use broca_core::{EventKind, Timestamp, clock::micros};
use serde_json::json;
use sqlx::{SqliteConnection, types::Uuid};

use super::{batch, hex, now_micros, write};
use crate::{
    Fenced, Park, StoreError, Unpark,
    journal::{Event, append},
    operation::{Each, in_order, index},
};

pub(crate) const LOOK: &str = "-- park: look
SELECT j.key + 1, c.owner, c.tail
FROM json_each($1) j
JOIN conversations c
    ON c.id = unhex(j.value ->> 'conversation') AND c.epoch = j.value ->> 'epoch' AND c.owner IS NOT NULL";

pub(crate) const PARK: &str = "-- park
UPDATE conversations
SET owner = NULL, lease_until = 0, not_before = j.value ->> 'due', wake_at = j.value ->> 'due',
    parked = j.value ->> 'what_for',
    window_until = CASE WHEN j.value ->> 'what_for' IS NULL THEN j.value ->> 'due' ELSE window_until END
FROM json_each($1) j WHERE conversations.id = unhex(j.value ->> 'conversation')";

pub(crate) const TELL: &str = "-- park: messages
UPDATE messages SET class = j.value ->> 'class', reason = j.value ->> 'reason'
FROM json_each($1) j WHERE messages.id = unhex(j.value ->> 'message') AND state IN ('received', 'processing')";

pub(crate) async fn park(
    conn: &mut SqliteConnection,
    items: &[Park],
) -> Result<Vec<Each<Fenced<Timestamp>>>, StoreError> {
    let now = now_micros(conn).await?;
    let keys = batch(items, |i| json!({"conversation": hex(i.conversation.0), "epoch": i.epoch}));
    let held: Vec<(i64, String, i64)> = sqlx::query_as(LOOK).bind(keys).fetch_all(&mut *conn).await?;
    let (mut rows, mut told, mut events, mut answers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (n, owner, tail) in &held {
        let Some(item) = index(*n).and_then(|n| items.get(n)) else { continue };
        if item.seen.is_some_and(|seen| *tail > seen) {
            answers.push((*n, Ok(Fenced::Done(Timestamp(0)))));
            continue;
        }
        let due = item.until.micros().max(now.saturating_add(micros(item.delay)));
        let (class, reason) = (item.why.class.as_str(), &item.why.reason);
        rows.push(json!({"conversation": hex(item.conversation.0), "due": due, "what_for": item.what_for.column()}));
        if item.what_for.is_trouble() {
            told.push(json!({"message": hex(item.message.0), "class": class, "reason": reason}));
        }
        let event = Event::new(EventKind::Parked, now).message(item.message.0).conversation(item.conversation.0);
        let detail = json!({"until": due, "class": class, "reason": reason});
        events.push(event.actor(owner).epoch(item.epoch).detail(detail));
        answers.push((*n, Ok(Fenced::Done(Timestamp(due)))));
    }
    write(conn, PARK, rows).await?;
    write(conn, TELL, told).await?;
    append(conn, &events).await?;
    Ok(in_order(items.len(), answers, || Ok(Fenced::LeaseLost)))
}

/// In the order in which they were to come back anyway.
pub(crate) const CHOOSE: &str = "-- unpark: look
SELECT id FROM conversations
WHERE parked IS NOT NULL AND parked = $1 AND agent IN (SELECT value FROM json_each($2)) AND head < tail AND owner IS NULL
ORDER BY wake_at LIMIT $3";

pub(crate) const UNPARK: &str = "-- unpark
UPDATE conversations SET not_before = j.value ->> 'due', wake_at = j.value ->> 'due'
FROM json_each($1) j WHERE conversations.id = unhex(j.value ->> 'id')";

pub(crate) async fn unpark(conn: &mut SqliteConnection, wish: &Unpark) -> Result<u64, StoreError> {
    let from = now_micros(conn).await?.max(wish.from.micros());
    let chosen: Vec<(Uuid,)> = sqlx::query_as(CHOOSE)
        .bind(wish.what_for.as_str())
        .bind(batch(&wish.agents, |agent| json!(agent)))
        .bind(i64::from(wish.at_most))
        .fetch_all(&mut *conn)
        .await?;
    let count = i64::try_from(chosen.len()).unwrap_or(i64::MAX).max(1);
    let apart = micros(wish.apart).min(micros(wish.within) / count);
    let rows = (0..).zip(&chosen).map(|(n, (id,))| json!({"id": hex(*id), "due": from.saturating_add(n * apart)}));
    write(conn, UNPARK, rows.collect()).await?;
    Ok(chosen.len() as u64)
}
