//! A pipeline in memory, for a plugin's own tests: it accepts as the real one does (checked, each event once), remembers
//! what it was told, and answers when the test says so.
//!
//! What it cannot show is what rows and a broker are for: order over processes, retries, a crash. For those a plugin
//! is run by the real binary.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use broca_core::{
    Attachment, AttachmentPolicy, Claim, DeliveryError, Incoming, Instance, KeptFile, Limits, MessageId, MessageState,
    Profile, ProfileId, Receipt, Response, ResponseId, ResponseKind, Timestamp, UserId,
    access::{Reason, Standing},
    attachment::{Kind, with_lines},
};
use broca_plugin::{
    Cancelled, Context, HistoryEntry, HostError, Ingest, IngestError, Ingested, MessageStatus, Parts, Plugin,
    PluginState, StateSink, host,
};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine; nothing waits so long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// What a hosted plugin gets to stop.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct MemoryPipeline {
    seen: Mutex<Seen>,
    changed: Notify,
}

/// Everything that reached the pipeline so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What was accepted, in order.
    pub accepted: Vec<Accepted>,
    /// What was reported and not let in, with the reason. Everybody may talk here but strangers to the plugin's owner.
    pub suppressed: Vec<(Incoming, Reason)>,
    pub duplicates: usize,
    pub refused: usize,
    /// What the plugin said of itself.
    pub states: Vec<PluginState>,
    /// So many of the next reports will find the pipeline away.
    pub unavailable: usize,
}

#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: MessageId,
    /// As it was stored: checked and cleaned, its text with a line for each file.
    pub incoming: Incoming,
    pub state: MessageState,
    pub reason: Option<String>,
    pub answer: Option<String>,
}

impl Seen {
    pub fn texts(&self) -> Vec<&str> {
        self.accepted.iter().map(|message| message.incoming.text.as_str()).collect()
    }
}

impl MemoryPipeline {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// The next `times` reports are not accepted.
    pub fn be_unavailable(&self, times: usize) {
        self.lock().unavailable = times;
    }

    /// Waits until `met`, and gives what was seen then.
    ///
    /// # Panics
    /// When it takes longer than [`PATIENCE`]; says what was seen until then.
    pub async fn until(&self, met: impl Fn(&Seen) -> bool) -> Seen {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                let seen = self.seen();
                if met(&seen) {
                    return seen;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("stuck at {:?}", self.seen()))
    }

    /// Moves a message to a state without an answer.
    pub fn end(&self, id: MessageId, state: MessageState, reason: Option<&str>) {
        self.change(id, |message| (message.state, message.reason) = (state, reason.map(str::to_owned)));
    }

    /// Answers a message and hands the answer to the plugin, once: what the plugin makes of it is the result.
    pub async fn answer(&self, plugin: &dyn Plugin, id: MessageId, text: &str) -> Result<Receipt, DeliveryError> {
        let message = self.change(id, |message| {
            (message.state, message.answer) = (MessageState::Completed, Some(text.to_owned()));
        });
        let response = response_to(&message.incoming, text);
        let parts = Parts::in_memory(&response);
        plugin.deliver(&response, &profile(plugin, &message.incoming), id, &parts).await
    }

    /// Tells what Broca itself says instead of an answer, like [`Self::answer`].
    pub async fn notice(&self, plugin: &dyn Plugin, id: MessageId, text: &str) -> Result<Receipt, DeliveryError> {
        let message = self.change(id, |message| message.state = MessageState::Failed);
        let response = Response { kind: ResponseKind::Notice, ..response_to(&message.incoming, text) };
        let parts = Parts::in_memory(&response);
        plugin.deliver(&response, &profile(plugin, &message.incoming), id, &parts).await
    }

    /// # Panics
    /// When no such message was accepted.
    fn change(&self, id: MessageId, change: impl FnOnce(&mut Accepted)) -> Accepted {
        let mut seen = self.lock();
        let message = seen.accepted.iter_mut().find(|message| message.id == id);
        let message = message.unwrap_or_else(|| panic!("no message {id} was accepted"));
        change(message);
        let message = message.clone();
        drop(seen);
        self.changed.notify_waiters();
        message
    }

    fn accept(&self, platform: &str, incoming: Incoming) -> Result<Ingested, IngestError> {
        let mut seen = self.lock();
        if seen.unavailable > 0 {
            seen.unavailable -= 1;
            return Err(IngestError::Unavailable("the database is away".into()));
        }
        let mut incoming = incoming.checked(&Limits::default()).inspect_err(|_| seen.refused += 1)?;
        let files: Vec<KeptFile> = incoming.attachments.iter().map(judged).collect();
        incoming.text = with_lines(&incoming.text, platform, &files, 0, false);
        let known = seen.accepted.iter().find(|message| message.incoming.event_id == incoming.event_id);
        if let Some(known) = known.map(|message| message.id) {
            seen.duplicates += 1;
            return Ok(Ingested::Duplicate(known));
        }
        let id = MessageId::new();
        if let Standing::Blocked(reason) = standing(&incoming) {
            seen.suppressed.push((incoming, reason));
            return Ok(Ingested::Suppressed(id, reason));
        }
        seen.accepted.push(Accepted { id, incoming, state: MessageState::Received, reason: None, answer: None });
        Ok(Ingested::New(id))
    }
}

/// As with the settings' defaults, and a store that never fails.
fn judged(file: &Attachment) -> KeptFile {
    let mut kept = file.described();
    if file.kind == Kind::Image {
        match AttachmentPolicy::default().judge(file) {
            Ok(mime) => kept.mime = Some(mime.to_owned()),
            Err(why) => kept.refused = Some(why),
        }
    }
    kept
}

/// As without any settings about who may talk: what the plugin's own settings say counts.
fn standing(incoming: &Incoming) -> Standing {
    match incoming.claim {
        Some(Claim::Owner) => Standing::Owner,
        Some(Claim::Stranger) => Standing::Blocked(Reason::NotOwner),
        None => Standing::User,
    }
}

/// An answer as the pipeline hands it over, at its first attempt.
pub fn response_to(incoming: &Incoming, text: &str) -> Response {
    Response {
        id: ResponseId::new(),
        kind: ResponseKind::Answer,
        text: text.to_owned(),
        chat_id: incoming.chat_id.clone(),
        attributes: incoming.attributes.clone(),
        attempt: 1,
        parts: Vec::new(),
        trace: None,
    }
}

fn profile(plugin: &dyn Plugin, incoming: &Incoming) -> Profile {
    let sender = incoming.sender.clone();
    Profile {
        id: ProfileId::new(),
        user_id: UserId::new(),
        platform: plugin.manifest().platform,
        platform_user_id: sender.platform_user_id,
        username: sender.username,
        display_name: sender.display_name,
        metadata: sender.metadata,
    }
}

#[async_trait]
impl Ingest for MemoryPipeline {
    async fn ingest(&self, _: &Instance, platform: &str, incoming: Incoming) -> Result<Ingested, IngestError> {
        let ingested = self.accept(platform, incoming);
        self.changed.notify_waiters();
        ingested
    }

    async fn status(&self, _: &Instance, id: MessageId) -> Result<Option<MessageStatus>, IngestError> {
        let found = self.seen().accepted.into_iter().find(|message| message.id == id);
        Ok(found.map(|message| MessageStatus {
            message_id: id,
            state: message.state,
            reason: message.reason,
            answer: message.answer,
        }))
    }

    async fn history(&self, _: &str, user: &str, limit: u32) -> Result<Vec<HistoryEntry>, IngestError> {
        let mut of_user = self.seen().accepted;
        of_user.retain(|message| message.incoming.sender.platform_user_id == user);
        of_user.drain(..of_user.len().saturating_sub(limit as usize));
        let entry = |message: Accepted| HistoryEntry {
            message_id: message.id,
            text: message.incoming.text,
            state: message.state,
            answer: message.answer,
            received_at: Timestamp(0),
        };
        Ok(of_user.into_iter().map(entry).collect())
    }

    async fn cancel(&self, _: &Instance, id: MessageId, reason: &str) -> Result<Cancelled, IngestError> {
        let message = self.seen().accepted.into_iter().find(|message| message.id == id);
        Ok(match message.map(|message| message.state) {
            Some(MessageState::Processing) => Cancelled::Running,
            Some(state) if !state.is_terminal() => {
                self.end(id, MessageState::Cancelled, Some(reason));
                Cancelled::Done
            }
            _ => Cancelled::Over,
        })
    }

    fn attachments(&self) -> AttachmentPolicy {
        AttachmentPolicy::default()
    }

    async fn standing(&self, _: &Instance, _: &str, incoming: &Incoming) -> Result<Standing, IngestError> {
        Ok(standing(incoming))
    }
}

impl StateSink for MemoryPipeline {
    fn report(&self, _: &Instance, state: PluginState) {
        self.lock().states.push(state);
        self.changed.notify_waiters();
    }
}

/// A plugin that runs on a [`MemoryPipeline`].
pub struct Hosted {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), HostError>>,
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").finish_non_exhaustive()
    }
}

impl Hosted {
    /// Starts the plugin as an instance that is named like its platform.
    ///
    /// # Panics
    /// When the platform's name is no instance's.
    pub fn start(plugin: Arc<dyn Plugin>, pipeline: &Arc<MemoryPipeline>) -> Self {
        let shutdown = CancellationToken::new();
        let platform = plugin.manifest().platform;
        let instance = platform.parse().unwrap_or_else(|error| panic!("{platform} names no instance: {error}"));
        let ctx = Context::new(instance, platform, shutdown.clone(), pipeline.clone(), pipeline.clone());
        Self { shutdown, task: tokio::spawn(host(plugin, ctx, GRACE)) }
    }

    /// Stops it in good order; gives how it ended.
    ///
    /// # Panics
    /// When its task did.
    pub async fn stop(self) -> Result<(), HostError> {
        self.shutdown.cancel();
        self.task.await.unwrap_or_else(|error| panic!("the plugin's host panicked: {error}"))
    }

    /// Waits until it ends by itself; gives how.
    ///
    /// # Panics
    /// When it goes on for longer than [`PATIENCE`], or its task panicked.
    pub async fn ends(self) -> Result<(), HostError> {
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended
            .unwrap_or_else(|_| panic!("the plugin goes on"))
            .unwrap_or_else(|error| panic!("its host panicked: {error}"))
    }

    /// Ends it where it stands, as a killed process ends.
    pub async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }
}
