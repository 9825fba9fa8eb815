//! Requests that wait for an answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broca_core::{MessageId, MessageState};
use broca_plugin::{Context, IngestError, MessageStatus};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// A message may end without an answer, or be answered by another process of this instance: then nobody is told, and
/// the waiting request looks by itself, at growing distances.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LAST_LOOK: Duration = Duration::from_secs(4);

#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    by_message: Arc<Mutex<HashMap<MessageId, Arc<Notify>>>>,
}

impl Waiting {
    /// The answer to a message is there.
    pub(crate) fn tell(&self, message: MessageId) {
        if let Some(waiter) = self.lock().get(&message) {
            waiter.notify_waiters();
        }
    }

    /// Where the message stands once it is over, or when `until` has come; `None` when there is no such message.
    pub(crate) async fn outcome(
        &self,
        ctx: &Context,
        message: MessageId,
        until: Instant,
    ) -> Result<Option<MessageStatus>, IngestError> {
        let seat = Seat::take(self, message);
        let mut distance = FIRST_LOOK;
        loop {
            // Listening begins before the look: what happens in between is heard.
            let told = seat.notify.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let status = ctx.status(message).await?;
            let over = status.as_ref().is_none_or(is_over);
            if over || Instant::now() >= until || ctx.shutdown.is_cancelled() {
                return Ok(status);
            }
            let look = (Instant::now() + distance).min(until);
            distance = (distance * 2).min(LAST_LOOK);
            tokio::select! {
                () = told => {}
                () = sleep_until(look) => {}
                () = ctx.shutdown.cancelled() => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<MessageId, Arc<Notify>>> {
        self.by_message.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held is not over: it goes on when an operator says so.
fn is_over(status: &MessageStatus) -> bool {
    status.state.is_terminal() && status.state != MessageState::Held
}

/// One request's place; the last one to leave takes the entry along.
struct Seat<'a> {
    waiting: &'a Waiting,
    message: MessageId,
    notify: Arc<Notify>,
}

impl<'a> Seat<'a> {
    fn take(waiting: &'a Waiting, message: MessageId) -> Self {
        let notify = waiting.lock().entry(message).or_default().clone();
        Self { waiting, message, notify }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        // The map's own and this one.
        if waiting.get(&self.message).is_some_and(|notify| Arc::strong_count(notify) <= 2) {
            waiting.remove(&self.message);
        }
    }
}
