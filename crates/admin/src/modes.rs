//! Modes at run time: set, taken away, shown.

use std::time::Duration;

use broca_bus::Bus;
use broca_core::{
    Timestamp,
    live::{ModeSet, ModeSubject, Modes},
    route::Mode,
    subject::KEY_MODES,
};
use broca_store::{Applied, Store};
use serde::Serialize;
use serde_json::json;

use crate::live::{self, Edit, LiveError};

/// One mode that holds instead of the configured one.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Held {
    pub of: String,
    pub mode: Mode,
    pub until: Option<Timestamp>,
}

/// The modes that hold instead of the configured ones.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ModesNow {
    pub revision: u64,
    pub modes: Vec<Held>,
    /// Of the last change.
    pub by: Option<String>,
    pub at: Option<Timestamp>,
}

/// What holds now, by the database's clock.
pub async fn now(store: &Store, bus: &Bus) -> Result<ModesNow, LiveError> {
    let current = live::read::<Modes>(bus, KEY_MODES).await?;
    let at = store.now().await?;
    let (by, since) = current.written.as_ref().map(|written| (written.by.clone(), written.at)).unzip();
    let modes = current.written.map(|written| written.value).unwrap_or_default().in_force(at);
    let held = |(of, set): (ModeSubject, ModeSet)| Held { of: of.to_string(), mode: set.mode, until: set.until };
    Ok(ModesNow { revision: current.revision, modes: modes.into_iter().map(held).collect(), by, at: since })
}

/// The workers, with the revision that each goes by.
pub async fn workers(store: &Store) -> Result<Vec<Applied>, LiveError> {
    Ok(store.live_in_force(KEY_MODES).await?)
}

/// Sets a mode for `life`, or until it is taken away; with `None`, takes it away. The new revision; `None` when it was
/// so already.
pub async fn set(
    (store, bus): (&Store, &Bus),
    actor: &str,
    subject: &ModeSubject,
    mode: Option<(Mode, Option<Duration>)>,
) -> Result<Option<u64>, LiveError> {
    let now = store.now().await?;
    let new = mode.map(|(mode, life)| ModeSet { mode, until: life.map(|life| now.after(life)) });
    live::change((store, bus), KEY_MODES, actor, |current: Option<&Modes>| {
        let mut value = current.cloned().unwrap_or_default();
        value.prune(now);
        let old = value.set(subject, new);
        let changes = json!([{"key": subject.to_string(), "old": old, "new": new}]);
        Ok((old != new).then_some(Edit { value, changes }))
    })
    .await
}
