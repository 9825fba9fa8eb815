//! `stream`: answers as they come, as server-sent events. A page that was away says which answer it had last, and gets
//! what it missed first.

use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};

use axum::response::{
    IntoResponse, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures::stream;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    api::Call,
    limits::{Seat, network},
    public::{look, number, response},
    reply::Refused,
    shared::Shared,
    store::News,
};

/// A silent connection is closed by whoever stands between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a page comes back, in its browser's own count.
const RETRY: Duration = Duration::from_secs(2);
/// A stream ends now and then, so that a page that nobody sees any more does not hold one for ever.
const LONGEST: Duration = Duration::from_secs(3600);
/// Messages that end without an answer tell nobody: they are asked after at growing distances.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(15);
/// The next sign comes after four seconds, or none does.
const TYPING: &str = r#"{"for_ms":6000}"#;

pub(super) fn listen(call: Call) -> Result<Response, Refused> {
    let session = call.asked.session()?.to_owned();
    // The browser's own word, when it reconnects by itself, is the newer one.
    let header = call.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let after = number(header.or(call.asked.after.as_deref()))?;
    let seat = call.shared.streams.take(network(call.caller.address));
    let seat = seat.ok_or_else(|| Refused::unavailable("Too many pages listen: ask for responses instead"))?;
    let changed = call.shared.store.listen(&session);
    let heard = *changed.borrow();
    let listener = Listener {
        heard,
        changed,
        shared: call.shared,
        session,
        after,
        ended: HashSet::new(),
        is_first: true,
        distance: FIRST_LOOK,
        until: Instant::now() + LONGEST,
        _seat: seat,
    };
    let events = stream::unfold((listener, Vec::new().into_iter()), next);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // A proxy that collects a reply before it passes it on would pass on nothing.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(response)
}

struct Listener {
    shared: Arc<Shared>,
    session: String,
    changed: watch::Receiver<News>,
    heard: News,
    /// The last answer that the page has.
    after: u64,
    ended: HashSet<u64>,
    is_first: bool,
    distance: Duration,
    until: Instant,
    _seat: Seat,
}

type Waiting = std::vec::IntoIter<Event>;

async fn next(
    (mut listener, mut waiting): (Listener, Waiting),
) -> Option<(Result<Event, Infallible>, (Listener, Waiting))> {
    loop {
        if let Some(event) = waiting.next() {
            return Some((Ok(event), (listener, waiting)));
        }
        waiting = listener.wait().await?.into_iter();
    }
}

impl Listener {
    /// What is new; `None` when the stream should end.
    async fn wait(&mut self) -> Option<Vec<Event>> {
        let shutdown = self.shared.ctx.shutdown.clone();
        if self.is_first {
            self.is_first = false;
            let hello = Event::default().event("ready").retry(RETRY).data("{}");
            return Some([vec![hello], self.news()].concat());
        }
        let has_open = self.shared.store.session(&self.session, |session| session.open().next().is_some());
        let wait = if has_open == Some(true) { self.distance } else { LONGEST };
        let wait = wait.min(self.until.saturating_duration_since(Instant::now()));
        match shutdown.run_until_cancelled(timeout(wait, self.changed.changed())).await? {
            Ok(Ok(())) => {
                let heard = std::mem::replace(&mut self.heard, *self.changed.borrow_and_update());
                if heard.changes == self.heard.changes {
                    return Some(vec![Event::default().event("typing").data(TYPING)]);
                }
                self.distance = FIRST_LOOK;
            }
            Ok(Err(_)) => return None,
            Err(_) if Instant::now() >= self.until => return None,
            Err(_) => {
                self.distance = (self.distance * 2).min(LAST_LOOK);
                shutdown.run_until_cancelled(look(&self.shared, &self.session)).await?;
            }
        }
        Some(self.news())
    }

    fn news(&mut self) -> Vec<Event> {
        let (name, after) = (&self.session, self.after);
        let events = self.shared.store.session(name, |session| {
            let new = session.told.range(after.saturating_add(1)..);
            let told = new.map(|(id, told)| {
                Event::default().event("response").id(id.to_string()).data(response(name, told).to_string())
            });
            let mut events: Vec<Event> = told.collect();
            for (id, state) in session.ended.iter().filter(|(id, _)| !self.ended.contains(id)) {
                let ended = json!({"message_id": id, "state": state});
                events.push(Event::default().event("state").data(ended.to_string()));
            }
            let last = session.told.last_key_value().map_or(0, |(id, _)| *id);
            (events, last, session.ended.keys().copied().collect::<HashSet<u64>>())
        });
        let Some((events, last, ended)) = events else { return Vec::new() };
        if last > after {
            self.after = last;
            // On its way to the page: what gets lost there is asked for again by the number of the last one that came.
            self.shared.store.seen(&self.session, last);
        }
        self.ended = ended;
        events
    }
}
