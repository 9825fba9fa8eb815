//! People, as operators look at them.

use std::collections::BTreeMap;

use broca_core::UserId;
use broca_store::{Store, StoreError, User, UserConversation, UserFilter};
use serde::Serialize;

use crate::page::{and_one_more, cut};

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Page {
    /// The newest first.
    pub items: Vec<User>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<UserId>,
}

pub async fn list(store: &Store, filter: &UserFilter, before: Option<UserId>, limit: u32) -> Result<Page, StoreError> {
    let users = store.users(filter, before, and_one_more(limit)).await?;
    let (items, next_cursor) = cut(users, limit, |last| last.id);
    Ok(Page { items, next_cursor })
}

/// One person, with how much they wrote.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Shown {
    #[serde(flatten)]
    pub user: User,
    /// By their states.
    pub messages: BTreeMap<String, i64>,
    pub conversations: usize,
}

/// `None` when there is no such person.
pub async fn show(store: &Store, id: UserId) -> Result<Option<Shown>, StoreError> {
    let Some(user) = store.user(id).await? else { return Ok(None) };
    let messages = store.messages_of_user(id).await?;
    Ok(Some(Shown { user, messages, conversations: store.conversations_of_user(id).await?.len() }))
}

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Conversations {
    /// The latest first.
    pub items: Vec<UserConversation>,
}

pub async fn conversations(store: &Store, id: UserId) -> Result<Conversations, StoreError> {
    Ok(Conversations { items: store.conversations_of_user(id).await? })
}
