//! Live settings: read from the bucket, changed there under a revision, with the change on record in SQL.

use std::time::Duration;

use broca_bus::{Bus, BusError};
use broca_core::{
    ChangeId,
    live::{VERSION, Written},
};
use broca_store::{Applied, LiveChange, NewLiveChange, Outcome, Store, StoreError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::Instant;

/// How often a change is tried again that somebody else's got in the way of.
const TRIES: u32 = 5;
/// How often it is looked whether the processes have a change in force.
const LOOK: Duration = Duration::from_millis(50);
/// How long whoever changed something waits for that. It is promised within a second; a plugin that has to begin anew first
/// ends what it is delivering.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("what the bucket has under {key} cannot be read: {why}")]
    Unreadable { key: String, why: &'static str },
}

/// What the bucket has under a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Current<T> {
    /// 0 when nobody ever set anything.
    pub revision: u64,
    pub written: Option<Written<T>>,
}

pub async fn read<T: Serialize + DeserializeOwned>(bus: &Bus, key: &str) -> Result<Current<T>, LiveError> {
    let entry = bus.setting(key).await?;
    let unreadable = |why| LiveError::Unreadable { key: key.to_owned(), why };
    let written = entry.value.map(|bytes| Written::decode(&bytes).map_err(unreadable)).transpose()?;
    Ok(Current { revision: entry.revision, written })
}

/// What a value becomes, and what changes by that, as it may be shown.
#[derive(Debug)]
pub struct Edit<T> {
    pub value: T,
    pub changes: Value,
}

/// Changes a value. `edit` decides on what is there, and again should somebody else have been faster. The new
/// revision; `None` when `edit` sees nothing to change.
///
/// # Errors
/// What `edit` refuses; [`BusError::Changed`] when others kept being faster.
pub async fn change<T, E>(
    (store, bus): (&Store, &Bus),
    key: &str,
    actor: &str,
    mut edit: impl FnMut(Option<&T>) -> Result<Option<Edit<T>>, E>,
) -> Result<Option<u64>, E>
where
    T: Serialize + DeserializeOwned,
    E: From<LiveError>,
{
    let mut tries = 1;
    loop {
        let current = read::<T>(bus, key).await?;
        let Some(edit) = edit(current.written.as_ref().map(|written| &written.value))? else { return Ok(None) };
        match write(store, bus, key, actor, edit, current.revision).await {
            Err(LiveError::Bus(BusError::Changed { .. })) if tries < TRIES => tries += 1,
            written => return Ok(Some(written?)),
        }
    }
}

/// Proposed on record, written, and then on record as what it came to.
async fn write<T: Serialize + DeserializeOwned>(
    store: &Store,
    bus: &Bus,
    key: &str,
    actor: &str,
    edit: Edit<T>,
    revision: u64,
) -> Result<u64, LiveError> {
    let change = ChangeId::new();
    let proposed = NewLiveChange { id: change, key: key.to_owned(), actor: actor.to_owned(), changes: edit.changes };
    let at = store.propose_change(proposed).await?;
    let written = Written { version: VERSION, change, by: actor.to_owned(), at, value: edit.value };
    let put = match bus.put_setting(key, written.encode(), revision).await {
        // It may have come that far.
        Err(error) if error.is_transient() => match read::<T>(bus, key).await {
            Ok(now) if now.written.as_ref().is_some_and(|written| written.change == change) => Ok(now.revision),
            Ok(now) if now.revision != revision => Err(error),
            _ => return Err(error.into()),
        },
        put => put,
    };
    match put {
        Ok(revision) => {
            store.end_change(change, Outcome::Written, Some(revision)).await?;
            Ok(revision)
        }
        Err(error) => {
            store.end_change(change, Outcome::Refused, None).await?;
            Err(error.into())
        }
    }
}

/// The changes of a key, newest first. One that was cut off is told by the bucket, if it is the newest there.
pub async fn history(store: &Store, bus: &Bus, key: &str, limit: u32) -> Result<Vec<LiveChange>, LiveError> {
    let mut changes = store.live_changes(key, limit).await?;
    let now = read::<Value>(bus, key).await?;
    for change in changes.iter_mut().filter(|change| change.outcome == Outcome::Proposed) {
        if now.written.as_ref().is_some_and(|written| written.change == change.id) {
            (change.outcome, change.revision) = (Outcome::Written, Some(now.revision));
        }
    }
    Ok(changes)
}

/// What became of a revision in the processes that should have it in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InForce {
    pub revision: u64,
    /// Processes that have it, or a newer one, in force.
    pub processes: Vec<Applied>,
    /// Those that have not, and perhaps why.
    pub others: Vec<Applied>,
}

/// Waits a while until every process has a revision in force, or says why not.
pub async fn in_force(store: &Store, key: &str, revision: u64) -> Result<InForce, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = store.live_in_force(key).await?;
        let all_know = all.iter().all(|process| process.newest >= revision);
        let (processes, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|process| process.revision >= revision);
        if all_know || Instant::now() >= deadline {
            return Ok(InForce { revision, processes, others });
        }
        tokio::time::sleep(LOOK).await;
    }
}
