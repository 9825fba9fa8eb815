//! Messages and conversations, page by page, for people who look for some of them.

use std::time::Duration;

use broca_core::{ConversationId, Instance, MessageId, MessageState, Timestamp, UserId};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{
    PageCursor, Store, StoreError,
    db::Db,
    dead_letters::pattern,
    decode::{count, parsed},
    lite,
    reading::fetch,
};

/// Which messages. Whatever is set must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageFilter {
    pub state: Option<MessageState>,
    pub instance: Option<Instance>,
    pub platform: Option<String>,
    pub agent: Option<String>,
    pub route: Option<String>,
    /// The platform's id of the person.
    pub user: Option<String>,
    pub conversation: Option<ConversationId>,
    pub class: Option<String>,
    /// Accepted at or after this.
    pub since: Option<Timestamp>,
    /// Accepted before this.
    pub until: Option<Timestamp>,
    /// In the message or in its answer, in any case.
    pub contains: Option<String>,
}

/// A message and the latest answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ListedMessage {
    pub id: MessageId,
    pub state: MessageState,
    pub class: Option<String>,
    pub reason: Option<String>,
    pub attempts: u32,
    pub received_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub instance: Instance,
    pub platform: String,
    pub platform_user_id: String,
    pub username: Option<String>,
    pub user_id: UserId,
    pub chat_id: Option<String>,
    pub route: String,
    pub agent: String,
    pub conversation_id: ConversationId,
    /// Its place in the conversation; below 1 it is in no queue.
    pub seq: i64,
    pub text: String,
    pub answer: Option<String>,
    pub answer_state: Option<String>,
}

/// The newest first: ids tell when they were made. `$2` keeps the search from going back to the first message of all; it is
/// earlier than `$10` by more than clocks can differ.
const MESSAGES: &str = "-- messages
SELECT m.id, m.state, m.class, m.reason, m.attempts, m.received_at, m.finished_at, m.instance, m.platform,
       p.platform_user_id, p.username, p.user_id, m.chat_id, m.route, c.agent, m.conversation_id, m.seq, m.text,
       r.text AS answer, r.state AS answer_state
FROM messages m
JOIN conversations c ON c.id = m.conversation_id
JOIN profiles p ON p.id = m.profile_id
LEFT JOIN responses r ON r.message_id = m.id AND r.kind = 'answer'
     AND r.ord = (SELECT max(a.ord) FROM responses a WHERE a.message_id = m.id AND a.kind = 'answer')
WHERE m.id < $1 AND m.id > $2
  AND ($3 IS NULL OR m.state = $3) AND ($4 IS NULL OR m.instance = $4) AND ($5 IS NULL OR m.platform = $5)
  AND ($6 IS NULL OR c.agent = $6) AND ($7 IS NULL OR m.route = $7) AND ($8 IS NULL OR p.platform_user_id = $8)
  AND ($9 IS NULL OR m.conversation_id = $9) AND ($10 IS NULL OR m.received_at >= $10)
  AND ($11 IS NULL OR m.received_at < $11) AND ($12 IS NULL OR m.class = $12)
  AND ($13 IS NULL OR lower(m.text) LIKE $13 ESCAPE '!' OR lower(r.text) LIKE $13 ESCAPE '!')
ORDER BY m.id DESC LIMIT $14";

/// More than the clocks of two machines differ by.
const SLACK: Duration = Duration::from_secs(24 * 3_600);

#[derive(sqlx::FromRow)]
struct MessageRow {
    id: Uuid,
    state: String,
    class: Option<String>,
    reason: Option<String>,
    attempts: i64,
    received_at: i64,
    finished_at: Option<i64>,
    instance: String,
    platform: String,
    platform_user_id: String,
    username: Option<String>,
    user_id: Uuid,
    chat_id: Option<String>,
    route: String,
    agent: String,
    conversation_id: Uuid,
    seq: i64,
    text: String,
    answer: Option<String>,
    answer_state: Option<String>,
}

impl MessageRow {
    fn listed(self) -> Result<ListedMessage, StoreError> {
        Ok(ListedMessage {
            id: MessageId(self.id),
            state: parsed(&self.state)?,
            class: self.class,
            reason: self.reason,
            attempts: count(self.attempts)?,
            received_at: Timestamp(self.received_at),
            finished_at: self.finished_at.map(Timestamp),
            instance: parsed(&self.instance)?,
            platform: self.platform,
            platform_user_id: self.platform_user_id,
            username: self.username,
            user_id: UserId(self.user_id),
            chat_id: self.chat_id,
            route: self.route,
            agent: self.agent,
            conversation_id: ConversationId(self.conversation_id),
            seq: self.seq,
            text: self.text,
            answer: self.answer,
            answer_state: self.answer_state,
        })
    }
}

/// The first id that can have been made at a time.
fn first_id(at: Timestamp) -> Uuid {
    let slack = i64::try_from(SLACK.as_millis()).unwrap_or(i64::MAX);
    let millis = u64::try_from(at.micros() / 1_000 - slack).unwrap_or_default();
    Uuid::from_u128(u128::from(millis) << 80)
}

/// Which conversations. Whatever is set must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationFilter {
    pub id: Option<ConversationId>,
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
    pub messages: i64,
    /// Of these, those that wait or are under way.
    pub waiting: i64,
    /// The worker that works on it.
    pub worker: Option<String>,
    /// Nobody works on it before then.
    pub parked_until: Option<Timestamp>,
    /// When the message in its last place was accepted.
    pub last_message_at: Timestamp,
    pub created_at: Timestamp,
}

impl ListedConversation {
    pub fn cursor(&self) -> PageCursor {
        PageCursor { at: self.last_message_at.micros(), id: self.id.0 }
    }
}

macro_rules! conversations {
    ($now:expr) => {
        concat!(
            "-- conversations
SELECT l.id, l.agent, l.scope_key, l.agent_conversation, l.created_at, l.latest,
       CASE WHEN l.lease_until > ",
            $now,
            " THEN l.owner END AS worker, CASE WHEN l.head < l.tail AND l.not_before > ",
            $now,
            " THEN l.not_before END AS parked_until,
       (SELECT count(*) FROM messages m WHERE m.conversation_id = l.id) AS messages,
       (SELECT count(*) FROM messages m WHERE m.conversation_id = l.id AND m.state IN ('received', 'processing', 'held')) AS waiting
FROM (SELECT c.*, COALESCE((SELECT m.received_at FROM messages m WHERE m.conversation_id = c.id ORDER BY m.seq DESC LIMIT 1),
                           c.created_at) AS latest
      FROM conversations c
      WHERE ($1 IS NULL OR c.id = $1) AND ($2 IS NULL OR c.agent = $2)
        AND ($3 IS NULL OR EXISTS (SELECT 1 FROM messages m JOIN profiles p ON p.id = m.profile_id
                                   WHERE m.conversation_id = c.id AND p.user_id = $3))
        AND ($4 = 0 OR c.head < c.tail)) l
WHERE $5 IS NULL OR l.latest < $5 OR (l.latest = $5 AND l.id < $6)
ORDER BY l.latest DESC, l.id DESC LIMIT $7"
        )
    };
}

const CONVERSATIONS_PG: &str = conversations!("broca_now()");
const CONVERSATIONS_LITE: &str = conversations!(lite::now!());

#[derive(sqlx::FromRow)]
struct ConversationRow {
    id: Uuid,
    agent: String,
    scope_key: String,
    agent_conversation: Option<String>,
    created_at: i64,
    latest: i64,
    worker: Option<String>,
    parked_until: Option<i64>,
    messages: i64,
    waiting: i64,
}

impl ConversationRow {
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

impl Store {
    /// Messages, the newest first, at most `limit`; `before` is the last one of the page before.
    pub async fn messages(
        &self,
        filter: &MessageFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<ListedMessage>, StoreError> {
        let rows = fetch!(
            self,
            fetch_all,
            MessageRow,
            MESSAGES,
            before.map_or(Uuid::max(), |id| id.0),
            filter.since.map_or(Uuid::nil(), first_id),
            filter.state.map(MessageState::as_str),
            filter.instance.as_ref().map(Instance::as_str),
            filter.platform.as_deref(),
            filter.agent.as_deref(),
            filter.route.as_deref(),
            filter.user.as_deref(),
            filter.conversation.map(|conversation| conversation.0),
            filter.since.map(Timestamp::micros),
            filter.until.map(Timestamp::micros),
            filter.class.as_deref(),
            filter.contains.as_deref().map(pattern),
            i64::from(limit)
        )?;
        rows.into_iter().map(MessageRow::listed).collect()
    }

    /// Conversations, the latest first, at most `limit`, from behind `after` on. Looks at all of them: for people.
    pub async fn conversations(
        &self,
        filter: &ConversationFilter,
        after: Option<PageCursor>,
        limit: u32,
    ) -> Result<Vec<ListedConversation>, StoreError> {
        let sql = match self.db {
            Db::Pg(_) => CONVERSATIONS_PG,
            Db::Lite(_) => CONVERSATIONS_LITE,
        };
        let rows = fetch!(
            self,
            fetch_all,
            ConversationRow,
            sql,
            filter.id.map(|id| id.0),
            filter.agent.as_deref(),
            filter.user.map(|user| user.0),
            i64::from(filter.waiting),
            after.map(|after| after.at),
            after.map(|after| after.id),
            i64::from(limit)
        )?;
        Ok(rows.into_iter().map(ConversationRow::listed).collect())
    }
}
