//! The events of one run, and the streams that show them.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::wire;

pub(super) const DONE: &str = "data: [DONE]\n\n";

/// What a run has said so far. Kept after the run's end, for those who come late.
#[derive(Debug)]
pub(super) struct Feed {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Bytes>,
    closed: bool,
    forgotten: bool,
}

impl Feed {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), changed: watch::Sender::new(0) })
    }

    /// A feed that is over, as a journal kept it.
    pub(super) fn replayed(events: Vec<String>) -> Arc<Self> {
        let inner = Inner { events: events.into_iter().map(Bytes::from).collect(), closed: true, forgotten: false };
        Arc::new(Self { inner: Mutex::new(inner), changed: watch::Sender::new(0) })
    }

    /// Adds an event under the next sequence number; a feed that is closed stays as it is.
    pub(super) fn push(&self, mut event: Value) {
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        if let Some(seq) = event.get_mut("seq_id") {
            *seq = json!(inner.events.len() + 1);
        }
        inner.events.push(Bytes::from(wire::event(&event)));
        drop(inner);
        self.changed.send_modify(|version| *version += 1);
    }

    pub(super) fn close(&self, last: Option<&'static str>) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.events.extend(last.map(|last| Bytes::from_static(last.as_bytes())));
            inner.closed = true;
        }
        drop(inner);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Lets go of the events of a run that nobody will ask for any more.
    pub(super) fn forget(&self) {
        let mut inner = self.lock();
        inner.events = Vec::new();
        inner.forgotten = true;
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.lock().forgotten
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.lock().events.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect()
    }

    fn after(&self, seen: usize) -> (Vec<Bytes>, bool) {
        let inner = self.lock();
        (inner.events.get(seen..).unwrap_or_default().to_vec(), inner.closed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How one listener is shown a feed.
#[derive(Clone, Debug)]
pub(super) struct Showing {
    pub(super) run: String,
    pub(super) background: bool,
    pub(super) from: usize,
    pub(super) ping_every: Duration,
    pub(super) pings_only: bool,
    pub(super) without_done: bool,
    /// The connection is cut after this many events.
    pub(super) cut_after: Option<u64>,
}

struct Listener {
    feed: Arc<Feed>,
    changes: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    showing: Showing,
    seen: usize,
    shown: u64,
    next_ping: Instant,
}

/// The response that shows `feed` until it is closed.
pub(super) fn stream(feed: Arc<Feed>, showing: Showing, stopped: watch::Receiver<bool>) -> Response {
    let listener = Listener {
        changes: feed.changed.subscribe(),
        feed,
        stopped,
        seen: showing.from,
        shown: 0,
        next_ping: Instant::now() + showing.ping_every,
        showing,
    };
    let chunks = futures::stream::unfold(Some(listener), |listener| async {
        let mut listener = listener?;
        match listener.next().await {
            Some(Ok(chunk)) => Some((Ok(chunk), Some(listener))),
            Some(Err(cut)) => Some((Err(cut), None)),
            None => None,
        }
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(chunks)).into_response()
}

impl Listener {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if self.showing.cut_after.is_some_and(|events| self.shown >= events) {
                return Some(Err(io::Error::other("cut by the script")));
            }
            let (ready, closed) = self.feed.after(self.seen);
            if !ready.is_empty() && !self.showing.pings_only {
                return self.show(&ready);
            }
            if closed && !self.showing.pings_only {
                return None;
            }
            tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => {
                    return Some(Err(io::Error::other("the server was killed")));
                }
                () = tokio::time::sleep_until(self.next_ping) => {
                    self.next_ping += self.showing.ping_every;
                    let run = self.showing.background.then_some(self.showing.run.as_str());
                    return Some(Ok(Bytes::from(wire::event(&wire::ping(run)))));
                }
                changed = self.changes.changed(), if !self.showing.pings_only => {
                    // The feed keeps its sender as long as this listener keeps the feed.
                    changed.ok()?;
                }
            }
        }
    }

    fn show(&mut self, ready: &[Bytes]) -> Option<io::Result<Bytes>> {
        let room = self.showing.cut_after.map_or(u64::MAX, |events| events - self.shown);
        let mut chunk = Vec::with_capacity(ready.iter().map(Bytes::len).sum());
        for event in ready.iter().take(usize::try_from(room).unwrap_or(usize::MAX)) {
            self.seen += 1;
            self.shown += 1;
            if !(self.showing.without_done && event == DONE.as_bytes()) {
                chunk.extend_from_slice(event);
            }
        }
        Some(Ok(Bytes::from(chunk)))
    }
}
