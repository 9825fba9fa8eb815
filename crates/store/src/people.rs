//! People: who wrote, on which platforms, in which conversations.

use std::collections::BTreeMap;

use broca_core::{ConversationId, ProfileId, Timestamp, UserId};
use serde::Serialize;
use sqlx::types::{Json, Uuid};

use crate::{
    Store, StoreError,
    reading::fetch,
    tx::{Tx, ask, change, operation, snapshot},
};

/// One person, over all platforms.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct User {
    pub id: UserId,
    pub display_name: Option<String>,
    pub is_active: bool,
    pub created_at: Timestamp,
    /// The latest of their profiles.
    pub last_active: Option<Timestamp>,
    pub profiles: Vec<UserProfile>,
}

/// One account of a person on one platform.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct UserProfile {
    pub id: ProfileId,
    pub platform: String,
    pub platform_user_id: String,
    pub username: Option<String>,
    pub display_name: Option<String>,
    pub metadata: serde_json::Value,
    pub created_at: Timestamp,
    pub last_active: Timestamp,
}

/// Which people. Whatever is set must hold.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    pub platform: Option<String>,
    /// In a display name or a user name, in any case; or the platform's id of the person.
    pub name: Option<String>,
}

/// A conversation that a person wrote in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct UserConversation {
    pub id: ConversationId,
    pub agent: String,
    pub scope: String,
    /// The agent's own id of it.
    pub agent_conversation: Option<String>,
    /// The person's own.
    pub messages: i64,
    pub answers: i64,
    /// Of anybody's messages in it, those that are not over.
    pub pending: i64,
    pub last_message_at: Timestamp,
}

macro_rules! users {
    ($among:literal) => {
        concat!(
            "-- users
SELECT u.id, u.display_name, u.is_active, u.created_at FROM users u
WHERE ",
            $among
        )
    };
}

/// The newest first; the ids tell when they were made.
pub(crate) const LIST: &str = users!(
    "u.id < $1
  AND ($2 IS NULL OR EXISTS (SELECT 1 FROM profiles p WHERE p.user_id = u.id AND p.platform = $2))
  AND ($3 IS NULL OR lower(u.display_name) LIKE '%' || lower($3) || '%' ESCAPE '!'
       OR EXISTS (SELECT 1 FROM profiles p
                  WHERE p.user_id = u.id AND (lower(p.username) LIKE '%' || lower($3) || '%' ESCAPE '!'
                        OR lower(p.display_name) LIKE '%' || lower($3) || '%' ESCAPE '!' OR p.platform_user_id = $4)))
ORDER BY u.id DESC LIMIT $5"
);

pub(crate) const ONE: &str = users!("u.id = $1");

pub(crate) const PROFILES: &str = "-- profiles of a user
SELECT id, platform, platform_user_id, username, display_name, metadata, created_at, last_active
FROM profiles WHERE user_id = $1 ORDER BY created_at, id";

pub(crate) const PROFILE_OF: &str = "-- profile of an account
SELECT id FROM profiles WHERE platform = $1 AND platform_user_id = $2";

pub(crate) const STATES: &str = "-- messages of a user
SELECT m.state, count(*) FROM profiles p JOIN messages m ON m.profile_id = p.id WHERE p.user_id = $1 GROUP BY m.state";

pub(crate) const CONVERSATIONS: &str = "-- conversations of a user
SELECT c.id, c.agent, c.scope_key, c.agent_conversation, o.messages, o.answers, o.last,
       (SELECT count(*) FROM messages w
        WHERE w.conversation_id = c.id AND w.seq > c.head AND w.state IN ('received', 'processing'))
           + (SELECT count(*) FROM messages w WHERE w.held_by IS NOT NULL AND w.conversation_id = c.id) AS pending
FROM (SELECT m.conversation_id, count(*) AS messages, max(m.received_at) AS last,
             CAST(sum((SELECT count(*) FROM responses r WHERE r.message_id = m.id)) AS bigint) AS answers
      FROM profiles p JOIN messages m ON m.profile_id = p.id WHERE p.user_id = $1 GROUP BY m.conversation_id) o
JOIN conversations c ON c.id = o.conversation_id
ORDER BY o.last DESC, c.id";

pub(crate) const UPDATE: &str = "-- update user
UPDATE users SET display_name = $2 WHERE id = $1";

type Row = (Uuid, Option<String>, bool, i64);

#[derive(sqlx::FromRow)]
struct ProfileRow {
    id: Uuid,
    platform: String,
    platform_user_id: String,
    username: Option<String>,
    display_name: Option<String>,
    metadata: Json<serde_json::Value>,
    created_at: i64,
    last_active: i64,
}

impl ProfileRow {
    fn profile(self) -> UserProfile {
        UserProfile {
            id: ProfileId(self.id),
            platform: self.platform,
            platform_user_id: self.platform_user_id,
            username: self.username,
            display_name: self.display_name,
            metadata: self.metadata.0,
            created_at: Timestamp(self.created_at),
            last_active: Timestamp(self.last_active),
        }
    }
}

async fn with_profiles(tx: &mut Tx<'_>, rows: Vec<Row>) -> Result<Vec<User>, StoreError> {
    let mut users = Vec::with_capacity(rows.len());
    for (id, display_name, is_active, created_at) in rows {
        let profiles: Vec<_> =
            ask!(tx, fetch_all, ProfileRow, PROFILES, id)?.into_iter().map(ProfileRow::profile).collect();
        let last_active = profiles.iter().map(|profile| profile.last_active).max();
        let created_at = Timestamp(created_at);
        users.push(User { id: UserId(id), display_name, is_active, created_at, last_active, profiles });
    }
    Ok(users)
}

/// What stands for anything in a pattern stands for itself.
fn literal(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

async fn list(
    tx: &mut Tx<'_>,
    filter: &UserFilter,
    before: Option<UserId>,
    limit: u32,
) -> Result<Vec<User>, StoreError> {
    let before = before.map_or(Uuid::max(), |id| id.0);
    let name = filter.name.as_deref().map(literal);
    let platform = filter.platform.as_deref();
    let rows = ask!(tx, fetch_all, Row, LIST, before, platform, name, filter.name.as_deref(), i64::from(limit))?;
    with_profiles(tx, rows).await
}

async fn one(tx: &mut Tx<'_>, id: UserId) -> Result<Option<User>, StoreError> {
    let rows = ask!(tx, fetch_all, Row, ONE, id.0)?;
    Ok(with_profiles(tx, rows).await?.pop())
}

#[derive(Clone, Debug)]
pub(crate) struct Update {
    id: UserId,
    display_name: String,
}

async fn update(tx: &mut Tx<'_>, update: &Update) -> Result<bool, StoreError> {
    Ok(change!(tx, UPDATE, update.id.0, update.display_name.as_str())? > 0)
}

operation!(UpdateUser: Update => bool, "update user", update);

impl Store {
    /// The newest first; `before` is the last one of the page before.
    pub async fn users(
        &self,
        filter: &UserFilter,
        before: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<User>, StoreError> {
        snapshot!(self, list, filter, before, limit)
    }

    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        snapshot!(self, one, id)
    }

    /// A person's messages by their states.
    pub async fn messages_of_user(&self, id: UserId) -> Result<BTreeMap<String, i64>, StoreError> {
        Ok(fetch!(self, fetch_all, (String, i64), STATES, id.0)?.into_iter().collect())
    }

    /// The latest first.
    pub async fn conversations_of_user(&self, id: UserId) -> Result<Vec<UserConversation>, StoreError> {
        type Row = (Uuid, String, String, Option<String>, i64, i64, i64, i64);
        let rows = fetch!(self, fetch_all, Row, CONVERSATIONS, id.0)?;
        let conversation = |(id, agent, scope, agent_conversation, messages, answers, last, pending): Row| {
            let (id, last_message_at) = (ConversationId(id), Timestamp(last));
            UserConversation { id, agent, scope, agent_conversation, messages, answers, pending, last_message_at }
        };
        Ok(rows.into_iter().map(conversation).collect())
    }

    /// The account of that id on a platform.
    pub async fn profile_of(&self, platform: &str, id: &str) -> Result<Option<ProfileId>, StoreError> {
        let row = fetch!(self, fetch_optional, (Uuid,), PROFILE_OF, platform, id)?;
        Ok(row.map(|(id,)| ProfileId(id)))
    }

    /// What we call a person; says whether there is one of that id.
    pub async fn rename_user(&self, id: UserId, display_name: &str) -> Result<bool, StoreError> {
        self.once::<UpdateUser>(Update { id, display_name: display_name.to_owned() }).await
    }
}
