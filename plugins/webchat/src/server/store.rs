//! The book and its file as one: a change is made in memory, and is safe when its line is synced.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use broca_core::{Clock, MessageId, ResponseKind, SystemClock, Timestamp};
use tokio::sync::{oneshot, watch};

use super::{
    book::{Book, Change, Config, Said, Session, Told},
    journal::{self, JournalError, Line, Lines},
};

pub(super) struct Store {
    book: Arc<Mutex<Book>>,
    lines: Lines,
    /// Pages that listen, by session.
    listeners: Mutex<HashMap<String, watch::Sender<News>>>,
    bounds: Bounds,
}

/// What a page is woken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Counts what was said and told.
    pub(super) changes: u64,
    /// Counts the signs that an agent works on an answer.
    pub(super) signs: u64,
}

/// How much is kept at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) sessions: usize,
    /// Of one session.
    pub(super) entries: usize,
    /// Of texts.
    pub(super) bytes: usize,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the file of chats cannot be written; the log says why")]
pub(super) struct NotKept;

/// Who a session is.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) session: String,
    pub(super) uid: String,
    pub(super) address: String,
}

/// A message that the pipeline has accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) message: MessageId,
    pub(super) client: Option<String>,
    pub(super) text: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    pub(super) fn open(path: &Path, bounds: Bounds) -> Result<Self, JournalError> {
        let (book, writer) = journal::open(path, bounds.entries)?;
        let book = Arc::new(Mutex::new(book));
        let snapshot = book.clone();
        let lines = writer
            .start(Arc::new(move || lock(&snapshot).changes()))
            .map_err(|error| JournalError::Io { path: path.display().to_string(), error })?;
        Ok(Self { book, lines, listeners: Mutex::default(), bounds })
    }

    /// Looks at the book.
    pub(super) fn see<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&lock(&self.book))
    }

    pub(super) fn session<T>(&self, session: &str, look: impl FnOnce(&Session) -> T) -> Option<T> {
        self.see(|book| book.sessions.get(session).map(look))
    }

    /// Makes the changes, in one go; what is given is told once they are synced.
    fn change(&self, make: impl FnOnce(&mut Book) -> Vec<Change>) -> oneshot::Receiver<bool> {
        let (done, synced) = oneshot::channel();
        let mut done = Some(done);
        let mut book = lock(&self.book);
        let changes = make(&mut book);
        let last = changes.len().saturating_sub(1);
        for (at, change) in changes.into_iter().enumerate() {
            book.apply(change.clone());
            let done = if at == last { done.take() } else { None };
            // The writer ends after the last sender, and this is one.
            drop(self.lines.send(Line { change: Some(change), done }));
        }
        // Nothing new: what was there may still wait for its sync.
        if done.is_some() {
            drop(self.lines.send(Line { change: None, done }));
        }
        drop(book);
        synced
    }

    async fn kept(&self, synced: oneshot::Receiver<bool>) -> Result<(), NotKept> {
        if synced.await.unwrap_or(false) { Ok(()) } else { Err(NotKept) }
    }

    /// A message of a visitor's. It is the pipeline's already, so it counts as said even where the file cannot be written.
    pub(super) async fn said(&self, visitor: &Visitor, accepted: Accepted) -> (u64, Timestamp, bool) {
        let mut outcome = (0, Timestamp(0), false);
        let synced = self.change(|book| {
            let known = book.sessions.get(&visitor.session);
            let is_new_user = !book.sessions.values().any(|session| session.uid == visitor.uid);
            if let Some(said) = known.and_then(|s| s.said.values().find(|said| said.message == accepted.message)) {
                outcome = (said.id, said.at, false);
                return Vec::new();
            }
            let mut changes = room(book, self.bounds, &visitor.session);
            let (id, at) = (book.next_id(), book.stamp(SystemClock.now()));
            outcome = (id, at, is_new_user);
            changes.push(session(visitor, at));
            let Accepted { message, client, text } = accepted;
            changes
                .push(Change::Said { session: visitor.session.clone(), said: Said { id, message, client, text, at } });
            changes
        });
        // It is not told to be kept here: that the pipeline has it is enough.
        drop(self.kept(synced).await);
        self.tell(&visitor.session);
        outcome
    }

    /// An answer; `key` is what makes it one. Gives its id once it is on disk.
    pub(super) async fn told(
        &self,
        visitor: &Visitor,
        (key, kind): (&str, ResponseKind),
        message: impl FnOnce(&Session) -> Option<u64>,
        text: &str,
    ) -> Result<(u64, Timestamp), NotKept> {
        let mut outcome = (0, Timestamp(0));
        let synced = self.change(|book| {
            let known = book.sessions.get(&visitor.session);
            if let Some(id) = book.answer(key) {
                let at = known.and_then(|session| session.told.get(&id)).map_or(Timestamp(0), |told| told.at);
                outcome = (id, at);
                return Vec::new();
            }
            let message = known.and_then(message);
            let mut changes = room(book, self.bounds, &visitor.session);
            let (id, at) = (book.next_id(), book.stamp(SystemClock.now()));
            outcome = (id, at);
            if !book.sessions.contains_key(&visitor.session) {
                changes.push(session(visitor, at));
            }
            let told = Told { id, key: key.to_owned(), message, kind, text: text.to_owned(), at };
            changes.push(Change::Told { session: visitor.session.clone(), told });
            changes
        });
        self.kept(synced).await?;
        self.tell(&visitor.session);
        Ok(outcome)
    }

    /// Whether the answer with that key is here, on disk.
    pub(super) async fn has(&self, key: &str) -> Result<Option<u64>, NotKept> {
        let synced = self.change(|_| Vec::new());
        self.kept(synced).await?;
        Ok(self.see(|book| book.answer(key)))
    }

    /// A message came to an end without an answer.
    pub(super) fn ended(&self, session: &str, id: u64, state: &str) {
        drop(self.change(|_| vec![Change::Ended { session: session.to_owned(), id, state: state.to_owned() }]));
        self.tell(session);
    }

    /// Its page has every answer up to this one.
    pub(super) fn seen(&self, session: &str, id: u64) {
        let is_news = self.session(session, |session| id > session.seen).unwrap_or(false);
        if is_news {
            drop(self.change(|_| vec![Change::Seen { session: session.to_owned(), id }]));
        }
    }

    /// Marks messages as handed out, before anybody gets them.
    pub(super) async fn handed(&self, messages: &[(String, u64)]) -> Result<(), NotKept> {
        let changes =
            messages.iter().map(|(session, id)| Change::Handed { session: session.clone(), id: *id }).collect();
        let synced = self.change(|_| changes);
        self.kept(synced).await
    }

    /// Forgets the sessions that `wanted` names; gives how many.
    pub(super) async fn remove(&self, wanted: impl Fn(&Session) -> bool) -> Result<usize, NotKept> {
        let mut count = 0;
        let synced = self.change(|book| {
            let gone = book.sessions.iter().filter(|(_, session)| wanted(session));
            let changes: Vec<_> = gone.map(|(name, _)| Change::Removed { session: name.clone() }).collect();
            count = changes.len();
            changes
        });
        self.kept(synced).await.map(|()| count)
    }

    pub(super) async fn configure(&self, change: impl FnOnce(&mut Config)) -> Result<(), NotKept> {
        let synced = self.change(|book| {
            let mut config = book.config.clone();
            change(&mut config);
            vec![Change::Config(config)]
        });
        self.kept(synced).await
    }

    /// Hears of every change of a session from now on.
    pub(super) fn listen(&self, session: &str) -> watch::Receiver<News> {
        let mut listeners = lock(&self.listeners);
        listeners.retain(|_, listener| listener.receiver_count() > 0);
        listeners.entry(session.to_owned()).or_insert_with(|| watch::channel(News::default()).0).subscribe()
    }

    /// Something of the session changed.
    pub(super) fn tell(&self, session: &str) {
        if let Some(listener) = lock(&self.listeners).get(session) {
            listener.send_modify(|news| news.changes += 1);
        }
    }

    /// An agent works on an answer to that message: pages of its session that listen are told.
    pub(super) fn typing(&self, uid: &str, message: MessageId) {
        let session = self.see(|book| {
            let mut own = book.sessions.iter().filter(|(_, session)| session.uid == uid);
            own.find(|(_, session)| session.open().any(|said| said.message == message)).map(|(name, _)| name.clone())
        });
        let listeners = lock(&self.listeners);
        if let Some(listener) = session.and_then(|session| listeners.get(&session)) {
            listener.send_modify(|news| news.signs += 1);
        }
    }
}

fn session(visitor: &Visitor, at: Timestamp) -> Change {
    let Visitor { session, uid, address } = visitor.clone();
    Change::Session { session, uid, address, at }
}

/// What has to go before one more entry of `guest` fits: a tenth at once, so that this is not done for each. First those
/// that were inactive the longest, and whose pages have everything.
fn room(book: &Book, bounds: Bounds, guest: &str) -> Vec<Change> {
    let is_new = !book.sessions.contains_key(guest);
    if book.bytes < bounds.bytes && (book.sessions.len() < bounds.sessions || !is_new) {
        return Vec::new();
    }
    let others = book.sessions.iter().filter(|(name, _)| *name != guest);
    let mut by_age: Vec<_> =
        others.map(|(name, session)| (session.has_undelivered(), session.last_active, name)).collect();
    by_age.sort_unstable();
    let gone = by_age.into_iter().take(book.sessions.len() / 10 + 1);
    tracing::warn!(
        sessions = book.sessions.len(),
        bytes = book.bytes,
        "as much as is kept: the oldest tenth is forgotten; the limits are server.max_sessions and server.max_mib"
    );
    gone.map(|(.., name)| Change::Removed { session: name.clone() }).collect()
}
