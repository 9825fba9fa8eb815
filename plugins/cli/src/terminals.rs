//! The terminals that are connected now, and how an answer reaches one of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broca_core::{MessageId, Response, ResponseId};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::protocol::{MAX_WAITING, Reply};

/// A terminal says `received` within this time, or it counts as hung and is disconnected.
pub(crate) const RECEIPT_TIMEOUT: Duration = Duration::from_secs(5);

/// After this time no further terminal is tried: a delivery has a limit of its own, and the mailbox has the answer.
const SHOW_TIMEOUT: Duration = Duration::from_secs(8);
/// The longest pause between two questions about a message.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// All connected terminals, by person, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Terminals {
    seats: Mutex<HashMap<String, Vec<Arc<Seat>>>>,
}

impl Terminals {
    /// Takes a place for a terminal of `user` until the guard is dropped.
    pub(crate) fn take_seat(&self, user: String, follow: bool, replies: mpsc::Sender<Reply>) -> Seated<'_> {
        let seat = Arc::new(Seat::new(user, follow, replies));
        held(&self.seats).entry(seat.user.clone()).or_default().push(Arc::clone(&seat));
        Seated { terminals: self, seat }
    }

    /// Shows an answer at one terminal of `user`. False when there is none that took it.
    pub(crate) async fn show(&self, user: &str, response: &Response, message_id: MessageId) -> bool {
        let deadline = Instant::now() + SHOW_TIMEOUT;
        for seat in self.candidates(user, message_id) {
            if Instant::now() >= deadline {
                break;
            }
            if seat.hand_over(response, message_id).await {
                return true;
            }
        }
        false
    }

    /// The terminals that wait for this very answer, then those that want any; the newest first.
    fn candidates(&self, user: &str, message_id: MessageId) -> Vec<Arc<Seat>> {
        let seats = held(&self.seats);
        let of_user = || seats.get(user).into_iter().flatten().rev();
        let waiting = of_user().filter(|seat| seat.waits_for(message_id));
        let following = of_user().filter(|seat| seat.follow && !seat.waits_for(message_id));
        waiting.chain(following).cloned().collect()
    }
}

/// A terminal's place; leaving it is dropping this.
#[derive(Debug)]
pub(crate) struct Seated<'a> {
    terminals: &'a Terminals,
    pub(crate) seat: Arc<Seat>,
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.seat.closed.cancel();
        let mut seats = held(&self.terminals.seats);
        if let Some(of_user) = seats.get_mut(&self.seat.user) {
            of_user.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
            if of_user.is_empty() {
                seats.remove(&self.seat.user);
            }
        }
    }
}

/// One connected terminal.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) user: String,
    follow: bool,
    pub(crate) replies: mpsc::Sender<Reply>,
    /// Set when the connection is to end, or has ended.
    pub(crate) closed: CancellationToken,
    waiting: Mutex<HashMap<MessageId, Waiting>>,
    /// Rung when somebody begins to wait.
    pub(crate) begins: Notify,
    receipts: Mutex<HashMap<ResponseId, oneshot::Sender<()>>>,
}

/// A message whose end this terminal waits for, and when to ask for it next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) due: Instant,
    pub(crate) pause: Duration,
    /// How long an answer that exists may still be on its way to [`Seat::hand_over`].
    pub(crate) grace: Duration,
}

impl Waiting {
    /// The same, asked about later: each pause is half as long again as the one before, up to a limit.
    pub(crate) fn later(self) -> Self {
        let pause = (self.pause + self.pause / 2).min(LONGEST_PAUSE);
        Self { due: Instant::now() + pause, pause, ..self }
    }
}

impl Seat {
    fn new(user: String, follow: bool, replies: mpsc::Sender<Reply>) -> Self {
        Self {
            user,
            follow,
            replies,
            closed: CancellationToken::new(),
            waiting: Mutex::default(),
            begins: Notify::new(),
            receipts: Mutex::default(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        held(&self.waiting).len() >= MAX_WAITING
    }

    pub(crate) fn wait_for(&self, message: MessageId, waiting: Waiting) {
        held(&self.waiting).insert(message, waiting);
        self.begins.notify_one();
    }

    pub(crate) fn stop_waiting(&self, message: MessageId) -> bool {
        held(&self.waiting).remove(&message).is_some()
    }

    /// Puts off the next question about `message`, unless nobody waits for it any more.
    pub(crate) fn put_off(&self, message: MessageId, waiting: Waiting) {
        if let Some(entry) = held(&self.waiting).get_mut(&message) {
            *entry = waiting;
        }
    }

    fn waits_for(&self, message: MessageId) -> bool {
        held(&self.waiting).contains_key(&message)
    }

    /// The messages to ask about now; `None` when nothing is waited for.
    pub(crate) fn due(&self, now: Instant) -> Option<Vec<(MessageId, Waiting)>> {
        let waiting = held(&self.waiting);
        let due = waiting.iter().filter(|(_, w)| w.due <= now).map(|(id, w)| (*id, *w));
        (!waiting.is_empty()).then(|| due.collect())
    }

    /// The terminal says that it has an answer.
    pub(crate) fn received(&self, response: ResponseId) {
        let waiting = held(&self.receipts).remove(&response);
        if waiting.is_some_and(|waiting| waiting.send(()).is_err()) {
            tracing::debug!(%response, "a receipt came too late; the answer is in the mailbox");
        }
    }

    /// Sends an answer and waits for its receipt. A terminal that does not give it in time is disconnected; it will
    /// come back and ask.
    async fn hand_over(&self, response: &Response, message_id: MessageId) -> bool {
        let (receipt, received) = oneshot::channel();
        held(&self.receipts).insert(response.id, receipt);
        let answer = Reply::Answer { response_id: response.id, message_id, text: response.text.clone() };
        let shown = async { self.replies.send(answer).await.is_ok() && received.await.is_ok() };
        let shown = self.closed.run_until_cancelled(timeout(RECEIPT_TIMEOUT, shown)).await;
        held(&self.receipts).remove(&response.id);
        match shown {
            Some(Ok(true)) => {
                self.stop_waiting(message_id);
                true
            }
            Some(Err(_)) => {
                tracing::info!(response = %response.id, "a terminal took no answer in time and is disconnected");
                self.closed.cancel();
                false
            }
            Some(Ok(false)) | None => false,
        }
    }
}

/// Nothing here can be left half-done by a panic.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
