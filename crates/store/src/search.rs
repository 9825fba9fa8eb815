//! Looking for messages, the newest first.
//!
//! Messages are walked by their ids, which are times, or by a person's index. A page looks at so many
//! messages and no more, whatever the filter leaves of them: where it found less than it was asked for and there is more to
//! look through, it says where the next page goes on.

use std::time::Duration;

use broca_core::{ConversationId, Instance, MessageId, MessageState, Timestamp, clock::micros};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    dead_letters::pattern,
    decode::{count, parsed},
    tx::{Tx, ask, snapshot},
};

/// Messages that one page looks at, as the statements have it.
pub(crate) const LOOKED_AT: i64 = 20_000;
/// Ids are made by the clocks of the plugin processes, which may be so far from the database's.
const OTHER_CLOCKS: Duration = Duration::from_secs(3_600);

/// Which messages. Whatever is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFilter {
    pub instance: Option<Instance>,
    pub platform: Option<String>,
    /// By its name in the settings.
    pub agent: Option<String>,
    pub route: Option<String>,
    /// The platform's id of the person.
    pub user: Option<String>,
    pub state: Option<MessageState>,
    /// Accepted at or after this.
    pub since: Option<Timestamp>,
    /// Accepted before this.
    pub until: Option<Timestamp>,
    /// In the message or in an answer, in any case.
    pub contains: Option<String>,
}

/// A message in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct MessageLine {
    pub message_id: MessageId,
    pub state: MessageState,
    pub instance: Instance,
    pub platform: String,
    pub platform_user_id: String,
    pub username: Option<String>,
    pub display_name: Option<String>,
    pub agent: String,
    pub route: String,
    pub conversation_id: ConversationId,
    /// Its first 240 characters.
    pub text: String,
    pub attempts: u32,
    /// Why it failed, or was not let in.
    pub class: Option<String>,
    /// The same in words.
    pub reason: Option<String>,
    /// How its latest answer stands.
    pub answer_state: Option<String>,
    pub received_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// A page of what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMessages {
    pub items: Vec<MessageLine>,
    /// Where the next page goes on; `None` when all was looked at.
    pub next: Option<MessageId>,
}

macro_rules! search {
    ($name:literal, $among:literal) => {
        concat!(
            $name,
            "\nWITH looked_at AS (",
            $among,
            ")
SELECT m.id, m.state, m.instance, m.platform, p.platform_user_id, p.username, p.display_name, c.agent, m.route,
       m.conversation_id, substr(m.text, 1, 240) AS text, m.attempts, m.class, m.reason, m.received_at, m.finished_at,
       (SELECT r.state FROM responses r WHERE r.message_id = m.id AND r.kind = 'answer' ORDER BY r.ord DESC LIMIT 1) AS answer_state
FROM looked_at l
JOIN messages m ON m.id = l.id
JOIN conversations c ON c.id = m.conversation_id
JOIN profiles p ON p.id = m.profile_id
WHERE ($4 IS NULL OR p.platform_user_id = $4) AND ($5 IS NULL OR m.instance = $5) AND ($6 IS NULL OR m.platform = $6)
  AND ($7 IS NULL OR c.agent = $7) AND ($8 IS NULL OR m.route = $8) AND ($9 IS NULL OR m.state = $9)
  AND ($10 IS NULL OR m.received_at >= $10) AND ($11 IS NULL OR m.received_at < $11)
  AND ($12 IS NULL OR lower(m.text) LIKE $12 ESCAPE '!'
       OR EXISTS (SELECT 1 FROM responses r WHERE r.message_id = m.id AND lower(r.text) LIKE $12 ESCAPE '!'))
ORDER BY m.id DESC LIMIT $13"
        )
    };
}

pub(crate) const OF_ALL: &str =
    search!("-- messages: search", "SELECT id FROM messages WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT $3");

pub(crate) const OF_PERSON: &str = search!(
    "-- messages of a person: search",
    "SELECT w.id FROM profiles o JOIN messages w ON w.profile_id = o.id
    WHERE o.platform_user_id = $4 AND w.id < $1 AND w.id >= $2 ORDER BY w.id DESC LIMIT $3"
);

/// The last one that a page looks at, if there are so many.
pub(crate) const LAST_OF_ALL: &str = "-- messages: last of a page
SELECT id FROM messages WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT 1 OFFSET $3";

pub(crate) const LAST_OF_PERSON: &str = "-- messages of a person: last of a page
SELECT w.id FROM profiles o JOIN messages w ON w.profile_id = o.id
WHERE o.platform_user_id = $4 AND w.id < $1 AND w.id >= $2 ORDER BY w.id DESC LIMIT 1 OFFSET $3";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    state: String,
    instance: String,
    platform: String,
    platform_user_id: String,
    username: Option<String>,
    display_name: Option<String>,
    agent: String,
    route: String,
    conversation_id: Uuid,
    text: String,
    attempts: i64,
    class: Option<String>,
    reason: Option<String>,
    received_at: i64,
    finished_at: Option<i64>,
    answer_state: Option<String>,
}

impl Row {
    fn line(self) -> Result<MessageLine, StoreError> {
        Ok(MessageLine {
            message_id: MessageId(self.id),
            state: parsed(&self.state)?,
            instance: parsed(&self.instance)?,
            platform: self.platform,
            platform_user_id: self.platform_user_id,
            username: self.username,
            display_name: self.display_name,
            agent: self.agent,
            route: self.route,
            conversation_id: ConversationId(self.conversation_id),
            text: self.text,
            attempts: count(self.attempts)?,
            class: self.class,
            reason: self.reason,
            answer_state: self.answer_state,
            received_at: Timestamp(self.received_at),
            finished_at: self.finished_at.map(Timestamp),
        })
    }
}

impl MessageFilter {
    /// Every message that is looked at is found, but for those at the ends of the time.
    fn is_of_time_alone(&self) -> bool {
        *self == Self { since: self.since, until: self.until, ..Self::default() }
    }

    /// Ids from here on, and below.
    fn ids(&self) -> (Uuid, Uuid) {
        let slack = micros(OTHER_CLOCKS);
        let floor = |at: Timestamp, by: i64| MessageId::floor_of(Timestamp(at.micros().saturating_add(by))).0;
        (self.since.map_or(Uuid::nil(), |at| floor(at, -slack)), self.until.map_or(Uuid::max(), |at| floor(at, slack)))
    }
}

async fn search(
    tx: &mut Tx<'_>,
    filter: &MessageFilter,
    before: Option<MessageId>,
    limit: u32,
) -> Result<FoundMessages, StoreError> {
    let (first, below) = filter.ids();
    let below = before.map_or(below, |id| id.0.min(below));
    // The ends of the time are not the ids' exactly, so a page without another filter looks at some more.
    let looked_at = if filter.is_of_time_alone() { i64::from(limit).saturating_mul(2) } else { LOOKED_AT };
    let user = filter.user.as_deref();
    let (search, last) = match user {
        Some(_) => (OF_PERSON, LAST_OF_PERSON),
        None => (OF_ALL, LAST_OF_ALL),
    };
    let rows = ask!(
        tx,
        fetch_all,
        Row,
        search,
        below,
        first,
        looked_at,
        user,
        filter.instance.as_ref().map(Instance::as_str),
        filter.platform.as_deref(),
        filter.agent.as_deref(),
        filter.route.as_deref(),
        filter.state.map(MessageState::as_str),
        filter.since.map(Timestamp::micros),
        filter.until.map(Timestamp::micros),
        filter.contains.as_deref().map(pattern),
        i64::from(limit) + 1
    )?;
    let more = rows.len() > limit as usize;
    let items: Vec<MessageLine> = rows.into_iter().take(limit as usize).map(Row::line).collect::<Result<_, _>>()?;
    let next = match items.last() {
        Some(last) if more => Some(last.message_id),
        _ => ask!(tx, fetch_optional, (Uuid,), last, below, first, looked_at - 1, user)?.map(|(id,)| MessageId(id)),
    };
    Ok(FoundMessages { items, next })
}

impl Store {
    /// The newest first, at most `limit`, from behind `before` on.
    pub async fn search_messages(
        &self,
        filter: &MessageFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<FoundMessages, StoreError> {
        snapshot!(self, search, filter, before, limit)
    }
}
