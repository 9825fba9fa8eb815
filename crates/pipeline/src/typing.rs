//! While an agent works on an answer, the instance's plugin is told that somebody waits for it.

use std::{convert::Infallible, time::Duration};

use broca_bus::Bus;
use broca_core::subject;
use broca_plugin::Typing;
use broca_store::PendingMessage;

use crate::events::PerSecond;

/// An answer that comes sooner needs no sign that it will.
const FIRST: Duration = Duration::from_millis(300);
/// Platforms show it for about five seconds.
const AGAIN: Duration = Duration::from_secs(4);
/// By one worker. What is more is not told: a crowd that waits costs no more than that.
const MOST_PER_S: u32 = 200;

#[derive(Debug)]
pub(crate) struct Typist {
    bus: Bus,
    room: PerSecond,
    enabled: bool,
}

impl Typist {
    pub(crate) fn new(bus: Bus, enabled: bool) -> Self {
        Self { bus, room: PerSecond::of(MOST_PER_S), enabled }
    }

    /// Tells it for as long as it is polled. Whether anybody heard it does not matter.
    pub(crate) async fn show(&self, message: &PendingMessage) -> Infallible {
        if !self.enabled {
            return std::future::pending().await;
        }
        tokio::time::sleep(FIRST).await;
        loop {
            if self.room.has_room() {
                Box::pin(self.announce(message)).await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn announce(&self, message: &PendingMessage) {
        let typing = Typing {
            message_id: message.id,
            chat_id: message.chat_id.clone(),
            platform_user_id: message.profile.platform_user_id.clone(),
        };
        // An id and texts always have a JSON form.
        let payload = serde_json::to_vec(&typing).unwrap_or_default();
        if let Err(error) = self.bus.announce(subject::typing(&message.instance), payload).await {
            tracing::debug!(%error, "not told that somebody waits");
        }
    }
}
