//! Claiming conversations, and reading what is pending in them.

use std::collections::HashSet;

use broca_core::{ConversationId, EventKind, Timestamp, clock::micros};
use serde_json::{Value, json};
use sqlx::{SqliteConnection, types::Uuid};

use super::{batch, hex, now, now_micros, write};
use crate::{
    ClaimRequest, Claimed, Lease, PENDING_PAGE, PendingMessage, StoreError,
    decode::{Pages, PendingRow},
    journal::{Event, append},
    operation::{Each, in_order, index},
};

pub(crate) const LOOK: &str = "-- claim: look
SELECT j.key + 1 AS n, c.id, c.agent, c.agent_conversation, c.owner, c.epoch, c.head, c.tail, c.lease_until, c.not_before
FROM json_each($1) j
JOIN messages m ON m.id = unhex(j.value ->> 'message') AND m.instance = j.value ->> 'instance'
JOIN conversations c ON c.id = m.conversation_id";

pub(crate) const TAKE: &str = "-- claim: take
UPDATE conversations
SET owner = j.value ->> 'worker', epoch = epoch + 1, lease_until = j.value ->> 'until', wake_at = j.value ->> 'until'
FROM json_each($1) j
WHERE conversations.id = unhex(j.value ->> 'id')";

/// A page ends before the place of the first message that does not fit on it.
pub(crate) const PENDING: &str = concat!(
    "-- pending
SELECT m.conversation_id, m.id, m.seq, m.attempts, m.attempts_before, m.instance, m.route, m.chat_id, m.is_group,
       m.text, m.received_at, m.replayed_at, ",
    now!(),
    " AS now, m.trace, m.profile_id,
       p.user_id, p.platform, p.platform_user_id, p.username, p.display_name, p.metadata,
       t.id AS turn_id, t.attempt AS turn_attempt, t.run, t.run_seq, t.agent_conversation AS turn_conversation,
       t.started_at
FROM json_each($1) j
JOIN conversations c ON c.id = unhex(j.value ->> 'id') AND c.epoch = j.value ->> 'epoch' AND c.owner IS NOT NULL
JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head AND m.state IN ('received', 'processing')
    AND m.seq < COALESCE(
        (SELECT x.seq FROM messages x
         WHERE x.conversation_id = c.id AND x.seq > c.head AND x.state IN ('received', 'processing')
         ORDER BY x.seq LIMIT 1 OFFSET $2), 9223372036854775807)
JOIN profiles p ON p.id = m.profile_id
LEFT JOIN turns t ON t.message_id = m.id AND t.state = 'started'
ORDER BY m.conversation_id, m.seq"
);

#[derive(sqlx::FromRow)]
struct Row {
    n: i64,
    id: Uuid,
    agent: String,
    agent_conversation: Option<String>,
    owner: Option<String>,
    epoch: i64,
    head: i64,
    tail: i64,
    lease_until: i64,
    not_before: i64,
}

impl Row {
    fn event<'a>(&self, item: &'a ClaimRequest, now: i64) -> Event<'a> {
        let kind = if self.owner.is_some() { EventKind::TakenOver } else { EventKind::Claimed };
        let event = Event::new(kind, now).conversation(self.id).actor(item.worker.as_str());
        let ttl = micros(item.ttl);
        event.epoch(self.epoch + 1).detail(match &self.owner {
            Some(owner) => json!({"ttl": ttl, "from": owner}),
            None => json!({"ttl": ttl}),
        })
    }

    fn lease(self) -> Lease {
        Lease {
            conversation: ConversationId(self.id),
            epoch: self.epoch + 1,
            agent: self.agent,
            agent_conversation: self.agent_conversation,
            pending: Vec::new(),
            open_turn: None,
        }
    }
}

pub(crate) async fn run(conn: &mut SqliteConnection, items: &[ClaimRequest]) -> Result<Vec<Each<Claimed>>, StoreError> {
    let now = now_micros(conn).await?;
    let wishes = batch(items, |i| json!({"message": hex(i.message.0), "instance": i.instance.as_str()}));
    let mut rows: Vec<Row> = sqlx::query_as(LOOK).bind(wishes).fetch_all(&mut *conn).await?;
    rows.sort_by_key(|row| row.n);
    let mut taken = HashSet::new();
    let mut answers = Vec::with_capacity(rows.len());
    let (mut held, mut takes, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        if row.head == row.tail {
            answers.push((row.n, Ok(Claimed::Idle)));
        } else if (row.owner.is_some() && row.lease_until > now) || taken.contains(&row.id) {
            answers.push((row.n, Ok(Claimed::Busy)));
        } else if row.not_before > now {
            answers.push((row.n, Ok(Claimed::Parked { until: Timestamp(row.not_before) })));
        } else if let Some(item) = index(row.n).and_then(|n| items.get(n)) {
            taken.insert(row.id);
            takes.push(json!({"id": hex(row.id), "worker": item.worker.as_str(),
                              "until": now.saturating_add(micros(item.ttl))}));
            events.push(row.event(item, now));
            held.push(row);
        }
    }
    write(conn, TAKE, takes).await?;
    append(conn, &events).await?;
    let keys = held.iter().map(|row| json!({"id": hex(row.id), "epoch": row.epoch + 1})).collect();
    let mut pages = Pages::of(pending_rows(conn, keys).await?);
    answers.extend(held.into_iter().map(|row| (row.n, pages.fill(row.lease()))));
    Ok(in_order(items.len(), answers, || Ok(Claimed::Unknown)))
}

async fn pending_rows(conn: &mut SqliteConnection, keys: Vec<Value>) -> Result<Vec<PendingRow>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let keys = Value::Array(keys).to_string();
    Ok(sqlx::query_as(PENDING).bind(keys).bind(i64::from(PENDING_PAGE)).fetch_all(conn).await?)
}

pub(crate) async fn pending(
    conn: &mut SqliteConnection,
    items: &[(ConversationId, i64)],
) -> Result<Vec<Each<Vec<PendingMessage>>>, StoreError> {
    let keys = items.iter().map(|(conversation, epoch)| json!({"id": hex(conversation.0), "epoch": epoch})).collect();
    let mut pages = Pages::of(pending_rows(conn, keys).await?);
    Ok(items.iter().map(|(conversation, _)| pages.take(conversation.0)).collect())
}
