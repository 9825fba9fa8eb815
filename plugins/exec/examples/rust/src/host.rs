//! The other end of standard input and output: one JSON object a line.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use serde_json::Value;

/// Who waits for an answer: to a question of ours, or to whether a part is on record. `None` once no answer comes any more.
type Waiting = Option<HashMap<(bool, u64), mpsc::Sender<Value>>>;

pub struct Host {
    asked: AtomicU64,
    waiting: Mutex<Waiting>,
}

impl Host {
    pub fn new() -> Self {
        Self { asked: AtomicU64::new(0), waiting: Mutex::new(Some(HashMap::new())) }
    }

    /// Says a line. A host that is gone hears nothing, and our input ends.
    pub fn say(&self, kind: &str, mut fields: Value) {
        fields["v"] = 1.into();
        fields["type"] = kind.into();
        drop(writeln!(io::stdout().lock(), "{fields}"));
    }

    /// Asks, and waits for the answer; `None` when none comes any more.
    pub fn ask(&self, kind: &str, mut fields: Value) -> Option<Value> {
        let id = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        fields["id"] = id.into();
        self.wait_for((false, id), kind, fields)
    }

    /// Notes a part of an answer; whether it is on record.
    pub fn part_is_recorded(&self, part: Value) -> bool {
        let id = part["id"].as_u64().unwrap_or_default();
        self.wait_for((true, id), "part", part).is_some_and(|answer| answer["type"] == "part_recorded")
    }

    fn wait_for(&self, key: (bool, u64), kind: &str, fields: Value) -> Option<Value> {
        let (sender, answer) = mpsc::channel();
        self.lock().as_mut()?.insert(key, sender);
        self.say(kind, fields);
        answer.recv().ok()
    }

    /// Hands an answer to whoever waits for it.
    pub fn hear(&self, told: Value) {
        let of_part = told["type"].as_str().is_some_and(|kind| kind.starts_with("part_"));
        let waiting = told["id"].as_u64().and_then(|id| self.lock().as_mut()?.remove(&(of_part, id)));
        if let Some(waiting) = waiting {
            drop(waiting.send(told));
        }
    }

    /// No answer comes any more.
    pub fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
