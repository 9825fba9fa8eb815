//! Leases: kept, given up, and found abandoned.

use std::{collections::HashSet, time::Duration};

use broca_core::{ConversationId, EventKind, MessageId, OutboxId, Timestamp, TurnId, WorkerId, clock::micros};
use serde_json::json;
use sqlx::{SqliteConnection, types::Uuid};

use super::{batch, hex, now, now_micros, write};
use crate::{
    Fenced, Owed, StoreError, SweptWake,
    accept::WAKE_AFTER_MICROS,
    decode::{OwedRow, parsed},
    holding::{SLEEP_MICROS, sleeps_by},
    journal::{Event, append},
};

pub(crate) const HOLDER: &str = "-- set agent conversation: look
SELECT owner, agent_conversation FROM conversations WHERE id = $1 AND epoch = $2 AND owner IS NOT NULL";

pub(crate) const SET_AGENT_CONVERSATION: &str = "-- set agent conversation
UPDATE conversations SET agent_conversation = $2 WHERE id = $1";

pub(crate) const SET_TURN_CONVERSATION: &str = "-- set agent conversation: turn
UPDATE turns SET agent_conversation = $2 WHERE id = $3 AND conversation_id = $1 AND state = 'started'";

pub(crate) async fn set_agent_conversation(
    conn: &mut SqliteConnection,
    conversation: ConversationId,
    epoch: i64,
    turn: TurnId,
    name: &str,
) -> Result<Fenced<()>, StoreError> {
    let held: Option<(String, Option<String>)> =
        sqlx::query_as(HOLDER).bind(conversation.0).bind(epoch).fetch_optional(&mut *conn).await?;
    let Some((owner, old)) = held else { return Ok(Fenced::LeaseLost) };
    sqlx::query(SET_AGENT_CONVERSATION).bind(conversation.0).bind(name).execute(&mut *conn).await?;
    sqlx::query(SET_TURN_CONVERSATION).bind(conversation.0).bind(name).bind(turn.0).execute(&mut *conn).await?;
    if let Some(old) = old.filter(|old| old != name) {
        let event = Event::new(EventKind::ConversationRenewed, now_micros(conn).await?);
        let event = event.conversation(conversation.0).actor(&owner).epoch(epoch);
        let detail = json!({"turn": turn, "from": old, "to": name});
        append(conn, &[event.detail(detail)]).await?;
    }
    Ok(Fenced::Done(()))
}

pub(crate) const RELEASE: &str = concat!(
    "-- release
UPDATE conversations SET owner = NULL, lease_until = 0, wake_at = $3 + ",
    now!(),
    "
WHERE id = $1 AND epoch = $2 AND owner IS NOT NULL
RETURNING head"
);

pub(crate) const OWNER: &str = "-- release: look
SELECT owner FROM conversations WHERE id = $1 AND epoch = $2 AND owner IS NOT NULL";

pub(crate) const FIRST: &str = "-- first pending
SELECT m.id FROM messages m
WHERE m.conversation_id = $1 AND m.seq > $2 AND m.state IN ('received', 'processing')
ORDER BY m.seq LIMIT 1";

pub(crate) const HAND_OVER: &str = "-- hand over
UPDATE turns SET handed_over = 1 WHERE message_id = $1 AND state = 'started' RETURNING id";

pub(crate) const OWE: &str = concat!(
    "-- release: owed wake
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, created_at)
SELECT $2, 'wake', m.instance, m.id, m.conversation_id, ",
    now!(),
    " FROM messages m WHERE m.id = $1"
);

pub(crate) const OWED: &str = "-- owed publish
SELECT o.id, o.kind, o.instance, o.message_id, o.conversation_id, o.response_id, o.detail, o.created_at,
       m.text, m.trace
FROM outbox o JOIN messages m ON m.id = o.message_id WHERE o.id = $1";

pub(crate) async fn release(
    conn: &mut SqliteConnection,
    conversation: ConversationId,
    epoch: i64,
) -> Result<Fenced<Option<Owed>>, StoreError> {
    let owner: Option<(String,)> =
        sqlx::query_as(OWNER).bind(conversation.0).bind(epoch).fetch_optional(&mut *conn).await?;
    let Some((owner,)) = owner else { return Ok(Fenced::LeaseLost) };
    let (head,): (i64,) =
        sqlx::query_as(RELEASE).bind(conversation.0).bind(epoch).bind(WAKE_AFTER_MICROS).fetch_one(&mut *conn).await?;
    let first: Option<(Uuid,)> =
        sqlx::query_as(FIRST).bind(conversation.0).bind(head).fetch_optional(&mut *conn).await?;
    let Some((message,)) = first else { return Ok(Fenced::Done(None)) };
    let outbox = OutboxId::new();
    let turn: Option<(Uuid,)> = sqlx::query_as(HAND_OVER).bind(message).fetch_optional(&mut *conn).await?;
    let event = Event::new(EventKind::HandedOver, now_micros(conn).await?);
    let event = event.message(message).conversation(conversation.0).actor(&owner).epoch(epoch);
    append(conn, &[Event { detail: turn.map(|(turn,)| json!({"turn": turn})), ..event }]).await?;
    sqlx::query(OWE).bind(message).bind(outbox.0).execute(&mut *conn).await?;
    let owed: OwedRow = sqlx::query_as(OWED).bind(outbox.0).fetch_one(conn).await?;
    Ok(Fenced::Done(Some(owed.owed()?)))
}

pub(crate) const KEPT: &str = "-- renew: look
SELECT c.id FROM json_each($1) j
JOIN conversations c ON c.id = unhex(j.value ->> 'id') AND c.epoch = j.value ->> 'epoch' AND c.owner = $2";

pub(crate) const RENEW: &str = "-- renew
UPDATE conversations SET lease_until = j.value ->> 'until', wake_at = j.value ->> 'until'
FROM json_each($1) j WHERE conversations.id = unhex(j.value ->> 'id')";

pub(crate) const PROGRESS: &str = "-- renew: progress
UPDATE turns SET run_seq = j.value ->> 'run_seq'
FROM json_each($1) j
WHERE turns.id = unhex(j.value ->> 'turn') AND turns.state = 'started' AND turns.run_seq < j.value ->> 'run_seq'
  AND turns.conversation_id IN (SELECT unhex(k.value) FROM json_each($2) k)";

pub(crate) async fn renew(
    conn: &mut SqliteConnection,
    worker: &WorkerId,
    leases: &[(ConversationId, i64)],
    seen: &[(TurnId, i64)],
    ttl: Duration,
) -> Result<Vec<ConversationId>, StoreError> {
    let until = now_micros(conn).await?.saturating_add(micros(ttl));
    let keys = batch(leases, |(id, epoch)| json!({"id": hex(id.0), "epoch": epoch}));
    let kept: Vec<(Uuid,)> = sqlx::query_as(KEPT).bind(keys).bind(worker.as_str()).fetch_all(&mut *conn).await?;
    let kept: HashSet<Uuid> = kept.into_iter().map(|(id,)| id).collect();
    write(conn, RENEW, kept.iter().map(|id| json!({"id": hex(*id), "until": until})).collect()).await?;
    if !seen.is_empty() {
        let turns = batch(seen, |(turn, run_seq)| json!({"turn": hex(turn.0), "run_seq": run_seq}));
        sqlx::query(PROGRESS).bind(turns).bind(batch(&kept, |id| json!(hex(*id)))).execute(conn).await?;
    }
    Ok(leases.iter().map(|(id, _)| *id).filter(|id| !kept.contains(&id.0)).collect())
}

pub(crate) const DUE: &str = concat!(
    "-- wake due
SELECT c.id, m.id AS message_id, m.instance, ",
    sleeps_by!("COALESCE(h.expires_at, 9223372036854775807)", lite, "c.id", "c.head", "c.agent", "$2"),
    " AS asleep_until
FROM conversations c
LEFT JOIN messages m ON m.id = (
    SELECT f.id FROM messages f
    WHERE f.conversation_id = c.id AND f.seq > c.head AND f.state IN ('received', 'processing')
    ORDER BY f.seq LIMIT 1)
WHERE c.head < c.tail AND c.wake_at <= $2 AND c.not_before <= $2 AND (c.owner IS NULL OR c.lease_until <= $2)
ORDER BY c.wake_at LIMIT $1"
);

pub(crate) const PUSH: &str = "-- wake due: push
UPDATE conversations SET wake_at = j.value ->> 'until'
FROM json_each($1) j WHERE conversations.id = unhex(j.value ->> 'id')";

#[derive(sqlx::FromRow)]
struct Due {
    id: Uuid,
    message_id: Option<Uuid>,
    instance: Option<String>,
    asleep_until: Option<i64>,
}

pub(crate) async fn wake_due(
    conn: &mut SqliteConnection,
    limit: i64,
    grace: Duration,
) -> Result<Vec<SweptWake>, StoreError> {
    let now = now_micros(conn).await?;
    let due: Vec<Due> = sqlx::query_as(DUE).bind(limit).bind(now).fetch_all(&mut *conn).await?;
    let until = |due: &Due| match due.asleep_until {
        Some(until) => until.min(now.saturating_add(SLEEP_MICROS)),
        None => now.saturating_add(micros(grace)),
    };
    write(conn, PUSH, due.iter().map(|due| json!({"id": hex(due.id), "until": until(due)})).collect()).await?;
    let wake = |due: Due| {
        let (message, instance) = due.message_id.zip(due.instance)?;
        Some(parsed(&instance).map(|instance| SweptWake {
            conversation: ConversationId(due.id),
            message: MessageId(message),
            instance,
            at: Timestamp(now),
        }))
    };
    due.into_iter().filter(|due| due.asleep_until.is_none()).filter_map(wake).collect()
}
