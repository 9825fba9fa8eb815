//! What a plugin implements and what it is given.

use std::sync::Arc;

use async_trait::async_trait;
use broca_core::{
    AttachmentPolicy, Clock, DeliveryError, Event, EventType, Incoming, Instance, MessageId, MessageState, Profile,
    Receipt, Refusal, Response, SystemClock, Timestamp,
    access::{Reason, Standing},
    delivery::Settlement,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{Applied, EventSink, Listen, Manifest, NoEvents, Parts, PluginState, SettingsError, StateSink, Typing};

/// What became of a reported message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// Accepted and committed: the platform may be told so.
    New(MessageId),
    /// This event was accepted before; the platform may be told so again.
    Duplicate(MessageId),
    /// Committed, so the platform may be told so, and not let in: nobody will answer it. Whether the sender is told is
    /// the plugin's to decide; somebody who was given a code is told by a response.
    Suppressed(MessageId, Reason),
}

impl Ingested {
    pub fn message(self) -> MessageId {
        match self {
            Self::New(id) | Self::Duplicate(id) | Self::Suppressed(id, _) => id,
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

/// What became of a message that its sender took back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It waited, and is cancelled.
    Done,
    /// An agent works on it, and is asked to stop: whatever it comes to, no answer is delivered.
    Running,
    /// It is over, or not this instance's.
    Over,
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

    /// Ends a message of this instance that waits for its turn, or has the agent stop that works on it. Where it stays so by default, nothing is cancelled.
    async fn cancel(&self, _instance: &Instance, _message: MessageId, _reason: &str) -> Result<Cancelled, IngestError> {
        Ok(Cancelled::Over)
    }

    /// What of a message's files is kept. Where it stays so by default, nothing is.
    fn attachments(&self) -> AttachmentPolicy {
        AttachmentPolicy::off()
    }

    /// Who wrote something, by the rules about who may talk. Nothing is stored. Where it stays so by default, everybody is
    /// a user.
    async fn standing(
        &self,
        _instance: &Instance,
        _platform: &str,
        _incoming: &Incoming,
    ) -> Result<Standing, IngestError> {
        Ok(Standing::User)
    }
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
    events: Arc<dyn EventSink>,
}

impl Context {
    pub fn new(
        instance: Instance,
        platform: String,
        shutdown: CancellationToken,
        ingest: Arc<dyn Ingest>,
        states: Arc<dyn StateSink>,
    ) -> Self {
        Self { instance, shutdown, platform, ingest, states, events: Arc::new(NoEvents) }
    }

    /// Events go there; without it they go nowhere.
    pub fn with_events(self, events: Arc<dyn EventSink>) -> Self {
        Self { events, ..self }
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

    /// Takes a message back that waits for its turn, or that an agent works on. Whose it is, the plugin must know: ask for it by
    /// [`Self::history`]. `reason` is kept with the message.
    pub async fn cancel(&self, message: MessageId, reason: &str) -> Result<Cancelled, IngestError> {
        self.ingest.cancel(&self.instance, message, reason).await
    }

    /// Who wrote something, for commands that the plugin answers by itself: owner, admin, user, or somebody who may not
    /// talk. Looks at the sender, the chat and the claim of `incoming` alone.
    pub async fn standing(&self, incoming: &Incoming) -> Result<Standing, IngestError> {
        self.ingest.standing(&self.instance, &self.platform, incoming).await
    }

    /// What of a message's files is kept: nothing else needs to be fetched. Ask for it anew with each message.
    pub fn attachments(&self) -> AttachmentPolicy {
        self.ingest.attachments()
    }

    /// Says how the plugin stands with its platform.
    pub fn report(&self, state: PluginState) {
        self.states.report(&self.instance, state);
    }

    /// Tells whoever listens. Neither waits nor fails; an event may be lost.
    pub fn emit(&self, kind: EventType, data: serde_json::Value) {
        let (instance, at) = (self.instance.clone(), SystemClock.now());
        self.events.emit(Event { version: broca_core::event::VERSION, kind, instance, at, data });
    }
}

/// The plugin cannot go on. The supervisor restarts it with growing pauses.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Wrong or missing settings: restarting alone will not help.
    #[error("settings: {0}")]
    Settings(String),
    /// The platform refuses the credentials: restarting alone will not help either.
    #[error("credentials: {0}")]
    Credentials(String),
    #[error("{0}")]
    Platform(String),
}

#[async_trait]
pub trait Plugin: Send + Sync + std::fmt::Debug {
    fn manifest(&self) -> Manifest;

    /// The account at the platform that this instance talks to, as the platform tells accounts apart (a bot's number, a
    /// server's address): two processes never run the plugin on one account, unless its capabilities say `replicas`.
    /// No secret. By default each instance has one of its own.
    fn account(&self) -> Option<String> {
        None
    }

    /// Asks the platform whether it takes the credentials, and changes nothing there: `broca doctor` does, also while
    /// another process runs this instance. Says whose they are; `None`, the default, is that nobody was asked.
    ///
    /// # Errors
    /// [`PluginError::Credentials`] when the platform refuses them, `Settings` when they cannot be read here, `Platform`
    /// when it does not answer.
    async fn check(&self) -> Result<Option<String>, PluginError> {
        Ok(None)
    }

    /// Talks to the platform until `ctx.shutdown`; returns only then, or when it cannot go on. Called again when it has
    /// returned and this process has the account again.
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

    /// New settings for a plugin that runs; they fit the schema and [`Blueprint`](crate::Blueprint)'s `build`. The default
    /// has the plugin stopped and started anew with them.
    ///
    /// # Errors
    /// They do not fit what this plugin is doing: it goes on with those it has.
    async fn apply_settings(&self, _settings: serde_json::Value) -> Result<Applied, SettingsError> {
        Ok(Applied::Restart)
    }

    /// Somebody waits for an answer that an agent works on. Called when the agent begins and every few seconds until it
    /// is done, for platforms whose manifest says `typing`; a call may be missed or come late.
    async fn typing(&self, _typing: &Typing) {}

    /// The events that [`Plugin::on_event`] is called with; none by default.
    fn listens(&self) -> Vec<Listen> {
        Vec::new()
    }

    /// Something happened that this plugin listens to. One at a time; what it does with it is its own business, and
    /// a panic costs that one event.
    async fn on_event(&self, _event: &Event) {}
}
