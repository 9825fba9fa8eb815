//! What waits to be answered, since when and where, and what of it a plan may deal with.
//!
//! A message waits from its acceptance, or its last replay, until it is over; what a hold took out of its queue waits,
//! too. Only what nobody has begun may be dealt with otherwise than by answering it.

use std::{fmt, time::Duration};

use broca_core::{ConversationId, Instance, MessageId, Timestamp, clock::micros};
use serde::{Deserialize, Serialize};
use sqlx::types::Uuid;

use crate::{
    PageCursor, Store, StoreError,
    db::Db,
    decode::{count, elapsed, parsed},
    holding::{if_any_hold, kept_back},
    lite,
    reading::fetch,
};

/// Which of it. Whatever is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BacklogFilter {
    pub instance: Option<Instance>,
    pub platform: Option<String>,
    pub agent: Option<String>,
    pub route: Option<String>,
    /// The platform's id of the person.
    pub user: Option<String>,
    pub conversation: Option<ConversationId>,
    /// Waits for at least this long.
    pub older_than: Option<Duration>,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stand {
    /// For a worker.
    Received,
    /// For the agent: its turn is under way, or open.
    Processing,
    /// For a time: the next attempt, an agent's endpoint, a free turn.
    Parked,
    /// For the end of a hold.
    Held,
}

impl fmt::Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Received => "received",
            Self::Processing => "processing",
            Self::Parked => "parked",
            Self::Held => "held",
        })
    }
}

impl std::str::FromStr for Stand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Received, Self::Processing, Self::Parked, Self::Held];
        all.into_iter()
            .find(|stand| stand.to_string() == text)
            .ok_or_else(|| format!("'{text}' is nothing to wait for"))
    }
}

/// The upper ends of the ages that messages are counted by, in seconds; the last count is of what is older.
pub const AGES_S: [u64; 5] = [60, 600, 3_600, 21_600, 86_400];

/// What waits of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct BacklogGroup {
    pub instance: Instance,
    pub agent: String,
    pub route: String,
    pub stand: Stand,
    pub messages: i64,
    pub conversations: i64,
    pub oldest: Timestamp,
    /// By age: younger than each of [`AGES_S`], and older.
    pub ages: [i64; 6],
}

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Backlog {
    pub now: Timestamp,
    /// Of all groups; a conversation may be in several.
    pub conversations: i64,
    pub groups: Vec<BacklogGroup>,
}

/// A conversation with something that a plan may deal with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingConversation {
    pub conversation_id: ConversationId,
    pub agent: String,
    /// The first of what waits.
    pub message_id: MessageId,
    pub replays: i64,
    /// How many wait that nobody has begun.
    pub messages: i64,
    pub since: Timestamp,
}

/// A message that nobody has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingMessage {
    pub message_id: MessageId,
    pub conversation_id: ConversationId,
    pub replays: i64,
    pub since: Timestamp,
}

/// A message that waits, or that an agent works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct QueueItem {
    pub id: MessageId,
    pub stand: Stand,
    /// It waits since then.
    pub since: Timestamp,
    pub instance: Instance,
    pub platform: String,
    pub platform_user_id: String,
    pub username: Option<String>,
    pub route: String,
    pub agent: String,
    pub conversation_id: ConversationId,
    /// Its place in the conversation.
    pub seq: i64,
    pub attempts: u32,
    pub text: String,
}

impl QueueItem {
    pub fn cursor(&self) -> PageCursor {
        PageCursor { at: self.since.micros(), id: self.id.0 }
    }
}

/// `$1` to `$7` are the filter, the last one as a time. `behind` is a step of its own, so that what waits is found by the
/// conversations that have something, and not by people or by all messages.
macro_rules! backlog {
    ($db:ident, $now:expr, $name:literal, $select:literal) => {
        concat!(
            $name,
            "\nWITH clock AS (SELECT ",
            $now,
            " AS now), behind AS MATERIALIZED (
    SELECT m.id, m.instance, m.platform, m.route, m.conversation_id, m.seq, m.replays, m.state, m.profile_id, m.replayed_at,
           m.received_at, c.agent, c.not_before
    FROM conversations c
    JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head AND m.state IN ('received', 'processing')
    WHERE c.head < c.tail AND (c.head < c.tail) IS TRUE
), waiting AS (
    SELECT m.id, m.instance, m.platform, m.route, m.conversation_id, m.seq, m.replays, m.agent, p.platform_user_id,
           COALESCE(m.replayed_at, m.received_at) AS since,
           CASE WHEN m.state = 'processing' THEN 'processing' WHEN ",
            if_any_hold!(kept_back!($db, "m", "p.user_id", "m.agent", "clock.now"), "FALSE"),
            " THEN 'held'
                WHEN m.not_before > clock.now THEN 'parked' ELSE 'received' END AS stand
    FROM clock CROSS JOIN behind m
    JOIN profiles p ON p.id = m.profile_id
    UNION ALL
    SELECT m.id, m.instance, m.platform, m.route, m.conversation_id, m.seq, m.replays, c.agent, p.platform_user_id,
           COALESCE(m.replayed_at, m.received_at), 'held'
    FROM messages m JOIN conversations c ON c.id = m.conversation_id JOIN profiles p ON p.id = m.profile_id
    WHERE m.held_by IS NOT NULL AND m.state = 'held'
), chosen AS (
    SELECT * FROM waiting
    WHERE ($1 IS NULL OR instance = $1) AND ($2 IS NULL OR platform = $2) AND ($3 IS NULL OR agent = $3)
      AND ($4 IS NULL OR route = $4) AND ($5 IS NULL OR platform_user_id = $5)
      AND ($6 IS NULL OR conversation_id = $6) AND ($7 IS NULL OR since <= $7)
)
",
            $select
        )
    };
}

macro_rules! both {
    ($pg:ident, $lite:ident, $name:literal, $select:literal) => {
        pub(crate) const $pg: &str = backlog!(pg, "broca_now()", $name, $select);
        pub(crate) const $lite: &str = backlog!(lite, lite::now!(), $name, $select);
    };
}

both!(
    GROUPS_PG,
    GROUPS_LITE,
    "-- backlog",
    "SELECT instance, agent, route, stand, count(*), count(DISTINCT conversation_id), min(since),
       count(CASE WHEN now - since < 60000000 THEN 1 END), count(CASE WHEN now - since < 600000000 THEN 1 END),
       count(CASE WHEN now - since < 3600000000 THEN 1 END), count(CASE WHEN now - since < 21600000000 THEN 1 END),
       count(CASE WHEN now - since < 86400000000 THEN 1 END)
FROM clock CROSS JOIN chosen GROUP BY instance, agent, route, stand ORDER BY instance, agent, route, stand"
);

both!(TOTAL_PG, TOTAL_LITE, "-- backlog: conversations", "SELECT count(DISTINCT conversation_id) FROM chosen");

both!(
    CONVERSATIONS_PG,
    CONVERSATIONS_LITE,
    "-- backlog: each conversation",
    "SELECT g.conversation_id, g.agent, m.id, m.replays, g.messages, g.since
FROM (SELECT conversation_id, agent, min(seq) AS first, count(*) AS messages, min(since) AS since
      FROM chosen WHERE stand <> 'processing' GROUP BY conversation_id, agent) g
JOIN messages m ON m.conversation_id = g.conversation_id AND m.seq = g.first
ORDER BY g.since, g.conversation_id LIMIT $8"
);

both!(
    MESSAGES_PG,
    MESSAGES_LITE,
    "-- backlog: each message",
    "SELECT id, conversation_id, replays, since FROM chosen WHERE stand <> 'processing'
ORDER BY since, conversation_id, seq LIMIT $8"
);

both!(
    QUEUE_PG,
    QUEUE_LITE,
    "-- backlog: the queue",
    "SELECT w.id, w.stand, w.since, w.instance, w.platform, w.platform_user_id, p.username, w.route, w.agent, w.conversation_id,
       w.seq, m.attempts, m.text
FROM (SELECT * FROM chosen
      WHERE ($8 IS NULL OR stand = $8) AND ($9 IS NULL OR since > $9 OR (since = $9 AND id > $10))
      ORDER BY since, id LIMIT $11) w
JOIN messages m ON m.id = w.id JOIN profiles p ON p.id = m.profile_id
ORDER BY w.since, w.id"
);

#[derive(sqlx::FromRow)]
struct QueueRow {
    id: Uuid,
    stand: String,
    since: i64,
    instance: String,
    platform: String,
    platform_user_id: String,
    username: Option<String>,
    route: String,
    agent: String,
    conversation_id: Uuid,
    seq: i64,
    attempts: i64,
    text: String,
}

impl QueueRow {
    fn item(self) -> Result<QueueItem, StoreError> {
        Ok(QueueItem {
            id: MessageId(self.id),
            stand: parsed(&self.stand)?,
            since: Timestamp(self.since),
            instance: parsed(&self.instance)?,
            platform: self.platform,
            platform_user_id: self.platform_user_id,
            username: self.username,
            route: self.route,
            agent: self.agent,
            conversation_id: ConversationId(self.conversation_id),
            seq: self.seq,
            attempts: count(self.attempts)?,
            text: self.text,
        })
    }
}

type Group = (String, String, String, String, i64, i64, i64, i64, i64, i64, i64, i64);

fn group(
    (instance, agent, route, stand, messages, conversations, oldest, a, b, c, d, e): Group,
) -> Result<BacklogGroup, StoreError> {
    Ok(BacklogGroup {
        instance: parsed(&instance)?,
        agent,
        route,
        stand: parsed(&stand)?,
        messages,
        conversations,
        oldest: Timestamp(oldest),
        ages: [a, b - a, c - b, d - c, e - d, messages - e],
    })
}

/// Runs one of the questions above.
macro_rules! chosen {
    ($store:expr, $filter:expr, $now:expr, $method:ident, $row:ty, $pg:ident, $lite:ident $(, $more:expr)*) => {
        fetch!(
            $store,
            $method,
            $row,
            match $store.db {
                Db::Pg(_) => $pg,
                Db::Lite(_) => $lite,
            },
            $filter.instance.as_ref().map(Instance::as_str),
            $filter.platform.as_deref(),
            $filter.agent.as_deref(),
            $filter.route.as_deref(),
            $filter.user.as_deref(),
            $filter.conversation.map(|conversation| conversation.0),
            $filter.older_than.map(|age| $now.micros().saturating_sub(micros(age)))
            $(, $more)*
        )
    };
}

impl Store {
    /// What waits, by where and for what. Reads all of it: for people.
    pub async fn backlog(&self, filter: &BacklogFilter) -> Result<Backlog, StoreError> {
        let now = self.now().await?;
        let groups = chosen!(self, filter, now, fetch_all, Group, GROUPS_PG, GROUPS_LITE)?;
        let (conversations,) = chosen!(self, filter, now, fetch_one, (i64,), TOTAL_PG, TOTAL_LITE)?;
        Ok(Backlog { now, conversations, groups: groups.into_iter().map(group).collect::<Result<_, _>>()? })
    }

    /// Conversations in which something waits that nobody has begun, the oldest first, at most `limit`.
    pub async fn waiting_conversations(
        &self,
        filter: &BacklogFilter,
        limit: u32,
    ) -> Result<Vec<WaitingConversation>, StoreError> {
        type Row = (Uuid, String, Uuid, i64, i64, i64);
        let (now, limit) = (self.now().await?, i64::from(limit));
        let rows = chosen!(self, filter, now, fetch_all, Row, CONVERSATIONS_PG, CONVERSATIONS_LITE, limit)?;
        let conversation = |(id, agent, message, replays, messages, since): Row| WaitingConversation {
            conversation_id: ConversationId(id),
            agent,
            message_id: MessageId(message),
            replays,
            messages,
            since: Timestamp(since),
        };
        Ok(rows.into_iter().map(conversation).collect())
    }

    /// What waits and what is under way, the oldest first, at most `limit`, from behind `after` on. Reads all of it: for
    /// people.
    pub async fn queue(
        &self,
        filter: &BacklogFilter,
        stand: Option<Stand>,
        after: Option<PageCursor>,
        limit: u32,
    ) -> Result<Vec<QueueItem>, StoreError> {
        let now = self.now().await?;
        let rows = chosen!(
            self,
            filter,
            now,
            fetch_all,
            QueueRow,
            QUEUE_PG,
            QUEUE_LITE,
            stand.map(|stand| stand.to_string()),
            after.map(|after| after.at),
            after.map(|after| after.id),
            i64::from(limit)
        )?;
        rows.into_iter().map(QueueRow::item).collect()
    }

    /// Messages that nobody has begun, the oldest first, at most `limit`.
    pub async fn waiting_messages(
        &self,
        filter: &BacklogFilter,
        limit: u32,
    ) -> Result<Vec<WaitingMessage>, StoreError> {
        type Row = (Uuid, Uuid, i64, i64);
        let (now, limit) = (self.now().await?, i64::from(limit));
        let rows = chosen!(self, filter, now, fetch_all, Row, MESSAGES_PG, MESSAGES_LITE, limit)?;
        let message = |(id, conversation, replays, since): Row| WaitingMessage {
            message_id: MessageId(id),
            conversation_id: ConversationId(conversation),
            replays,
            since: Timestamp(since),
        };
        Ok(rows.into_iter().map(message).collect())
    }
}

impl Backlog {
    pub fn messages(&self) -> i64 {
        self.groups.iter().map(|group| group.messages).sum()
    }

    pub fn oldest(&self) -> Option<Duration> {
        let oldest = self.groups.iter().map(|group| group.oldest).min()?;
        Some(elapsed(self.now.micros() - oldest.micros()))
    }
}
