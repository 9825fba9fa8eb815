//! Events: what a plugin hears and says beside messages and answers.

use std::{sync::Arc, time::Duration};

use broca_core::{Event, EventType, MessageId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::Plugin;

/// What a plugin wants to hear ([`Plugin::listens`](crate::Plugin::listens)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub kind: EventType,
    /// From every instance, rather than its own alone. The process's NATS user needs the right to subscribe to that.
    pub everybody: bool,
}

impl Listen {
    /// Events about this plugin's own instance.
    pub fn own(kind: EventType) -> Self {
        Self { kind, everybody: false }
    }

    /// Events about every instance.
    pub fn everybody(kind: EventType) -> Self {
        Self { kind, everybody: true }
    }
}

/// Where events go. An event is a courtesy: it may be lost, and emitting it neither waits nor fails.
pub trait EventSink: Send + Sync + std::fmt::Debug {
    fn emit(&self, event: Event);
}

/// Drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEvents;

impl EventSink for NoEvents {
    fn emit(&self, _event: Event) {}
}

/// Somebody waits while an agent works on an answer ([`Plugin::typing`](crate::Plugin::typing)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    /// The message that is being answered.
    pub message_id: MessageId,
    /// The chat that it came from; `None` means the person's own chat.
    pub chat_id: Option<String>,
    pub platform_user_id: String,
}

/// How long a plugin may take over one event.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hands events to a plugin, one after another, until no more come. A panic, or a plugin that takes too long, costs that
/// one event.
pub async fn hear(plugin: Arc<dyn Plugin>, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        let (plugin, kind) = (Arc::clone(&plugin), event.kind.clone());
        let mut heard = tokio::spawn(async move { plugin.on_event(&event).await });
        match tokio::time::timeout(PATIENCE, &mut heard).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!(%kind, "the plugin panicked over an event; the next one is handed over"),
            Err(_) => {
                heard.abort();
                tracing::warn!(%kind, ?PATIENCE, "the plugin took too long over an event; the next one is handed over");
            }
        }
    }
}
