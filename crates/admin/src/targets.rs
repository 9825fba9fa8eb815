//! Chats and people that take no answers: which there are, and forgetting that they are dead.

use broca_store::{DeadTarget, Store, StoreError, TargetCursor, TargetFilter};
use serde::Serialize;

use crate::page::{and_one_more, cut};

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Targets {
    /// The latest first.
    pub items: Vec<DeadTarget>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<String>,
}

pub async fn list(
    store: &Store,
    filter: &TargetFilter,
    after: Option<&TargetCursor>,
    limit: u32,
) -> Result<Targets, StoreError> {
    let found = store.dead_targets(filter, after, and_one_more(limit)).await?;
    let (items, next_cursor) = cut(found, limit, |target| target.cursor().to_string());
    Ok(Targets { items, next_cursor })
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Cleared {
    /// Targets that were dead until now.
    pub cleared: u64,
    /// Names of which no dead target was found.
    pub unknown: Vec<String>,
}

/// Forgets that targets are dead: those with these names, or all that the filter finds when there are none. Their next
/// answers are tried again; those that were given up stay dead letters until they are replayed.
pub async fn clear(store: &Store, names: &[String], filter: &TargetFilter) -> Result<Cleared, StoreError> {
    if names.is_empty() {
        return Ok(Cleared { cleared: store.clear_targets(filter.clone()).await?, unknown: Vec::new() });
    }
    let mut done = Cleared::default();
    for name in names {
        let filter = TargetFilter { target: Some(name.clone()), ..filter.clone() };
        match store.clear_targets(filter).await? {
            0 => done.unknown.push(name.clone()),
            cleared => done.cleared += cleared,
        }
    }
    Ok(done)
}
