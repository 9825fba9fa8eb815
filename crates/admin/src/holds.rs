//! Holds: put on, looked at, ended.

use std::time::Duration;

use broca_core::{ConversationId, HoldId, UserId};
use broca_store::{Hold, HoldState, HoldSubject, NewHold, Person, PutOn, Settled, Store, StoreError};
use serde::Serialize;

use crate::page::{and_one_more, cut};

/// How often, and how far apart, a release looks again at what somebody else is at.
const LOOKS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} is on hold already ({}): {}", .0.subject, .0.id, .0.reason)]
    Already(Box<Hold>),
    #[error("there is no hold {0}")]
    Unknown(HoldId),
    #[error("there is no conversation {0}")]
    NoConversation(ConversationId),
    #[error("nobody is known as '{0}'")]
    Nobody(String),
    #[error("several people are known as '{0}': {list}", list = .1.join(", "))]
    Several(String, Vec<String>),
}

/// Puts a hold on. One that has just ended on the same subject is settled first.
///
/// # Errors
/// [`HoldError::Already`] when one is on.
pub async fn put(store: &Store, hold: NewHold) -> Result<Hold, HoldError> {
    for _ in 0..LOOKS {
        match store.put_hold(hold.clone()).await? {
            PutOn::New(hold) => return Ok(hold),
            PutOn::Already(hold) if hold.state == HoldState::Active => return Err(HoldError::Already(Box::new(hold))),
            PutOn::Already(ending) => drop(settle(store, ending.id).await?),
        }
    }
    Err(StoreError::Contention("a hold on it that has ended is still being settled".to_owned()).into())
}

/// The holds that are not over, oldest first; with `over`, also those that are, newest first. And where the next page
/// begins.
pub async fn list(
    store: &Store,
    over: bool,
    after: Option<HoldId>,
    limit: u32,
) -> Result<(Vec<Hold>, Option<HoldId>), StoreError> {
    let most = and_one_more(limit);
    let found = if over { store.holds(after, most).await? } else { store.open_holds(after, most).await? };
    Ok(cut(found, limit, |hold| hold.id))
}

/// What ending a hold came to.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Released {
    pub hold: Hold,
    /// Messages that this call brought back to their queues. The workers bring back what it could not.
    pub returned: u64,
}

/// Ends a hold, and brings back what it took out of the queues. Should it be cut off, the workers' sweeps go on.
pub async fn release(store: &Store, id: HoldId, actor: &str) -> Result<Released, HoldError> {
    store.release_hold(id, actor).await?.ok_or(HoldError::Unknown(id))?;
    let returned = settle(store, id).await?;
    let hold = store.hold(id).await?.ok_or(HoldError::Unknown(id))?;
    Ok(Released { hold, returned })
}

async fn settle(store: &Store, id: HoldId) -> Result<u64, StoreError> {
    let (mut returned, mut looks) = (0, 0);
    loop {
        match store.settle_hold(id).await? {
            Settled::Step { messages } => returned += messages,
            Settled::Busy if looks < LOOKS => {
                looks += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Settled::Busy | Settled::Over | Settled::Active | Settled::Unknown => return Ok(returned),
        }
    }
}

/// A conversation that is there.
pub async fn conversation(store: &Store, id: ConversationId) -> Result<HoldSubject, HoldError> {
    if store.has_conversation(id).await? {
        Ok(HoldSubject::Conversation(id))
    } else {
        Err(HoldError::NoConversation(id))
    }
}

/// The one person of that name: an id of ours, or the platform's (`telegram/7`, or `7` alone where nobody else has it).
pub async fn person(store: &Store, name: &str) -> Result<UserId, HoldError> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let (platform, id) = name.split_once('/').map_or((None, name), |(platform, id)| (Some(platform), id));
    let people = store.people(platform, id).await?;
    let mut users: Vec<UserId> = people.iter().map(|person| person.user_id).collect();
    users.dedup();
    match users.as_slice() {
        [] => Err(HoldError::Nobody(name.to_owned())),
        [one] => Ok(*one),
        _ => {
            let name_of = |person: &Person| format!("{}/{}", person.platform, person.platform_user_id);
            Err(HoldError::Several(name.to_owned(), people.iter().map(name_of).collect()))
        }
    }
}
