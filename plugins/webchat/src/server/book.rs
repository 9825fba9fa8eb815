//! What the server knows: its sessions, what was said in them, what was answered. A view for pages and admins: the record of
//! messages and answers is SQL's.

use std::collections::{BTreeMap, HashMap, HashSet};

use broca_core::{MessageId, ResponseKind, Timestamp};
use serde::{Deserialize, Serialize};

/// One change. A change that is there already changes nothing, so a file of them may be read with some twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum Change {
    /// Ids go on from here, also after everything was cleared.
    Next {
        id: u64,
    },
    Session {
        session: String,
        uid: String,
        address: String,
        at: Timestamp,
    },
    Said {
        session: String,
        said: Said,
    },
    Told {
        session: String,
        told: Told,
    },
    /// A message came to an end without an answer.
    Ended {
        session: String,
        id: u64,
        state: String,
    },
    /// Messages that a reply to `inbox` had.
    Handed {
        session: String,
        id: u64,
    },
    /// The session's page has every answer up to this one.
    Seen {
        session: String,
        id: u64,
    },
    Removed {
        session: String,
    },
    Config(Config),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) id: u64,
    pub(super) message: MessageId,
    /// The page's own id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<String>,
    pub(super) text: String,
    pub(super) at: Timestamp,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) id: u64,
    /// What makes it one answer, however often it is handed over.
    pub(super) key: String,
    /// The message that it answers, if it is known here.
    pub(super) message: Option<u64>,
    #[serde(default)]
    pub(super) kind: ResponseKind,
    pub(super) text: String,
    pub(super) at: Timestamp,
}

/// What an admin changed while the server ran. Of a key, its hash alone is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) session_timeout_s: Option<u64>,
    pub(super) api_key: Option<NewKey>,
    pub(super) admin_key: Option<NewKey>,
}

/// A key that stands for the one of the settings, as long as that stays what it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NewKey {
    pub(super) hash: String,
    pub(super) instead_of: String,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) uid: String,
    pub(super) address: String,
    pub(super) created_at: Timestamp,
    pub(super) last_active: Timestamp,
    pub(super) said: BTreeMap<u64, Said>,
    pub(super) told: BTreeMap<u64, Told>,
    pub(super) ended: BTreeMap<u64, String>,
    handed: HashSet<u64>,
    pub(super) seen: u64,
}

impl Session {
    fn new(uid: String, address: String, at: Timestamp) -> Self {
        Self {
            uid,
            address,
            created_at: at,
            last_active: at,
            said: BTreeMap::new(),
            told: BTreeMap::new(),
            ended: BTreeMap::new(),
            handed: HashSet::new(),
            seen: 0,
        }
    }

    /// Messages that were neither answered nor came to another end.
    pub(super) fn open(&self) -> impl DoubleEndedIterator<Item = &Said> {
        let answered: HashSet<u64> = self.told.values().filter_map(|told| told.message).collect();
        self.said.values().filter(move |said| !answered.contains(&said.id) && !self.ended.contains_key(&said.id))
    }

    /// Open, and not handed out by `inbox`.
    pub(super) fn unread(&self) -> impl Iterator<Item = &Said> {
        self.open().filter(|said| !self.handed.contains(&said.id))
    }

    /// There is an answer that its page never got.
    pub(super) fn has_undelivered(&self) -> bool {
        self.told.last_key_value().is_some_and(|(id, _)| *id > self.seen)
    }

    fn touch(&mut self, at: Timestamp) {
        self.last_active = self.last_active.max(at);
    }

    /// Bytes of its texts.
    fn bytes(&self) -> usize {
        let said = self.said.values().map(|said| said.text.len());
        said.chain(self.told.values().map(|told| told.text.len())).sum()
    }

    /// The oldest make room; gives the bytes of their texts, and the keys of answers.
    fn trim(&mut self, max_entries: usize) -> (usize, Vec<String>) {
        let (mut bytes, mut keys) = (0, Vec::new());
        while self.said.len() + self.told.len() > max_entries {
            let said = self.said.first_key_value().map(|(id, _)| *id).unwrap_or(u64::MAX);
            let told = self.told.first_key_value().map(|(id, _)| *id).unwrap_or(u64::MAX);
            if said < told {
                bytes += self.said.remove(&said).map_or(0, |said| said.text.len());
                self.ended.remove(&said);
                self.handed.remove(&said);
            } else if let Some(told) = self.told.remove(&told) {
                bytes += told.text.len();
                keys.push(told.key);
            }
        }
        (bytes, keys)
    }
}

#[derive(Debug)]
pub(super) struct Book {
    pub(super) sessions: HashMap<String, Session>,
    pub(super) config: Config,
    /// Where an answer is, by its key.
    keys: HashMap<String, u64>,
    next: u64,
    last_at: Timestamp,
    /// Of texts.
    pub(super) bytes: usize,
    max_entries: usize,
}

impl Book {
    pub(super) fn new(max_entries: usize) -> Self {
        Self {
            sessions: HashMap::new(),
            config: Config::default(),
            keys: HashMap::new(),
            next: 1,
            last_at: Timestamp(0),
            bytes: 0,
            max_entries,
        }
    }

    /// An id that nothing had before.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The time, later than that of everything before: whoever asks for what came since an entry gets all of it.
    pub(super) fn stamp(&mut self, now: Timestamp) -> Timestamp {
        self.last_at = now.max(Timestamp(self.last_at.micros() + 1));
        self.last_at
    }

    /// The id of the answer with that key.
    pub(super) fn answer(&self, key: &str) -> Option<u64> {
        self.keys.get(key).copied()
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Next { id } => self.next = self.next.max(id),
            Change::Session { session, uid, address, at } => {
                let entry = self.sessions.entry(session).or_insert_with(|| Session::new(uid, address.clone(), at));
                entry.address = address;
                entry.touch(at);
            }
            Change::Said { session, said } => {
                self.used(said.id, said.at);
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.touch(said.at);
                    self.bytes += said.text.len();
                    let before = session.said.insert(said.id, said);
                    self.bytes -= before.map_or(0, |said| said.text.len());
                    let (bytes, keys) = session.trim(self.max_entries);
                    self.forget(bytes, keys);
                }
            }
            Change::Told { session, told } => {
                self.used(told.id, told.at);
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.touch(told.at);
                    self.keys.insert(told.key.clone(), told.id);
                    self.bytes += told.text.len();
                    let before = session.told.insert(told.id, told);
                    self.bytes -= before.map_or(0, |told| told.text.len());
                    let (bytes, keys) = session.trim(self.max_entries);
                    self.forget(bytes, keys);
                }
            }
            Change::Ended { session, id, state } => {
                let known = self.sessions.get_mut(&session).filter(|session| session.said.contains_key(&id));
                drop(known.and_then(|session| session.ended.insert(id, state)));
            }
            Change::Handed { session, id } => {
                let known = self.sessions.get_mut(&session).filter(|session| session.said.contains_key(&id));
                known.map(|session| session.handed.insert(id));
            }
            Change::Seen { session, id } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.seen = session.seen.max(id);
                }
            }
            Change::Removed { session } => {
                if let Some(session) = self.sessions.remove(&session) {
                    let bytes = session.bytes();
                    self.forget(bytes, session.told.into_values().map(|told| told.key).collect());
                }
            }
            Change::Config(config) => self.config = config,
        }
    }

    fn forget(&mut self, bytes: usize, keys: Vec<String>) {
        self.bytes -= bytes;
        for key in keys {
            self.keys.remove(&key);
        }
    }

    fn used(&mut self, id: u64, at: Timestamp) {
        self.next = self.next.max(id.saturating_add(1));
        self.last_at = self.last_at.max(at);
    }

    /// Everything that makes this book, from an empty one on.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes = vec![Change::Next { id: self.next }, Change::Config(self.config.clone())];
        for (name, session) in &self.sessions {
            let name = || name.clone();
            let (uid, address) = (session.uid.clone(), session.address.clone());
            changes.push(Change::Session {
                session: name(),
                uid: uid.clone(),
                address: address.clone(),
                at: session.created_at,
            });
            changes.extend(session.said.values().map(|said| Change::Said { session: name(), said: said.clone() }));
            changes.extend(session.told.values().map(|told| Change::Told { session: name(), told: told.clone() }));
            let ended = session.ended.iter();
            changes.extend(ended.map(|(id, state)| Change::Ended { session: name(), id: *id, state: state.clone() }));
            changes.extend(session.handed.iter().map(|id| Change::Handed { session: name(), id: *id }));
            changes.push(Change::Seen { session: name(), id: session.seen });
            changes.push(Change::Session { session: name(), uid, address, at: session.last_active });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: u64) -> Change {
        let said = Said { id, message: MessageId::new(), client: None, text: "hi".into(), at: Timestamp(id as i64) };
        Change::Said { session: "s".into(), said }
    }

    fn told(id: u64, message: u64) -> Change {
        let (key, kind, at) = (format!("k{id}"), ResponseKind::Answer, Timestamp(id as i64));
        let told = Told { id, key, message: Some(message), kind, text: "yes".into(), at };
        Change::Told { session: "s".into(), told }
    }

    fn session() -> Change {
        Change::Session { session: "s".into(), uid: "u".into(), address: "::1".into(), at: Timestamp(1) }
    }

    #[test]
    fn a_book_is_what_its_changes_make() {
        let mut book = Book::new(100);
        let ended = Change::Ended { session: "s".into(), id: 3, state: "failed".into() };
        let handed = Change::Handed { session: "s".into(), id: 4 };
        for change in [session(), said(1), told(2, 1), said(3), ended, said(4), handed, said(5)] {
            book.apply(change.clone());
            book.apply(change);
        }
        let mut again = Book::new(100);
        for change in book.changes().into_iter().chain(book.changes()) {
            again.apply(change);
        }
        for book in [&book, &again] {
            let session = &book.sessions["s"];
            assert_eq!(session.open().map(|said| said.id).collect::<Vec<_>>(), [4, 5]);
            assert_eq!(session.unread().map(|said| said.id).collect::<Vec<_>>(), [5]);
            assert_eq!((book.answer("k2"), session.has_undelivered()), (Some(2), true));
            assert_eq!((session.created_at, session.last_active), (Timestamp(1), Timestamp(5)));
        }
        assert_eq!((book.next_id(), again.next_id()), (6, 6));
    }

    #[test]
    fn ids_and_times_go_on_when_all_is_cleared() {
        let mut book = Book::new(100);
        for change in [session(), said(1), told(2, 1), Change::Removed { session: "s".into() }] {
            book.apply(change);
        }
        assert!(book.sessions.is_empty() && book.answer("k2").is_none() && book.bytes == 0);
        assert_eq!(book.next_id(), 3);
        assert!(book.stamp(Timestamp(0)) > Timestamp(2));
    }

    #[test]
    fn a_long_chat_loses_its_beginning() {
        let mut book = Book::new(10);
        book.apply(session());
        (1..=30).for_each(|id| book.apply(if id % 2 == 1 { said(id) } else { told(id, id - 1) }));
        let session = &book.sessions["s"];
        assert_eq!((session.said.len(), session.told.len(), book.keys.len()), (5, 5, 5));
        assert_eq!((session.bytes(), book.bytes), (5 * 2 + 5 * 3, 5 * 2 + 5 * 3));
        assert!(session.said.contains_key(&29) && session.told.contains_key(&30));
    }
}
