//! The updates that wait for the bot.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Updates {
    waiting: VecDeque<Waiting>,
    next: i64,
    /// Of the poll before: its offset, and when it came.
    last_poll: Option<(i64, Instant)>,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) id: i64,
    /// Calls of a webhook keep the order within a chat.
    pub(super) chat: i64,
    pub(super) update: Value,
}

impl Updates {
    pub(super) fn new(first: i64) -> Self {
        Self { waiting: VecDeque::new(), next: first, last_poll: None }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, chat: i64, what: &str, value: Value) -> i64 {
        let id = self.next;
        self.next += 1;
        self.waiting.push_back(Waiting { id, chat, update: json!({"update_id": id, what: value}) });
        id
    }

    pub(super) fn jump(&mut self, next: i64) {
        self.next = next;
    }

    /// A poll begins: what is below its offset is confirmed, at once, also when it then waits.
    pub(super) fn confirm(&mut self, offset: i64) -> usize {
        let before = self.waiting.len();
        if offset < 0 {
            let keep = usize::try_from(-offset).unwrap_or(usize::MAX);
            self.waiting.drain(..before.saturating_sub(keep));
        } else {
            self.waiting.retain(|waiting| waiting.id >= offset);
        }
        before - self.waiting.len()
    }

    pub(super) fn page(&self, limit: usize) -> Vec<Value> {
        self.waiting.iter().take(limit).map(|waiting| waiting.update.clone()).collect()
    }

    /// Whoever asks the same again at once gets one update alone.
    pub(super) fn limit(&mut self, offset: i64, limit: usize) -> usize {
        let hasty =
            self.last_poll.is_some_and(|(before, at)| before == offset && at.elapsed() < Duration::from_millis(500));
        self.last_poll = Some((offset, Instant::now()));
        if hasty { 1 } else { limit }
    }

    /// The first of each chat that is not under way.
    pub(super) fn heads(&self, under_way: &[i64]) -> Vec<Waiting> {
        let mut chats: Vec<i64> = Vec::new();
        let mut heads = Vec::new();
        for waiting in &self.waiting {
            if !chats.contains(&waiting.chat) {
                chats.push(waiting.chat);
                if !under_way.contains(&waiting.id) {
                    heads.push(waiting.clone());
                }
            }
        }
        heads
    }

    pub(super) fn done(&mut self, id: i64) {
        self.waiting.retain(|waiting| waiting.id != id);
    }
}
