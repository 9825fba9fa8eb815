//! The bucket of live settings: one value a key, read by whoever may read that key and no other.
//!
//! A reader needs two rights: a direct get of its own key, and a subscription to that key's subject. The client
//! library's own watch would need the right to create consumers, which cannot be limited to a key. What comes by the
//! subscription is a hint and never a value: it is also sent for a write that the bucket then refuses, and before
//! the bucket has it. So a hint makes the feed read, a few times until there is something new; a new connection and
//! a timer make it read too, so that a lost hint costs half a minute.

use std::time::Duration;

use async_nats::{
    HeaderMap, Message, StatusCode, Subscriber,
    client::{Request, RequestErrorKind},
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_SEQUENCE},
};
use broca_core::subject;
use bytes::Bytes;
use futures::StreamExt;
use rand::Rng;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{Bus, BusError, connect::API_TIMEOUT};

/// How often a feed reads when nothing made it.
const REREAD: Duration = Duration::from_secs(30);
/// How soon it reads again after a failure; doubled up to [`REREAD`].
const RETRY: Duration = Duration::from_secs(1);
/// How soon it reads again after a hint that nothing new came of, doubled so many times; 1.3 s in all.
const HINT: Duration = Duration::from_millis(20);
const HINT_READS: u32 = 6;
/// The bucket was made anew when it has an older revision than was seen, and still has it so many calm reads later.
const BEHIND_READS: u32 = 2;

const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];

/// What the bucket has under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `None` when nobody wrote it, or somebody deleted it.
    pub value: Option<Vec<u8>>,
    /// Grows with each write; 0 when nobody ever wrote.
    pub revision: u64,
}

/// What a feed knows of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The newest that was read; `None` while it could not be read at all.
    pub entry: Option<Entry>,
    /// Why the last read failed. What was read before still holds.
    pub trouble: Option<String>,
}

impl Bus {
    /// What the bucket has under `key`.
    pub async fn setting(&self, key: &str) -> Result<Entry, BusError> {
        let name = format!("DIRECT.GET.{}.{}", subject::STREAM_SETTINGS, subject::of_setting(key));
        let request = Request::new().payload(Bytes::new()).timeout(None);
        let sent = self.inner.client().send_request(format!("{}.{name}", self.inner.api.prefix), request);
        let unavailable = |why: String| BusError::Unavailable(format!("the settings of {key}: {why}"));
        match tokio::time::timeout(API_TIMEOUT, sent).await {
            Ok(Ok(message)) => entry(&message).map_err(unavailable),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                Err(unavailable("there is no bucket for them now; if this stays, run `broca nats apply`".into()))
            }
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable(format!("no answer within {API_TIMEOUT:?} (or this user may not read them)"))),
        }
    }

    /// Writes `value` under `key` if the bucket still has `revision` there (0: nothing); returns the new revision.
    ///
    /// # Errors
    /// [`BusError::Changed`] when it has another one: nothing was written. After [`BusError::Unavailable`] it may
    /// have been: read it to know.
    pub async fn put_setting(&self, key: &str, value: Vec<u8>, revision: u64) -> Result<u64, BusError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
        let request = Request::new().headers(headers).payload(Bytes::from(value)).timeout(None);
        let sent = self.inner.client().send_request(subject::of_setting(key), request);
        let unavailable = |why: String| BusError::Unavailable(format!("the settings of {key}: {why}"));
        match tokio::time::timeout(API_TIMEOUT, sent).await {
            Ok(Ok(message)) => written(key, &message.payload),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                Err(unavailable("there is no bucket for them now; if this stays, run `broca nats apply`".into()))
            }
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable(format!("not acknowledged within {API_TIMEOUT:?} (or this user may not write)"))),
        }
    }

    /// Follows one key for as long as the feed is kept.
    pub fn follow_setting(&self, key: &str) -> SettingsFeed {
        let (sender, known) = watch::channel(Known::default());
        let task = tokio::spawn(follow(self.clone(), key.to_owned(), sender));
        SettingsFeed { known, _task: AbortOnDropHandle::new(task) }
    }
}

fn entry(message: &Message) -> Result<Entry, String> {
    if message.status == Some(StatusCode::NOT_FOUND) {
        return Ok(Entry::default());
    }
    if let Some(status) = message.status {
        return Err(format!("{status} {}", message.description.as_deref().unwrap_or_default()));
    }
    let headers = message.headers.as_ref().ok_or("the answer has no headers")?;
    let revision = headers.get(NATS_SEQUENCE).and_then(|text| text.as_str().parse().ok());
    let deleted = headers.get("KV-Operation").is_some();
    Ok(Entry {
        value: (!deleted).then(|| message.payload.to_vec()),
        revision: revision.ok_or("the answer names no revision")?,
    })
}

fn written(key: &str, payload: &[u8]) -> Result<u64, BusError> {
    let malformed = || BusError::Unavailable(format!("the settings of {key}: the acknowledgement is malformed"));
    let ack: Value = serde_json::from_slice(payload).map_err(|_| malformed())?;
    let Some(error) = ack.get("error") else {
        return ack.get("seq").and_then(Value::as_u64).ok_or_else(malformed);
    };
    let code = error.get("err_code").and_then(Value::as_u64).unwrap_or_default();
    if WRONG_LAST_SEQUENCE.contains(&code) {
        return Err(BusError::Changed { key: key.to_owned() });
    }
    let reason = error.get("description").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
    Err(BusError::Refused { request: format!("the settings of {key}"), code, reason })
}

/// One key of the bucket as it changes.
#[derive(Debug)]
pub struct SettingsFeed {
    known: watch::Receiver<Known>,
    _task: AbortOnDropHandle<()>,
}

impl SettingsFeed {
    /// What is known by now.
    pub fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// Waits until something else is known than at the last call, and returns it. Cancel-safe.
    pub async fn changed(&mut self) -> Known {
        if self.known.changed().await.is_err() {
            // The feed's task ends with the feed alone: there is nothing that could still change.
            std::future::pending::<()>().await;
        }
        self.known.borrow_and_update().clone()
    }

    /// Waits until the key was read once, or reading it failed.
    pub async fn first(&mut self) -> Known {
        let known = self.known.wait_for(|known| known.entry.is_some() || known.trouble.is_some()).await;
        known.map(|known| known.clone()).unwrap_or_default()
    }
}

/// Reads the key now, after every hint, with every new connection and every half minute.
async fn follow(bus: Bus, key: String, known: watch::Sender<Known>) {
    let mut connections = bus.inner.connections.watch();
    let mut hints: Option<Subscriber> = None;
    let mut reading = Reading::default();
    loop {
        if hints.is_none() {
            hints = bus.inner.client().subscribe(subject::of_setting(&key)).await.ok();
        }
        let read = bus.setting(&key).await;
        let pause = reading.next(read, &key, &known);
        let hint = async {
            match &mut hints {
                Some(subscriber) => subscriber.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = connections.changed() => reading.hinted(),
            came = hint => if came { reading.hinted() } else { hints = None },
        }
    }
}

/// When a feed reads next, and what it makes of what it read.
#[derive(Debug, Default)]
struct Reading {
    /// Reads that are left after a hint.
    eager: u32,
    failures: u32,
    behind: u32,
}

impl Reading {
    fn hinted(&mut self) {
        self.eager = HINT_READS;
    }

    /// Takes note of what was read; how long to wait before the next read.
    fn next(&mut self, read: Result<Entry, BusError>, key: &str, known: &watch::Sender<Known>) -> Duration {
        match read {
            Ok(entry) => {
                self.failures = 0;
                if self.take(entry, key, known) {
                    self.eager = 0;
                }
                self.eager.checked_sub(1).map_or_else(
                    || jittered(REREAD),
                    |left| {
                        self.eager = left;
                        HINT * 2_u32.pow(HINT_READS - left - 1)
                    },
                )
            }
            Err(error) => {
                let why = error.to_string();
                known.send_if_modified(|known| {
                    let news = known.trouble.as_deref() != Some(why.as_str());
                    if known.trouble.is_none() {
                        tracing::warn!(key, %error, "live settings cannot be read; the last that are known hold");
                    }
                    known.trouble = Some(why.clone());
                    news
                });
                self.failures = (self.failures + 1).min(10);
                jittered((RETRY * 2_u32.pow(self.failures - 1)).min(REREAD))
            }
        }
    }

    /// Whether it was newer than what is known.
    fn take(&mut self, entry: Entry, key: &str, known: &watch::Sender<Known>) -> bool {
        let seen = known.borrow().entry.as_ref().map(|entry| entry.revision);
        // One of several servers may answer a little behind the others.
        let is_behind = seen.is_some_and(|seen| entry.revision < seen);
        self.behind = if is_behind && self.eager == 0 { self.behind + 1 } else { 0 };
        let is_news = seen.is_none_or(|seen| entry.revision > seen) || self.behind >= BEHIND_READS;
        known.send_if_modified(|known| {
            if known.trouble.take().is_some() {
                tracing::info!(key, "live settings can be read again");
                if !is_news {
                    return true;
                }
            }
            if is_news {
                known.entry = Some(entry);
            }
            is_news
        });
        if is_news {
            self.behind = 0;
        }
        is_news
    }
}

/// All processes lose their connection at once; they need not all read at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.8..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(revision: u64) -> Result<Entry, BusError> {
        Ok(Entry { value: Some(revision.to_string().into_bytes()), revision })
    }

    #[test]
    fn a_hint_makes_it_read_until_there_is_something_new() {
        let (known, mut seen) = watch::channel(Known::default());
        let mut reading = Reading::default();
        assert!(reading.next(at(4), "k", &known) > HINT * 64, "calm");
        reading.hinted();
        let pauses: Vec<Duration> = (0..4).map(|_| reading.next(at(4), "k", &known)).collect();
        assert_eq!(pauses, [HINT, HINT * 2, HINT * 4, HINT * 8]);
        seen.mark_unchanged();
        assert!(reading.next(at(5), "k", &known) > HINT * 64, "calm again");
        assert!(seen.has_changed().unwrap());
        reading.hinted();
        let all: Duration = (0..HINT_READS).map(|_| reading.next(at(5), "k", &known)).sum();
        assert!(all < Duration::from_millis(1_300) && reading.next(at(5), "k", &known) > HINT * 64, "a refused write");
    }

    #[test]
    fn an_older_answer_is_no_news_unless_it_stays() {
        let (known, _) = watch::channel(Known::default());
        let revision = || known.borrow().entry.as_ref().unwrap().revision;
        let mut reading = Reading::default();
        reading.next(at(7), "k", &known);
        reading.hinted();
        reading.next(at(6), "k", &known);
        assert_eq!(revision(), 7, "a server that is behind");
        let mut reading = Reading::default();
        reading.next(at(1), "k", &known);
        assert_eq!(revision(), 7);
        reading.next(at(1), "k", &known);
        assert_eq!(revision(), 1, "the bucket was made anew");
    }

    #[test]
    fn what_was_read_outlives_a_failure() {
        let (known, _) = watch::channel(Known::default());
        let mut reading = Reading::default();
        reading.next(at(7), "k", &known);
        let away = || Err(BusError::Unavailable("away".into()));
        let first = reading.next(away(), "k", &known);
        assert!(first <= RETRY && known.borrow().trouble.as_deref().unwrap().contains("away"));
        assert!((0..20).map(|_| reading.next(away(), "k", &known)).all(|pause| pause <= REREAD));
        assert_eq!(known.borrow().entry.as_ref().unwrap().revision, 7);
        reading.next(at(7), "k", &known);
        assert_eq!(known.borrow().trouble, None);
    }

    #[test]
    fn a_write_that_came_too_late_is_told_from_other_refusals() {
        let late =
            br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"S","seq":0}"#;
        assert!(matches!(written("k", late), Err(BusError::Changed { key }) if key == "k"));
        let full = br#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}"#;
        assert!(matches!(written("k", full), Err(BusError::Refused { code: 10077, .. })));
        assert_eq!(written("k", br#"{"stream":"S","seq":9}"#).unwrap(), 9);
        assert!(written("k", b"{}").unwrap_err().is_transient());
    }
}
