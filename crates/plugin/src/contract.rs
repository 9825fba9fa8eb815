//! What a plugin implements and what it is given.

use std::sync::Arc;

use async_trait::async_trait;
use broca_core::{
    DeliveryError, Incoming, Instance, MessageId, MessageState, Profile, Receipt, Refusal, Response, Timestamp,
    delivery::Settlement,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::Parts;

/// Who the plugin is and what its platform can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's name, unique among plugins.
    pub name: String,
    /// The platform it speaks to; several instances may share one.
    pub platform: String,
    /// The plugin's own version.
    pub version: String,
    pub capabilities: Capabilities,
}

/// What the platform can do beyond plain text. Everything is optional: plain text alone works.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Characters in one platform message; the plugin splits what is longer.
    pub max_text_chars: Option<usize>,
    /// The platform can be asked whether it has an answer ([`Plugin::settle`] says more than `CannotTell`).
    pub settles: bool,
    /// Several processes may serve one account at a time.
    pub replicas: bool,
}

/// How the plugin stands with its platform. `detail` tells an operator what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PluginState {
    Connecting,
    Connected,
    Degraded { detail: String },
    BadCredentials { detail: String },
    Stopped,
}

/// Where a plugin reports its state.
pub trait StateSink: Send + Sync + std::fmt::Debug {
    fn report(&self, instance: &Instance, state: PluginState);
}

/// What became of a reported message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// Accepted and committed: the platform may be told so.
    New(MessageId),
    /// This event was accepted before; the platform may be told so again.
    Duplicate(MessageId),
}

impl Ingested {
    pub fn message(self) -> MessageId {
        match self {
            Self::New(id) | Self::Duplicate(id) => id,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The message can never be accepted; tell the sender, confirm it to the platform, go on.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing was stored; do not confirm it to the platform, report it again later.
    #[error("not accepted now, report it again: {0}")]
    Unavailable(String),
}

/// The road into the pipeline.
#[async_trait]
pub trait Ingest: Send + Sync + std::fmt::Debug {
    /// Stores user, profile, conversation and message in one transaction and wakes a worker.
    async fn ingest(&self, instance: &Instance, platform: &str, incoming: Incoming) -> Result<Ingested, IngestError>;

    /// Where a message stands; `None` when there is no such message of this instance.
    async fn status(&self, instance: &Instance, message: MessageId) -> Result<Option<MessageStatus>, IngestError>;

    /// The last `limit` messages of a person on this platform with their answers, oldest first.
    async fn history(
        &self,
        platform: &str,
        platform_user_id: &str,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, IngestError>;
}

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageStatus {
    pub message_id: MessageId,
    pub state: MessageState,
    /// Why it failed, was suppressed or waits.
    pub reason: Option<String>,
    /// The agent's answer, once there is one.
    pub answer: Option<String>,
}

/// One message of a person's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub message_id: MessageId,
    pub text: String,
    pub state: MessageState,
    pub answer: Option<String>,
    /// Microseconds since the epoch.
    pub received_at: Timestamp,
}

/// What a running plugin is given.
#[derive(Clone, Debug)]
pub struct Context {
    pub instance: Instance,
    /// Set when the process should stop: finish what is at hand, start nothing, return from `run`.
    pub shutdown: CancellationToken,
    platform: String,
    ingest: Arc<dyn Ingest>,
    states: Arc<dyn StateSink>,
}

impl Context {
    pub fn new(
        instance: Instance,
        platform: String,
        shutdown: CancellationToken,
        ingest: Arc<dyn Ingest>,
        states: Arc<dyn StateSink>,
    ) -> Self {
        Self { instance, shutdown, platform, ingest, states }
    }

    /// Reports a message. Confirm it to the platform only when this returned `Ok`, or `Refused`.
    pub async fn ingest(&self, incoming: Incoming) -> Result<Ingested, IngestError> {
        self.ingest.ingest(&self.instance, &self.platform, incoming).await
    }

    /// Where a message of this instance stands.
    pub async fn status(&self, message: MessageId) -> Result<Option<MessageStatus>, IngestError> {
        self.ingest.status(&self.instance, message).await
    }

    /// What a person of this platform said and was answered.
    pub async fn history(&self, platform_user_id: &str, limit: u32) -> Result<Vec<HistoryEntry>, IngestError> {
        self.ingest.history(&self.platform, platform_user_id, limit).await
    }

    pub fn report(&self, state: PluginState) {
        self.states.report(&self.instance, state);
    }
}

/// The plugin cannot go on. The supervisor restarts it with growing pauses.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Wrong or missing settings: restarting alone will not help.
    #[error("settings: {0}")]
    Settings(String),
    #[error("{0}")]
    Platform(String),
}

#[async_trait]
pub trait Plugin: Send + Sync + std::fmt::Debug {
    fn manifest(&self) -> Manifest;

    /// Talks to the platform until `ctx.shutdown`; returns only then, or when it cannot go on.
    async fn run(&self, ctx: Context) -> Result<(), PluginError>;

    /// Hands one answer to the platform. Called for one answer per chat at a time, in order; for several chats at
    /// once. `message_id` is the message that is being answered. A plugin that needs several platform messages for
    /// one answer begins at [`Response::rest`] and notes each of them in `parts`.
    ///
    /// # Errors
    /// Says itself whether the platform may be tried again ([`DeliveryError::Retry`]), never will take it
    /// (`Dead`), or may have it already (`Unknown`).
    async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        message_id: MessageId,
        parts: &Parts,
    ) -> Result<Receipt, DeliveryError>;

    /// Asked when an earlier process was cut off while delivering: does the platform have it?
    /// The default cannot tell, and the answer is then marked unknown and never sent blindly.
    async fn settle(&self, _response: &Response, _profile: &Profile, _message_id: MessageId) -> Settlement {
        Settlement::CannotTell
    }
}
