//! Conversations, page by page, for people who look for some of them.

use broca_core::{ConversationId, Timestamp, UserId};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{PageCursor, Store, StoreError, db::Db, lite, reading::fetch};

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
      WHERE ($1 IS NULL OR c.agent = $1)
        AND ($2 IS NULL OR EXISTS (SELECT 1 FROM messages m JOIN profiles p ON p.id = m.profile_id
                                   WHERE m.conversation_id = c.id AND p.user_id = $2))
        AND ($3 = 0 OR c.head < c.tail)) l
WHERE $4 IS NULL OR l.latest < $4 OR (l.latest = $4 AND l.id < $5)
ORDER BY l.latest DESC, l.id DESC LIMIT $6"
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
