//! What the bot says by itself: answers to commands, refusals. Sent once, and lost when that fails: nobody is harmed who
//! asks again. A plugin that is killed right after it sent one may send it again.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    api::{
        Api,
        send::{Manner, Outgoing, Target},
    },
    pace::Pace,
};

/// Under way at once; what is more is not sent.
const MAX_NOTICES: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Notices {
    api: Api,
    pace: Arc<Pace>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Notices {
    pub(crate) fn new(api: Api, pace: Arc<Pace>) -> Self {
        Self { api, pace, room: Arc::new(Semaphore::new(MAX_NOTICES)), tasks: TaskTracker::new() }
    }

    pub(crate) fn send(&self, to: Target, text: String, manner: Manner) {
        self.spawn(to, manner, async { text });
    }

    /// Says what `text` comes to; the caller does not wait for it.
    pub(crate) fn spawn(&self, to: Target, manner: Manner, text: impl Future<Output = String> + Send + 'static) {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            tracing::warn!(chat = to.chat, "too many commands at once, one is not answered");
            return;
        };
        let (api, pace) = (self.api.clone(), self.pace.clone());
        self.tasks.spawn(async move {
            let text = text.await;
            if pace.admit(to.chat, PATIENCE).await.is_err() {
                tracing::info!(chat = to.chat, "Telegram's limits allow no notice now, it is left out");
            } else if let Err(error) = api.send(to, Outgoing::Plain(&text), manner).await {
                tracing::info!(chat = to.chat, %error, "a notice was not sent");
            }
            drop(permit);
        });
    }

    /// Waits for what is under way.
    pub(crate) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A notice that would come later than this is no answer any more.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
