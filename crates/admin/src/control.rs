//! What an instance is told to do, and what its supervisor says of it.
//!
//! Two keys of the settings' bucket for each instance. `control.<instance>` is written by operators: whether it is
//! enabled, which holds until somebody says otherwise, and the last order, which is carried out once, by supervisors
//! that run when it comes. `supervised.<instance>` is written by the supervisor (`broca up`): how the instance
//! stands, and what became of the last order.

use std::time::Duration;

use broca_bus::{Bus, BusError, Known};
use broca_core::{Clock, Instance, SystemClock, Timestamp, WorkerId, subject};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::Instant;

/// How often a write is tried again that somebody else's got in the way of.
const TRIES: u32 = 5;

/// What may be asked of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is loaded and started, now and with each start of the supervisor.
    Enable,
    /// It is stopped and unloaded, now and with each start of the supervisor.
    Disable,
    /// What it runs is looked for again, and checked.
    Load,
    /// It is stopped, and forgotten until it is loaded again.
    Unload,
    Start,
    Stop,
    Restart,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Load => "load",
            Self::Unload => "unload",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    /// What it says about whether the instance is enabled.
    fn enabled(self) -> Option<bool> {
        match self {
            Self::Enable => Some(true),
            Self::Disable => Some(false),
            _ => None,
        }
    }
}

/// What operators want of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Without it, what the settings say.
    #[serde(default)]
    pub enabled: Option<bool>,
    #[serde(default)]
    pub order: Option<Order>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub id: String,
    pub action: Action,
    /// Who gave it.
    pub actor: String,
    pub at: Timestamp,
}

/// How an instance stands with its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// By the settings, or by an operator: it does not start.
    Disabled,
    /// An operator unloaded it.
    Unloaded,
    /// It cannot be loaded, and is skipped.
    Broken,
    /// An operator stopped it.
    Stopped,
    Starting,
    Running,
    /// It ended by itself, and is started again.
    Restarting,
    /// It ended by itself several times in a row; it is started again, with pauses that grow.
    CrashLooping,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Unloaded => "unloaded",
            Self::Broken => "broken",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::CrashLooping => "crash_looping",
        }
    }
}

/// What a supervisor says of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Supervised {
    pub standing: Standing,
    /// What is wrong.
    pub detail: Option<String>,
    pub pid: Option<u32>,
    pub restarts: u32,
    /// What became of the last order that was carried out.
    pub answer: Option<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Answer {
    pub order: String,
    /// Why it could not be done; `None` when it is.
    pub refused: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("what the bucket has under {key} cannot be read: {why}")]
    Unreadable { key: String, why: String },
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Carried {
    Done {
        supervised: Supervised,
    },
    Refused {
        why: String,
        supervised: Supervised,
    },
    /// No supervisor answered in time. What enables and disables holds for those that start later.
    NobodyAnswered,
}

/// Reads a value of the bucket.
pub fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, ControlError> {
    let unreadable =
        |error: serde_json::Error| ControlError::Unreadable { key: key.to_owned(), why: error.to_string() };
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// The key of what a supervisor says.
pub fn supervised_key(instance: &Instance) -> String {
    format!("supervised.{instance}")
}

/// How an instance stands, in its supervisor's words; `None` when none ever said so.
pub async fn standing(bus: &Bus, instance: &Instance) -> Result<Option<Supervised>, ControlError> {
    let key = supervised_key(instance);
    bus.setting(&key).await?.value.map(|bytes| decode(&key, &bytes)).transpose()
}

/// Gives an order, and waits until a supervisor has carried it out.
pub async fn order(
    bus: &Bus,
    instance: &Instance,
    action: Action,
    actor: &str,
    patience: Duration,
) -> Result<Carried, ControlError> {
    let key = supervised_key(instance);
    let mut answers = bus.follow_setting(&key);
    answers.first().await;
    let id = WorkerId::unique(action.as_str()).as_str().to_owned();
    let order = Order { id: id.clone(), action, actor: actor.to_owned(), at: SystemClock.now() };
    give(bus, instance, order).await?;
    let deadline = Instant::now() + patience;
    loop {
        if let Some(supervised) = supervised(&key, &answers.known())?
            && let Some(answer) = supervised.answer.clone().filter(|answer| answer.order == id)
        {
            return Ok(match answer.refused {
                None => Carried::Done { supervised },
                Some(why) => Carried::Refused { why, supervised },
            });
        }
        if tokio::time::timeout_at(deadline, answers.changed()).await.is_err() {
            return Ok(Carried::NobodyAnswered);
        }
    }
}

fn supervised(key: &str, known: &Known) -> Result<Option<Supervised>, ControlError> {
    let value = known.entry.as_ref().and_then(|entry| entry.value.as_ref());
    value.map(|bytes| decode(key, bytes)).transpose()
}

async fn give(bus: &Bus, instance: &Instance, order: Order) -> Result<(), ControlError> {
    let key = subject::control_key(instance);
    let mut tries = 1;
    loop {
        let entry = bus.setting(&key).await?;
        let control: Control = entry.value.map(|bytes| decode(&key, &bytes)).transpose()?.unwrap_or_default();
        let enabled = order.action.enabled().or(control.enabled);
        match write(bus, &key, &Control { enabled, order: Some(order.clone()) }, entry.revision).await {
            Err(ControlError::Bus(BusError::Changed { .. })) if tries < TRIES => tries += 1,
            written => return written,
        }
    }
}

/// A supervisor says how an instance stands. Of two supervisors of one instance the last word is there.
pub async fn report(bus: &Bus, instance: &Instance, supervised: &Supervised) -> Result<(), ControlError> {
    let key = supervised_key(instance);
    let revision = bus.setting(&key).await?.revision;
    write(bus, &key, supervised, revision).await
}

async fn write<T: Serialize>(bus: &Bus, key: &str, value: &T, revision: u64) -> Result<(), ControlError> {
    let unreadable =
        |error: serde_json::Error| ControlError::Unreadable { key: key.to_owned(), why: error.to_string() };
    let bytes = serde_json::to_vec(value).map_err(unreadable)?;
    bus.put_setting(key, bytes, revision).await?;
    Ok(())
}
