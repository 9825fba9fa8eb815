//! What happens is told to whoever listens: dashboards, plugins, other programs. An event is a courtesy. It is handed to
//! a queue that nobody waits for, and said by a task of its own; what the queue has no room for, what is more than may
//! be said in a second, and what happens while there is no connection is dropped and counted. So a flood of
//! messages costs no more than that many events, and a message never waits for one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use broca_bus::Bus;
use broca_core::{
    Clock, ConversationId, Event, EventType, Instance, MessageId, MessageState, ResponseState, SystemClock,
    event::{self, MessageEvent},
    metric, subject,
};
use broca_plugin::EventSink;
use broca_store::{DeliveryEnd, Dispatch, End, MessageEnd, PendingMessage};
use metrics::counter;
use serde_json::Value;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// Events that may wait to be said.
const QUEUE: usize = 1_024;
/// How long a process that ends goes on saying them.
const LAST_WORDS: Duration = Duration::from_secs(1);
const KINDS: [&str; 4] = ["message", "status", "error", "own"];

/// Whether, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventOptions {
    pub enabled: bool,
    /// About messages, by one process; as many again of all other kinds.
    pub max_per_s: u32,
}

impl Default for EventOptions {
    fn default() -> Self {
        Self { enabled: true, max_per_s: 200 }
    }
}

/// Where this process's events go. Clones share it.
#[derive(Clone, Debug)]
pub struct Events(Option<Arc<Saying>>);

#[derive(Debug)]
struct Saying {
    queue: mpsc::Sender<Option<Event>>,
    messages: PerSecond,
    others: PerSecond,
    said: Mutex<Option<JoinHandle<()>>>,
}

impl Events {
    pub fn start(bus: &Bus, options: EventOptions) -> Self {
        for kind in KINDS {
            counter!(metric::EVENTS.name, "type" => kind).increment(0);
            counter!(metric::EVENTS_DROPPED.name, "type" => kind).increment(0);
        }
        if !options.enabled {
            return Self::none();
        }
        let (queue, waiting) = mpsc::channel(QUEUE);
        let said = Mutex::new(Some(tokio::spawn(say(bus.clone(), waiting))));
        let window = || PerSecond::of(options.max_per_s);
        Self(Some(Arc::new(Saying { queue, messages: window(), others: window(), said })))
    }

    /// They go nowhere.
    pub fn none() -> Self {
        Self(None)
    }

    /// A message was accepted.
    pub(crate) fn accepted(&self, instance: &Instance, message: impl FnOnce() -> MessageEvent) {
        self.message(instance, message);
    }

    /// An agent begins to work on a message.
    pub(crate) fn begun(&self, conversation: ConversationId, message: &PendingMessage) {
        self.message(&message.instance, || of_pending(conversation, message, MessageState::Processing, None));
    }

    /// A message, or an attempt at it, is over.
    pub(crate) fn ended(&self, conversation: ConversationId, message: &PendingMessage, end: &End) {
        self.message(&message.instance, || {
            let (state, reason) = match end {
                End::Answered { .. } => (MessageState::Completed, None),
                End::Stored => (MessageState::Stored, None),
                End::Failed { failure, .. } => (MessageState::Failed, Some(failure.reason.clone())),
                End::Retry { failure, .. } => (MessageState::Received, Some(failure.reason.clone())),
            };
            of_pending(conversation, message, state, reason)
        });
    }

    /// The same, of a message that was said together with others, or whose turn was stopped.
    pub(crate) fn ended_together(&self, conversation: ConversationId, message: &PendingMessage, end: &MessageEnd) {
        self.message(&message.instance, || {
            let (state, reason) = match end {
                MessageEnd::Answered => (MessageState::Completed, None),
                MessageEnd::Cancelled(failure) => (MessageState::Cancelled, Some(failure.reason.clone())),
                MessageEnd::Failed(failure) => (MessageState::Failed, Some(failure.reason.clone())),
                MessageEnd::Again(failure) => (MessageState::Received, Some(failure.reason.clone())),
                MessageEnd::Interrupted { .. } => (MessageState::Received, None),
            };
            of_pending(conversation, message, state, reason)
        });
    }

    /// A delivery attempt is over.
    pub(crate) fn delivered(&self, instance: &Instance, dispatch: &Dispatch, end: &DeliveryEnd) {
        let (answer, failure) = match end {
            DeliveryEnd::Delivered(_) => (ResponseState::Delivered, None),
            DeliveryEnd::Retry { failure, .. } => (ResponseState::Retry, Some(failure)),
            DeliveryEnd::Dead(failure) | DeliveryEnd::TargetDead { failure, .. } => {
                (ResponseState::Dead, Some(failure))
            }
            DeliveryEnd::Unknown(failure) => (ResponseState::Unknown, Some(failure)),
            DeliveryEnd::HandBack => return,
        };
        self.message(instance, || MessageEvent {
            message_id: dispatch.message,
            conversation_id: None,
            state: MessageState::Completed,
            answer: Some(answer),
            reason: failure.map(|failure| failure.reason.clone()),
            platform_user_id: dispatch.profile.platform_user_id.clone(),
            chat_id: dispatch.response.chat_id.clone(),
        });
    }

    fn message(&self, instance: &Instance, what: impl FnOnce() -> MessageEvent) {
        let Some(saying) = &self.0 else { return };
        if !saying.messages.has_room() {
            return dropped(&EventType::Message);
        }
        // Ids, states and texts always have a JSON form.
        let data = serde_json::to_value(what()).unwrap_or_default();
        saying.hand_over(event_of(EventType::Message, instance, data));
    }

    /// Anything else about an instance.
    pub(crate) fn tell(&self, kind: EventType, instance: &Instance, data: Value) {
        self.emit(event_of(kind, instance, data));
    }

    /// Says what waits, for a moment; afterwards nothing more is said.
    pub(crate) async fn finish(&self) {
        let Some(saying) = &self.0 else { return };
        let Some(mut said) = saying.said.lock().await.take() else { return };
        let last = async {
            // It ends with the mark, or because the task is gone.
            drop(saying.queue.send(None).await);
            drop((&mut said).await);
        };
        if tokio::time::timeout(LAST_WORDS, last).await.is_err() {
            said.abort();
        }
    }
}

impl EventSink for Events {
    fn emit(&self, event: Event) {
        let Some(saying) = &self.0 else { return };
        if saying.others.has_room() { saying.hand_over(event) } else { dropped(&event.kind) }
    }
}

impl Saying {
    fn hand_over(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(Some(event)) | mpsc::error::TrySendError::Closed(Some(event))) =
            self.queue.try_send(Some(event))
        {
            dropped(&event.kind);
        }
    }
}

fn of_pending(
    conversation: ConversationId,
    message: &PendingMessage,
    state: MessageState,
    reason: Option<String>,
) -> MessageEvent {
    MessageEvent {
        message_id: message.id,
        conversation_id: Some(conversation),
        state,
        answer: None,
        reason,
        platform_user_id: message.profile.platform_user_id.clone(),
        chat_id: message.chat_id.clone(),
    }
}

fn event_of(kind: EventType, instance: &Instance, data: Value) -> Event {
    Event { version: event::VERSION, kind, instance: instance.clone(), at: SystemClock.now(), data }
}

fn label(kind: &EventType) -> &'static str {
    match kind {
        EventType::Message => "message",
        EventType::Status => "status",
        EventType::Error => "error",
        EventType::Own(_) => "own",
    }
}

fn dropped(kind: &EventType) {
    counter!(metric::EVENTS_DROPPED.name, "type" => label(kind)).increment(1);
}

/// Says one after the other, until the mark.
async fn say(bus: Bus, mut waiting: mpsc::Receiver<Option<Event>>) {
    while let Some(Some(event)) = waiting.recv().await {
        let said = match event.encode() {
            Some(payload) => bus.announce(subject::event(&event.kind, &event.instance), payload).await.is_ok(),
            None => false,
        };
        if said {
            counter!(metric::EVENTS.name, "type" => label(&event.kind)).increment(1);
        } else {
            dropped(&event.kind);
        }
    }
    if let Err(error) = bus.flush().await {
        tracing::debug!(%error, "the last events may be lost");
    }
}

/// At most so many in a second, counted without a lock.
#[derive(Debug)]
pub(crate) struct PerSecond {
    started: Instant,
    most: u64,
    /// The second, and how many there were in it.
    window: AtomicU64,
}

impl PerSecond {
    pub(crate) fn of(most: u32) -> Self {
        Self { started: Instant::now(), most: u64::from(most), window: AtomicU64::new(0) }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.has_room_at(self.started.elapsed())
    }

    fn has_room_at(&self, elapsed: Duration) -> bool {
        let second = elapsed.as_secs();
        let next = |window: u64| {
            let (then, count) = (window >> 32, window & 0xffff_ffff);
            // Who looks late counts into the newer second.
            let (second, count) = if second > then { (second, 0) } else { (then, count) };
            (count < self.most).then_some(second << 32 | (count + 1))
        };
        self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// Of an accepted message.
pub(crate) fn accepted(
    message: MessageId,
    conversation: ConversationId,
    platform_user_id: String,
    chat_id: Option<String>,
) -> MessageEvent {
    MessageEvent {
        message_id: message,
        conversation_id: Some(conversation),
        state: MessageState::Received,
        answer: None,
        reason: None,
        platform_user_id,
        chat_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_so_many_and_the_next_one_again() {
        let window = PerSecond::of(3);
        let at = |millis| window.has_room_at(Duration::from_millis(millis));
        assert_eq!([at(0), at(10), at(999), at(999)], [true, true, true, false]);
        assert_eq!([at(1_000), at(999), at(1_500), at(1_501)], [true, true, true, false]);
        assert!(at(7_000));
        assert!(!PerSecond::of(0).has_room());
    }
}
