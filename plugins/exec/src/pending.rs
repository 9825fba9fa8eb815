//! The host's questions that the program has not answered yet.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;

use crate::protocol::FromChild;

/// Answers to one question that nobody has read yet; more are a flood.
const UNREAD: usize = 16;

/// `None` once the session is over: nothing is asked any more.
type Open = Option<HashMap<u64, mpsc::Sender<FromChild>>>;

#[derive(Debug)]
pub(crate) struct Pending {
    open: Mutex<Open>,
    last: AtomicU64,
}

/// A question under way. Dropping it forgets it: a later answer is dropped, too.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: u64,
    answers: mpsc::Receiver<FromChild>,
    /// Set before the first byte of it goes to the program.
    pub(crate) written: Arc<AtomicBool>,
    pending: Arc<Pending>,
}

impl Pending {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { open: Mutex::new(Some(HashMap::new())), last: AtomicU64::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when the session is over.
    pub(crate) fn ask(self: &Arc<Self>) -> Option<Question> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answers) = mpsc::channel(UNREAD);
        self.lock().as_mut()?.insert(id, sender);
        Some(Question { id, answers, written: Arc::default(), pending: Arc::clone(self) })
    }

    /// Hands an answer over; whether anybody waits for it.
    pub(crate) fn answer(&self, id: u64, answer: FromChild) -> bool {
        self.lock().as_ref().and_then(|open| open.get(&id)).is_some_and(|waiting| waiting.try_send(answer).is_ok())
    }

    /// Everybody who waits is told that no answer comes.
    pub(crate) fn close(&self) {
        *self.lock() = None;
    }
}

impl Question {
    /// `None` when the program is gone.
    pub(crate) async fn answer(&mut self) -> Option<FromChild> {
        self.answers.recv().await
    }

    /// Whether the program may have read it.
    pub(crate) fn was_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(open) = self.pending.lock().as_mut() {
            open.remove(&self.id);
        }
    }
}
