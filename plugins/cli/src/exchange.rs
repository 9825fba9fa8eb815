//! Messages out, answers in, over as many connections as it takes.
//!
//! Every message keeps its event id until its end is known. When a connection is lost, whatever has no end yet is
//! said again, in order, over the next one; the plugin knows what it accepted before, so nothing doubles. A message
//! is said only after the one before it was accepted or refused, so a plugin that is busy for a while does not
//! change their order.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use broca_core::{MessageId, MessageState, ResponseId, retry::Budget};
use broca_plugin::HistoryEntry;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use crate::{
    TerminalError,
    link::Link,
    protocol::{MAX_REQUEST_BYTES, Reply, Request, line},
};

/// From the connection to the plugin's welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries to reach a plugin that is gone.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
/// Before a message is said again that the plugin could not take.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Accepted(MessageId),
    Answer { message_id: MessageId, text: String },
    Ended { message_id: MessageId, state: MessageState, reason: Option<String> },
    Refused(String),
    Unavailable(String),
    Lost,
    Back,
    History(Vec<HistoryEntry>),
}

#[derive(Debug)]
pub(crate) struct Exchange {
    socket: PathBuf,
    user: String,
    follow: bool,
    link: Option<Link>,
    greeted: bool,
    connect_at: Instant,
    /// Not accepted yet, in order.
    queue: VecDeque<Outgoing>,
    /// The first of the queue was said and has no reply.
    offered: bool,
    offer_at: Instant,
    /// Accepted and not over, in order.
    waiting: Vec<(MessageId, Outgoing)>,
    shown: Recent<ResponseId>,
    answered: Recent<MessageId>,
    /// Answered with the message's end; the answer itself may still come and is not shown again.
    told: Recent<MessageId>,
}

#[derive(Clone, Debug)]
struct Outgoing {
    event_id: String,
    text: String,
    budget: Option<Budget>,
}

impl Outgoing {
    fn request(&self) -> Request {
        Request::Message { event_id: self.event_id.clone(), text: self.text.clone(), budget: self.budget }
    }
}

impl Exchange {
    /// Connects and waits for the plugin's welcome.
    pub(crate) async fn open(socket: PathBuf, user: String, follow: bool) -> Result<Self, TerminalError> {
        let now = Instant::now();
        let link = Link::open(&socket, &user, follow).await?;
        let mut exchange = Self {
            socket,
            user,
            follow,
            link: Some(link),
            greeted: false,
            connect_at: now,
            queue: VecDeque::new(),
            offered: false,
            offer_at: now,
            waiting: Vec::new(),
            shown: Recent::default(),
            answered: Recent::default(),
            told: Recent::default(),
        };
        match timeout(WELCOME_TIMEOUT, exchange.next()).await {
            Ok(Ok(Event::Back)) => Ok(exchange),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(TerminalError::Refused("it ended the connection: look into its log".into())),
            Err(_) => Err(TerminalError::Refused("it does not answer: look into its log".into())),
        }
    }

    /// Adds a message to what is to be said; the refusal when it is too long for a line.
    pub(crate) fn push(&mut self, text: String, budget: Option<Budget>) -> Result<(), String> {
        let outgoing = Outgoing { event_id: Uuid::now_v7().simple().to_string(), text, budget };
        let bytes = line(&outgoing.request()).len() - 1;
        if bytes > MAX_REQUEST_BYTES {
            return Err(format!(
                "the message takes {bytes} bytes, more than the limit of {MAX_REQUEST_BYTES}: send it in parts"
            ));
        }
        self.queue.push_back(outgoing);
        Ok(())
    }

    /// Asks for the last `limit` messages; they come as an event, unless the connection is lost.
    pub(crate) fn ask_history(&mut self, limit: u32) {
        self.say(Request::History { limit });
    }

    /// Messages whose end is not known.
    pub(crate) fn open_messages(&self) -> usize {
        self.queue.len() + self.waiting.len()
    }

    /// Leaves, after what was said is written.
    pub(crate) async fn finish(self) {
        if let Some(link) = self.link {
            link.finish().await;
        }
    }

    /// What happens next. Cancel safe.
    ///
    /// # Errors
    /// The plugin refuses this terminal, or the socket cannot be used. A plugin that is gone is waited for.
    pub(crate) async fn next(&mut self) -> Result<Event, TerminalError> {
        loop {
            self.offer();
            let Some(link) = &mut self.link else {
                sleep_until(self.connect_at).await;
                self.connect().await?;
                continue;
            };
            let offer_later = !self.offered && self.greeted && !self.queue.is_empty();
            let reply = tokio::select! {
                reply = link.next() => reply,
                () = sleep_until(self.offer_at), if offer_later => continue,
            };
            let event = match reply {
                Some(reply) => self.take(reply)?,
                None => Some(self.lose()),
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    async fn connect(&mut self) -> Result<(), TerminalError> {
        self.connect_at = Instant::now() + RECONNECT_PAUSE;
        match Link::open(&self.socket, &self.user, self.follow).await {
            Ok(link) => {
                self.link = Some(link);
                self.greeted = false;
                Ok(())
            }
            Err(TerminalError::NobodyListens(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn lose(&mut self) -> Event {
        self.link = None;
        self.offered = false;
        self.offer_at = Instant::now();
        for (_, outgoing) in self.waiting.drain(..).rev() {
            self.queue.push_front(outgoing);
        }
        Event::Lost
    }

    /// Says the first message of the queue, if it is its time.
    fn offer(&mut self) {
        if self.offered || !self.greeted || self.link.is_none() || Instant::now() < self.offer_at {
            return;
        }
        if let Some(request) = self.queue.front().map(Outgoing::request) {
            self.offered = true;
            self.say(request);
        }
    }

    /// A plugin that takes no line is as good as gone: dropping its tasks shows as a lost connection.
    fn say(&mut self, request: Request) {
        if let Some(link) = &mut self.link
            && !link.say(request)
        {
            link.close();
        }
    }

    fn take(&mut self, reply: Reply) -> Result<Option<Event>, TerminalError> {
        Ok(match reply {
            Reply::Welcome { .. } => {
                self.greeted = true;
                Some(Event::Back)
            }
            Reply::Refused { reason, .. } if !self.greeted => return Err(TerminalError::Refused(reason)),
            Reply::Accepted { event_id, message_id, .. } => self.accepted(&event_id, message_id),
            // Without an event id it speaks of a line; the only one that can have been wrong is the message's.
            Reply::Refused { event_id, reason } => {
                let ours = event_id.is_none_or(|id| self.is_offered(&id));
                if ours && self.offered {
                    self.queue.pop_front();
                    self.offered = false;
                }
                ours.then_some(Event::Refused(reason))
            }
            Reply::Unavailable { event_id, reason } => {
                if event_id.is_some_and(|id| self.is_offered(&id)) {
                    self.offered = false;
                    self.offer_at = Instant::now() + UNAVAILABLE_PAUSE;
                }
                Some(Event::Unavailable(reason))
            }
            Reply::Answer { response_id, message_id, text } => self.answer(response_id, message_id, text),
            Reply::Ended { message_id, state, reason, answer } => self.ended(message_id, state, reason, answer),
            Reply::History { items } => Some(Event::History(items)),
        })
    }

    fn is_offered(&self, event_id: &str) -> bool {
        self.offered && self.queue.front().is_some_and(|outgoing| outgoing.event_id == event_id)
    }

    fn accepted(&mut self, event_id: &str, message_id: MessageId) -> Option<Event> {
        if !self.is_offered(event_id) {
            return None;
        }
        self.offered = false;
        let outgoing = self.queue.pop_front()?;
        // The answer may have overtaken the acceptance.
        if !self.answered.contains(&message_id) {
            self.waiting.push((message_id, outgoing));
        }
        Some(Event::Accepted(message_id))
    }

    fn answer(&mut self, response_id: ResponseId, message_id: MessageId, text: String) -> Option<Event> {
        self.say(Request::Received { response_id });
        let seen = !self.shown.insert(response_id) || self.told.remove(&message_id);
        self.waiting.retain(|(id, _)| *id != message_id);
        self.answered.insert(message_id);
        (!seen).then_some(Event::Answer { message_id, text })
    }

    fn ended(
        &mut self,
        message_id: MessageId,
        state: MessageState,
        reason: Option<String>,
        answer: Option<String>,
    ) -> Option<Event> {
        let at = self.waiting.iter().position(|(id, _)| *id == message_id)?;
        self.waiting.remove(at);
        self.answered.insert(message_id);
        let Some(text) = answer else { return Some(Event::Ended { message_id, state, reason }) };
        self.told.insert(message_id);
        Some(Event::Answer { message_id, text })
    }
}

/// The last thousand of something.
#[derive(Debug)]
struct Recent<T>(VecDeque<T>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: PartialEq> Recent<T> {
    const LIMIT: usize = 1_000;

    fn contains(&self, item: &T) -> bool {
        self.0.contains(item)
    }

    /// False when it is known already.
    fn insert(&mut self, item: T) -> bool {
        if self.0.contains(&item) {
            return false;
        }
        if self.0.len() >= Self::LIMIT {
            self.0.pop_front();
        }
        self.0.push_back(item);
        true
    }

    fn remove(&mut self, item: &T) -> bool {
        let at = self.0.iter().position(|known| known == item);
        at.and_then(|at| self.0.remove(at)).is_some()
    }
}
