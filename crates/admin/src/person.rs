//! What an agent is to bear in mind of a person.

use broca_core::{UserId, format::sanitize};
use broca_store::{PersonChange, PersonSettings, Store, StoreError};
use serde_json::{Map, Value};

use crate::holds::{self, HoldError};

/// Bytes of instructions, which go along with every message, and of preferences.
const MOST: usize = 4_096;
/// Characters of a preference's name.
const MOST_KEY: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Nobody(HoldError),
    #[error("{what} has {bytes} bytes, more than the limit of {MOST}")]
    TooLong { what: &'static str, bytes: usize },
    #[error("preferences are a JSON object, e.g. {{\"language\": \"fr\"}}")]
    NoObject,
    #[error("the text cannot be kept: it has a NUL")]
    Unprintable,
    #[error("'{0}' is no name of a preference: use up to {MOST_KEY} letters, digits, dots, lines and underscores")]
    Key(String),
}

/// Changes what is given; empty instructions are none. `name` is an id of ours or the platform's.
pub async fn set(
    store: &Store,
    name: &str,
    instructions: Option<&str>,
    preferences: Option<Value>,
) -> Result<PersonSettings, PersonError> {
    let instructions = instructions.map(sanitize);
    let text = preferences.as_ref().map(ToString::to_string).unwrap_or_default();
    let lengths = [("instructions", instructions.as_deref().unwrap_or_default()), ("preferences", text.as_str())];
    if let Some((what, text)) = lengths.into_iter().find(|(_, text)| text.len() > MOST) {
        return Err(PersonError::TooLong { what, bytes: text.len() });
    }
    if preferences.as_ref().is_some_and(|preferences| !preferences.is_object()) {
        return Err(PersonError::NoObject);
    }
    // PostgreSQL's jsonb refuses it.
    if text.contains("\\u0000") {
        return Err(PersonError::Unprintable);
    }
    let user = known(store, name).await?;
    let instructions = instructions.map(|text| Some(text).filter(|text| !text.is_empty()));
    let done = store.set_person(PersonChange { user, instructions, preferences }).await?;
    done.ok_or_else(|| PersonError::Nobody(HoldError::Nobody(name.to_owned())))
}

async fn known(store: &Store, name: &str) -> Result<UserId, PersonError> {
    holds::person(store, name).await.map_err(|error| match error {
        HoldError::Store(error) => PersonError::Store(error),
        error => PersonError::Nobody(error),
    })
}

/// Sets some preferences and drops others; gives whose they are, and all of them. With neither it only looks.
pub async fn prefer(
    store: &Store,
    name: &str,
    set: Map<String, Value>,
    unset: &[String],
) -> Result<(UserId, Map<String, Value>), PersonError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_key = |key: &String| (1..=MOST_KEY).contains(&key.len()) && key.chars().all(legal);
    if let Some(key) = set.keys().find(|key| !is_key(key)) {
        return Err(PersonError::Key(key.chars().take(MOST_KEY).collect()));
    }
    // PostgreSQL's jsonb refuses it.
    if set.values().any(|value| value.to_string().contains("\\u0000")) {
        return Err(PersonError::Unprintable);
    }
    let user = known(store, name).await?;
    match store.prefer(user, set, unset, MOST).await? {
        Some(Ok(preferences)) => Ok((user, preferences)),
        Some(Err(bytes)) => Err(PersonError::TooLong { what: "preferences", bytes }),
        None => Err(PersonError::Nobody(HoldError::Nobody(name.to_owned()))),
    }
}
