//! Conversations, page by page, for people who look for some of them.
//!
//! A conversation stands where its last message does, and messages are walked by their ids, which are times: a page looks
//! at so many of them and no more (`search.rs` does the same). One whose last message retention has taken is in no page.

use broca_core::{ConversationId, MessageId, Timestamp, UserId};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{
    Store, StoreError, lite,
    search::{LAST_OF_ALL, LOOKED_AT},
    tx::{Tx, ask, snapshot},
};

/// Which conversations. Whatever is set must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationFilter {
    pub agent: Option<String>,
    /// In which this person wrote.
    pub user: Option<UserId>,
    /// In which something waits.
    pub waiting: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ListedConversation {
    pub id: ConversationId,
    pub agent: String,
    /// Who shares it.
    pub scope: String,
    /// The agent's own id of it.
    pub agent_conversation: Option<String>,
    /// Counted up to 1000.
    pub messages: i64,
    /// Those that wait or are under way.
    pub waiting: i64,
    /// The worker that works on it.
    pub worker: Option<String>,
    /// Nobody works on it before then.
    pub parked_until: Option<Timestamp>,
    /// When the message in its last place was accepted.
    pub last_message_at: Timestamp,
    pub created_at: Timestamp,
}

/// A page of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundConversations {
    pub items: Vec<ListedConversation>,
    /// Where the next page goes on; `None` when all was looked at.
    pub next: Option<MessageId>,
}

macro_rules! conversations {
    ($name:literal, $now:expr, $among:literal) => {
        concat!(
            $name,
            "\nWITH looked_at AS (",
            $among,
            ")
SELECT c.id, c.agent, c.scope_key, c.agent_conversation, c.created_at, l.id AS last_message, l.received_at AS latest,
       CASE WHEN c.lease_until > ",
            $now,
            " THEN c.owner END AS worker,
       CASE WHEN c.head < c.tail AND c.not_before > ",
            $now,
            " THEN c.not_before END AS parked_until,
       (SELECT count(*) FROM (SELECT 1 FROM messages m WHERE m.conversation_id = c.id LIMIT 1000) counted) AS messages,
       (SELECT count(*) FROM messages m
        WHERE m.conversation_id = c.id AND m.seq > c.head AND m.state IN ('received', 'processing')) AS waiting
FROM looked_at l JOIN conversations c ON c.id = l.conversation_id AND c.tail = l.seq
WHERE ($3 IS NULL OR c.agent = $3) AND ($4 = 0 OR c.head < c.tail)
ORDER BY l.id DESC LIMIT $5"
        )
    };
}

macro_rules! of_all {
    ($now:expr) => {
        conversations!(
            "-- conversations",
            $now,
            "SELECT id, conversation_id, seq, received_at FROM messages WHERE id < $1 ORDER BY id DESC LIMIT $2"
        )
    };
}

macro_rules! of_person {
    ($now:expr) => {
        conversations!(
            "-- conversations with a person",
            $now,
            "SELECT m.id, m.conversation_id, m.seq, m.received_at
    FROM (SELECT DISTINCT w.conversation_id FROM profiles o JOIN messages w ON w.profile_id = o.id WHERE o.user_id = $6) t
    JOIN conversations k ON k.id = t.conversation_id
    JOIN messages m ON m.conversation_id = k.id AND m.seq = k.tail
    WHERE m.id < $1 ORDER BY m.id DESC LIMIT $2"
        )
    };
}

pub(crate) const OF_ALL_PG: &str = of_all!("broca_now()");
pub(crate) const OF_ALL_LITE: &str = of_all!(lite::now!());
pub(crate) const OF_PERSON_PG: &str = of_person!("broca_now()");
pub(crate) const OF_PERSON_LITE: &str = of_person!(lite::now!());

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    agent: String,
    scope_key: String,
    agent_conversation: Option<String>,
    created_at: i64,
    last_message: Uuid,
    latest: i64,
    worker: Option<String>,
    parked_until: Option<i64>,
    messages: i64,
    waiting: i64,
}

impl Row {
    fn listed(self) -> ListedConversation {
        ListedConversation {
            id: ConversationId(self.id),
            agent: self.agent,
            scope: self.scope_key,
            agent_conversation: self.agent_conversation,
            messages: self.messages,
            waiting: self.waiting,
            worker: self.worker,
            parked_until: self.parked_until.map(Timestamp),
            last_message_at: Timestamp(self.latest),
            created_at: Timestamp(self.created_at),
        }
    }
}

async fn list(
    tx: &mut Tx<'_>,
    filter: &ConversationFilter,
    before: Option<MessageId>,
    limit: u32,
) -> Result<FoundConversations, StoreError> {
    let before = before.map_or(Uuid::max(), |id| id.0);
    let user = filter.user.map(|user| user.0);
    let (sql, looked_at) = match user {
        // One person's are all looked at.
        Some(_) => (tx.either(OF_PERSON_PG, OF_PERSON_LITE), i64::MAX),
        None => (tx.either(OF_ALL_PG, OF_ALL_LITE), LOOKED_AT),
    };
    let (agent, waiting, most) = (filter.agent.as_deref(), i64::from(filter.waiting), i64::from(limit) + 1);
    let mut rows = ask!(tx, fetch_all, Row, sql, before, looked_at, agent, waiting, most, user)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = match rows.last() {
        Some(last) if more => Some(MessageId(last.last_message)),
        _ if user.is_some() => None,
        _ => ask!(tx, fetch_optional, (Uuid,), LAST_OF_ALL, before, Uuid::nil(), LOOKED_AT - 1)?
            .map(|(id,)| MessageId(id)),
    };
    Ok(FoundConversations { items: rows.into_iter().map(Row::listed).collect(), next })
}

impl Store {
    /// Conversations, the latest first, at most `limit`, from behind `before` on.
    pub async fn conversations(
        &self,
        filter: &ConversationFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<FoundConversations, StoreError> {
        snapshot!(self, list, filter, before, limit)
    }
}
