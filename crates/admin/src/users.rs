//! People, as operators look at them.

use std::collections::BTreeMap;

use broca_core::UserId;
use broca_store::{Store, StoreError, User, UserConversation, UserFilter};
use serde::Serialize;

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Page {
    /// The newest first.
    pub items: Vec<User>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<UserId>,
}

pub async fn list(store: &Store, filter: &UserFilter, before: Option<UserId>, limit: u32) -> Result<Page, StoreError> {
    let mut items = store.users(filter, before, limit.saturating_add(1)).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next_cursor = items.last().filter(|_| more).map(|last| last.id);
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
