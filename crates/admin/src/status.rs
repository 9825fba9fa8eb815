//! What waits, what runs, what failed: the rows' own counts, and how far the broker's consumers are behind.

use broca_bus::{Bus, BusError};
use broca_core::{Instance, subject};
use broca_store::{Counts, Pace, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::{
    control::Standing,
    modes::{self, ModesNow},
};

/// One look at everything.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Status {
    pub counts: Counts,
    /// Who works, and what keeps messages waiting.
    pub pace: Pace,
    /// The modes that were set at run time; `None` when they could not be read.
    pub modes: Option<ModesNow>,
    pub broker: Broker,
    pub consumers: Vec<ConsumerLag>,
}

/// A process of a `broca up`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Process {
    pub name: String,
    /// Nothing between an end and the restart.
    pub pid: Option<u32>,
    /// It said that it works.
    pub ready: bool,
    pub restarts: u32,
    /// Where it shows its metrics.
    pub metrics: Option<String>,
    /// Of a plugin: how it stands, and what is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What a supervisor of another version says of it.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// The server that the connection stands to.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Broker {
    pub name: String,
    pub version: String,
}

/// How far a consumer is behind. Wakes of conversations that are held are acked, so the workers' number is not the
/// backlog; [`Counts::pending_conversations`] is.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ConsumerLag {
    pub stream: String,
    pub consumer: String,
    /// Messages that were never delivered. `None` when the consumer could not be asked.
    pub pending: Option<u64>,
    /// Messages that somebody works on.
    pub ack_pending: Option<u64>,
    /// Of those, delivered more than once.
    pub redelivered: Option<u64>,
    /// Why it could not be asked, and what to do.
    pub problem: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Looks at the rows and at the consumers of the workers and of `instances`. A consumer that is missing is reported
/// as such: everything else is still worth seeing.
///
/// # Errors
/// The database or the broker does not answer at all.
pub async fn status(store: &Store, bus: &Bus, instances: &[Instance]) -> Result<Status, StatusError> {
    let counts = store.counts().await?;
    let (broker, consumers) = lags(bus, instances).await?;
    let pace = store.pace().await?;
    let modes = modes::now(store, bus).await;
    if let Err(error) = &modes {
        tracing::warn!(%error, "the modes that were set at run time cannot be read");
    }
    Ok(Status { counts, pace, modes: modes.ok(), broker, consumers })
}

/// The broker, and how far the consumers of the workers and of `instances` are behind.
pub(crate) async fn lags(bus: &Bus, instances: &[Instance]) -> Result<(Broker, Vec<ConsumerLag>), BusError> {
    let server = bus.server()?;
    let mut consumers = vec![lag(bus, subject::STREAM_IN, subject::CONSUMER_WORKERS.to_owned()).await];
    for instance in instances {
        consumers.push(lag(bus, subject::STREAM_OUT, subject::outgoing_consumer(instance)).await);
    }
    Ok((Broker { name: server.name, version: server.version.to_string() }, consumers))
}

async fn lag(bus: &Bus, stream: &str, consumer: String) -> ConsumerLag {
    let asked = bus.backlog(stream, &consumer).await;
    let problem = asked.as_ref().err().map(ToString::to_string);
    let backlog = asked.ok();
    ConsumerLag {
        stream: stream.to_owned(),
        consumer,
        pending: backlog.map(|backlog| backlog.pending),
        ack_pending: backlog.map(|backlog| backlog.ack_pending),
        redelivered: backlog.map(|backlog| backlog.redelivered),
        problem,
    }
}
