//! A pipeline in memory, and the plugin running on it.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use broca_core::{
    Incoming, Instance, Limits, MessageId, MessageState, Profile, ProfileId, Receipt, Response, ResponseId, Timestamp,
    UserId,
};
use broca_plugin::{
    Context, HistoryEntry, HostError, Ingest, IngestError, Ingested, MessageStatus, Parts, Plugin, PluginState,
    StateSink, host,
};
use broca_plugin_cli::{CliPlugin, CliSettings};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine; nothing waits so long when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Answers in capitals, except that `fail`, `store` and `silent` end without an answer and `later` has to be told.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    by_event: HashMap<String, MessageId>,
    ingests: usize,
    unavailable: usize,
    plugin: Option<Arc<CliPlugin>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) user: String,
    pub(crate) entry: HistoryEntry,
    pub(crate) reason: Option<String>,
    pub(crate) receipts: Vec<Receipt>,
}

impl Pipeline {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.lock().messages.clone()
    }

    pub(crate) fn message(&self, id: MessageId) -> Message {
        self.messages().into_iter().find(|m| m.entry.message_id == id).unwrap()
    }

    /// How often anything was reported, duplicates and refusals included.
    pub(crate) fn ingests(&self) -> usize {
        self.lock().ingests
    }

    /// The next `times` reports are not accepted.
    pub(crate) fn be_unavailable(&self, times: usize) {
        self.lock().unavailable = times;
    }

    /// Waits until `met`.
    pub(crate) async fn until(&self, met: impl Fn(&[Message]) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if met(&self.messages()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the pipeline does not get there");
    }

    /// Completes a message and delivers its answer, as often as asked.
    pub(crate) async fn answer(&self, id: MessageId, text: &str) -> Receipt {
        let message = self.change(id, |m| {
            m.entry.state = MessageState::Completed;
            m.entry.answer = Some(text.to_owned());
        });
        let plugin = self.lock().plugin.clone().unwrap();
        let response = response(text);
        let parts = Parts::in_memory(&response);
        let receipt = plugin.deliver(&response, &profile(&message.user), id, &parts).await.unwrap();
        self.change(id, |m| m.receipts.push(receipt.clone()));
        receipt
    }

    fn change(&self, id: MessageId, change: impl FnOnce(&mut Message)) -> Message {
        let mut state = self.lock();
        let message = state.messages.iter_mut().find(|m| m.entry.message_id == id).unwrap();
        change(message);
        let message = message.clone();
        drop(state);
        self.changed.notify_waiters();
        message
    }

    fn accept(&self, incoming: Incoming) -> Result<Ingested, IngestError> {
        let mut state = self.lock();
        state.ingests += 1;
        if state.unavailable > 0 {
            state.unavailable -= 1;
            return Err(IngestError::Unavailable("the database is away".into()));
        }
        let incoming = incoming.checked(&Limits::default())?;
        if let Some(known) = state.by_event.get(&incoming.event_id) {
            return Ok(Ingested::Duplicate(*known));
        }
        let message_id = MessageId::new();
        state.by_event.insert(incoming.event_id, message_id);
        let (message_state, reason) = match incoming.text.as_str() {
            "fail" => (MessageState::Failed, Some("the agent is gone".to_owned())),
            "store" => (MessageState::Stored, None),
            "silent" => (MessageState::Completed, None),
            _ => (MessageState::Received, None),
        };
        let entry = HistoryEntry {
            message_id,
            text: incoming.text,
            state: message_state,
            answer: None,
            received_at: Timestamp(0),
        };
        let user = incoming.sender.platform_user_id;
        state.messages.push(Message { user, entry, reason, receipts: Vec::new() });
        Ok(Ingested::New(message_id))
    }
}

pub(crate) fn response(text: &str) -> Response {
    Response {
        kind: broca_core::ResponseKind::Answer,
        id: ResponseId::new(),
        text: text.to_owned(),
        chat_id: None,
        attributes: serde_json::Value::Null,
        attempt: 1,
        parts: Vec::new(),
        trace: None,
    }
}

pub(crate) fn profile(user: &str) -> Profile {
    Profile {
        id: ProfileId::new(),
        user_id: UserId::new(),
        platform: "cli".into(),
        platform_user_id: user.to_owned(),
        username: None,
        display_name: None,
        metadata: serde_json::Value::Null,
    }
}

/// What a plugin is given: a pipeline that can answer on its own.
#[derive(Debug)]
struct Road(Arc<Pipeline>);

#[async_trait]
impl Ingest for Road {
    async fn ingest(&self, _: &Instance, platform: &str, incoming: Incoming) -> Result<Ingested, IngestError> {
        assert_eq!(platform, "cli");
        let ingested = self.0.accept(incoming);
        self.0.changed.notify_waiters();
        let ingested = ingested?;
        let message = self.0.message(ingested.message());
        let quiet = message.entry.state != MessageState::Received || message.entry.text.starts_with("later");
        if let (Ingested::New(id), false) = (ingested, quiet) {
            let pipeline = Arc::clone(&self.0);
            tokio::spawn(async move { pipeline.answer(id, &message.entry.text.to_uppercase()).await });
        }
        Ok(ingested)
    }

    async fn status(&self, _: &Instance, id: MessageId) -> Result<Option<MessageStatus>, IngestError> {
        let Message { entry, reason, .. } = self.0.message(id);
        Ok(Some(MessageStatus { message_id: id, state: entry.state, reason, answer: entry.answer }))
    }

    async fn history(&self, _: &str, user: &str, limit: u32) -> Result<Vec<HistoryEntry>, IngestError> {
        let of_user = self.0.messages().into_iter().filter(|m| m.user == user).map(|m| m.entry);
        let mut items: Vec<_> = of_user.collect();
        items.drain(..items.len().saturating_sub(limit as usize));
        Ok(items)
    }
}

#[derive(Debug, Default)]
struct Connected(Notify);

impl StateSink for Connected {
    fn report(&self, _: &Instance, state: PluginState) {
        if state == PluginState::Connected {
            self.0.notify_one();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) plugin: Arc<CliPlugin>,
    shutdown: CancellationToken,
    hosted: JoinHandle<Result<(), HostError>>,
}

impl Running {
    /// Starts the plugin and waits until it listens.
    pub(crate) async fn start(socket: &Path, pipeline: &Arc<Pipeline>) -> Result<Self, HostError> {
        let plugin = Arc::new(CliPlugin::new(CliSettings { socket: socket.to_owned() }));
        let (shutdown, connected) = (CancellationToken::new(), Arc::new(Connected::default()));
        let road = Arc::new(Road(Arc::clone(pipeline)));
        let ctx = Context::new("cli".parse().unwrap(), "cli".into(), shutdown.clone(), road, connected.clone());
        let mut hosted = tokio::spawn(host(plugin.clone(), ctx, Duration::from_secs(5)));
        tokio::select! {
            ended = &mut hosted => return Err(ended.unwrap().unwrap_err()),
            () = connected.0.notified() => {}
        }
        pipeline.lock().plugin = Some(plugin.clone());
        Ok(Self { plugin, shutdown, hosted })
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.hosted.await.unwrap().unwrap();
    }
}
