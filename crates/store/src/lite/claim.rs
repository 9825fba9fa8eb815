//! Claiming conversations, and reading what is pending in them.

use std::collections::HashSet;

use broca_core::{ConversationId, EventKind, Timestamp, clock::micros};
use serde_json::json;
use sqlx::{SqliteConnection, types::Uuid};

use super::{batch, hex, now, now_micros, write};
use crate::{
    ClaimRequest, Claimed, Lease, PENDING_PAGE, PendingMessage, StoreError,
    decode::{Pages, PendingRow},
    holding::{conversation_hold, if_any_hold, kept_back},
    journal::{Event, append},
    operation::{Each, in_order, index},
    queue::Left,
    set_aside::set_aside,
    tx::Tx,
};

/// A conversation on hold is given out while a turn of it is open: what was begun goes to its end.
pub(crate) const LOOK: &str = concat!(
    "-- claim: look
SELECT j.key + 1 AS n, c.id, c.agent, c.agent_conversation, c.owner, c.epoch, c.head, c.tail, c.lease_until,
       CASE WHEN c.not_before = c.window_until THEN 0 ELSE c.not_before END AS not_before, ",
    if_any_hold!(
        concat!(
            "CASE WHEN NOT EXISTS (SELECT 1 FROM messages b
                    WHERE b.conversation_id = c.id AND b.seq > c.head AND b.state = 'processing') THEN ",
            conversation_hold!(lite, "c.id", "c.agent", now!()),
            " END"
        ),
        "NULL"
    ),
    " AS held_until
FROM json_each($1) j
JOIN messages m ON m.id = unhex(j.value ->> 'message') AND m.instance = j.value ->> 'instance'
JOIN conversations c ON c.id = m.conversation_id"
);

pub(crate) const TAKE: &str = "-- claim: take
UPDATE conversations
SET owner = j.value ->> 'worker', epoch = epoch + 1, lease_until = j.value ->> 'until', wake_at = j.value ->> 'until',
    parked = NULL
FROM json_each($1) j
WHERE conversations.id = unhex(j.value ->> 'id')";

/// A page ends before the place of the first message that does not fit on it.
pub(crate) const PENDING: &str = concat!(
    "-- pending
SELECT m.conversation_id, m.id, m.seq, m.attempts, m.attempts_before, m.instance, m.route, m.chat_id, m.is_group,
       m.text, m.received_at, m.replayed_at, ",
    now!(),
    " AS now, m.trace, m.budget, m.urgent, m.heard, m.interrupted, m.files, m.seq <= c.join_until AS to_join, m.profile_id,
       p.user_id, p.platform, p.platform_user_id, p.username, p.display_name, p.metadata, p.instructions,
       t.id AS turn_id, t.messages AS turn_messages, t.attempt AS turn_attempt, t.run, t.run_seq, t.agent_conversation AS turn_conversation,
       t.started_at, ",
    if_any_hold!(kept_back!(lite, "m", "p.user_id", "c.agent", now!()), "FALSE"),
    " AS kept_back
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
    held_until: Option<i64>,
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
        } else if row.held_until.is_some() {
            answers.push((row.n, Ok(Claimed::on_hold(row.held_until))));
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
    let keys: Vec<(Uuid, i64)> = held.iter().map(|row| (row.id, row.epoch + 1)).collect();
    let (mut pages, given_up) = pages(conn, &keys, PENDING_PAGE).await?;
    let claimed =
        |row: Row| (row.n, if given_up.contains(&row.id) { Ok(Claimed::Idle) } else { pages.fill(row.lease()) });
    answers.extend(held.into_iter().map(claimed));
    Ok(in_order(items.len(), answers, || Ok(Claimed::Unknown)))
}

/// What may be begun in held conversations. What is kept back by a hold is set aside first, and the conversations that
/// had nothing else are given up.
async fn pages(
    conn: &mut SqliteConnection,
    held: &[(Uuid, i64)],
    at_most: u32,
) -> Result<(Pages, Vec<Uuid>), StoreError> {
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
        if set_aside(&mut Tx::Lite(conn), ConversationId(*conversation), *epoch).await? == Left::Nothing {
            given_up.push(*conversation);
        }
    }
    let mut pages = Pages::of(pending_rows(conn, held, at_most).await?);
    pages.cut();
    Ok((pages, given_up))
}

async fn pending_rows(
    conn: &mut SqliteConnection,
    held: &[(Uuid, i64)],
    at_most: u32,
) -> Result<Vec<PendingRow>, StoreError> {
    let keys = batch(held, |(id, epoch)| json!({"id": hex(*id), "epoch": epoch}));
    Ok(sqlx::query_as(PENDING).bind(keys).bind(i64::from(at_most)).fetch_all(conn).await?)
}

pub(crate) async fn pending(
    conn: &mut SqliteConnection,
    items: &[(ConversationId, i64)],
) -> Result<Vec<Each<Vec<PendingMessage>>>, StoreError> {
    let held: Vec<(Uuid, i64)> = items.iter().map(|(conversation, epoch)| (conversation.0, *epoch)).collect();
    let (mut pages, _) = pages(conn, &held, PENDING_PAGE).await?;
    Ok(items.iter().map(|(conversation, _)| pages.take(conversation.0)).collect())
}

/// A longer page of one conversation.
pub(crate) async fn gather(
    conn: &mut SqliteConnection,
    (conversation, epoch, at_most): (ConversationId, i64, u32),
) -> Result<Vec<PendingMessage>, StoreError> {
    let (mut pages, _) = pages(conn, &[(conversation.0, epoch)], at_most).await?;
    pages.take(conversation.0)
}
