//! The rows of a scripted Letta: conversations, runs, messages, remembered keys, locks.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::Arc,
};

use broca_core::{Clock, SystemClock, Timestamp, attachment::Content};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    blocks::Shelves,
    feed::Feed,
    journal::{Entry, Lines},
    script::{Behaviour, LettaScript},
    wire,
};

/// Finished runs whose events are kept for replay. The real server keeps them for three hours.
const KEEP_FEEDS: usize = 20_000;

/// An image that came with a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownImage {
    pub media_type: String,
    pub data: Content,
}

/// A turn that really ran, as the turn log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnLine {
    pub conversation: String,
    pub otid: Option<String>,
    pub run_id: String,
    pub text: String,
    /// As the message named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ShownImage>,
    pub reply: String,
    /// Microseconds since the Unix epoch.
    pub started_at_us: i64,
    pub finished_at_us: i64,
    /// The blocks that its prompt had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) agent_id: String,
    pub(super) summary: Option<String>,
    pub(super) at: Timestamp,
    pub(super) messages: Vec<Stored>,
    pub(super) runs: Vec<String>,
    /// The run that holds the conversation.
    pub(super) lock: Option<String>,
    pub(super) pending: Option<Pending>,
    /// The blocks in its prompt, as they were when it was compiled.
    pub(super) memory: Vec<String>,
}

/// The approval that a conversation waits for.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) message: String,
    pub(super) call: String,
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) run: String,
    pub(super) json: Box<str>,
}

#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) conversation: String,
    pub(super) background: bool,
    pub(super) status: String,
    pub(super) stop_reason: Option<String>,
    pub(super) error: Option<String>,
    pub(super) at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) feed: Arc<Feed>,
    /// The process that worked on it died.
    pub(super) orphan: bool,
}

impl RunRow {
    pub(super) fn is_active(&self) -> bool {
        matches!(self.status.as_str(), "created" | "running")
    }

    pub(super) fn json(&self, id: &str, agent: &str) -> Value {
        json!({
            "id": id, "agent_id": agent, "status": self.status, "stop_reason": self.stop_reason,
            "created_at": wire::date(self.at), "completed_at": self.ended_at.map(wire::date),
            "conversation_id": self.conversation, "background": self.background,
            "metadata": self.error.as_ref().map(|error| json!({"error": error})),
        })
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) script: LettaScript,
    pub(super) conversations: HashMap<String, Conversation>,
    pub(super) runs: HashMap<String, RunRow>,
    /// Which run a key belongs to. Only a Redis remembers keys.
    pub(super) keys: HashMap<String, String>,
    pub(super) turns: Vec<TurnLine>,
    /// Messages of users that arrived, refused and repeated ones included.
    pub(super) arrived: usize,
    pub(super) shelves: Shelves,
    marked: HashMap<u64, u64>,
    finished: VecDeque<String>,
    random: StdRng,
    journal: Lines,
    turn_log: Lines,
}

impl State {
    pub(super) fn new(script: LettaScript) -> io::Result<Self> {
        let (journal, entries) = Lines::open(script.journal.as_deref())?;
        let (turn_log, turns) = Lines::open(script.turn_log.as_deref())?;
        let mut state = Self {
            conversations: HashMap::new(),
            runs: HashMap::new(),
            keys: HashMap::new(),
            turns,
            arrived: 0,
            shelves: Shelves::default(),
            marked: HashMap::new(),
            finished: VecDeque::new(),
            random: StdRng::seed_from_u64(script.seed),
            journal,
            turn_log,
            script,
        };
        for entry in entries {
            state.apply(entry);
        }
        state.after_restart();
        Ok(state)
    }

    /// A change that must outlive the process: into the file, then into memory.
    pub(super) fn record(&mut self, entry: Entry) {
        self.journal.append(&entry);
        self.apply(entry);
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Conversation { id, agent_id, summary, at } => {
                let (messages, runs, memory) = (Vec::new(), Vec::new(), self.shelves.prompt(&agent_id));
                let row = Conversation { agent_id, summary, at, messages, runs, lock: None, pending: None, memory };
                self.conversations.insert(id, row);
            }
            Entry::Block(change) => self.shelves.apply(change),
            Entry::Compiled { conversation, memory } => {
                if let Some(row) = self.conversations.get_mut(&conversation) {
                    row.memory = memory;
                }
            }
            Entry::Deleted { conversation } => {
                self.conversations.remove(&conversation);
            }
            Entry::RunStarted { id, conversation, otid, background, at } => {
                let feed = Feed::new();
                if background {
                    feed.push(wire::ping(Some(&id)));
                }
                if let Some(row) = self.conversations.get_mut(&conversation) {
                    row.runs.push(id.clone());
                    row.lock = self.script.redis.then(|| id.clone());
                }
                if let Some(key) = otid.filter(|_| background) {
                    self.keys.insert(key, id.clone());
                }
                let (status, stop_reason, error, ended_at) = ("running".to_owned(), None, None, None);
                let row =
                    RunRow { conversation, background, status, stop_reason, error, at, ended_at, feed, orphan: false };
                self.runs.insert(id, row);
            }
            Entry::Message { conversation, run, id, json } => {
                if let Some(row) = self.conversations.get_mut(&conversation) {
                    row.messages.push(Stored { id, run, json: json.into() });
                }
            }
            Entry::Pending { conversation, message, call } => {
                if let Some(row) = self.conversations.get_mut(&conversation) {
                    row.pending = call.map(|call| Pending { message, call });
                }
            }
            Entry::RunEnded { id, status, stop_reason, error, at, events } => {
                self.unlock(&id);
                if let Some(row) = self.runs.get_mut(&id) {
                    (row.status, row.stop_reason, row.error, row.ended_at) = (status, stop_reason, error, Some(at));
                    if !events.is_empty() {
                        row.feed = Feed::replayed(events);
                    }
                    self.finished.push_back(id);
                }
            }
        }
    }

    /// Ends a run. Its feed is complete by then, and so is what is kept of it.
    pub(super) fn end_run(&mut self, id: &str, status: &str, stop_reason: Option<&str>, error: Option<String>) {
        let Some(row) = self.runs.get_mut(id).filter(|row| row.is_active()) else { return };
        let feed = Arc::clone(&row.feed);
        let (status, stop_reason) = (status.to_owned(), stop_reason.map(str::to_owned));
        let events = if self.script.journal.is_some() { feed.texts() } else { Vec::new() };
        let entry = Entry::RunEnded { id: id.to_owned(), status, stop_reason, error, at: SystemClock.now(), events };
        self.journal.append(&entry);
        if let Entry::RunEnded { id, status, stop_reason, error, at, .. } = entry {
            // Those who listen hold the feed that is there; only a restart reads it back.
            self.apply(Entry::RunEnded { id, status, stop_reason, error, at, events: Vec::new() });
        }
        if self.finished.len() > KEEP_FEEDS
            && let Some(old) = self.finished.pop_front().and_then(|id| self.runs.get(&id))
        {
            old.feed.forget();
        }
    }

    pub(super) fn unlock(&mut self, run: &str) {
        let conversation = self.runs.get(run).map(|row| row.conversation.clone());
        if let Some(row) = conversation.and_then(|id| self.conversations.get_mut(&id))
            && row.lock.as_deref() == Some(run)
        {
            row.lock = None;
        }
    }

    /// A turn that really ran.
    pub(super) fn ran(&mut self, line: TurnLine) {
        self.turn_log.append(&line);
        self.turns.push(line);
    }

    pub(super) fn draw_ms(&mut self) -> u64 {
        let (min, max) = (self.script.min_ms, self.script.max_ms.max(self.script.min_ms));
        self.random.random_range(min..=max)
    }

    /// What happens to the next message: what its text asks for, or else what the script has in store.
    pub(super) fn next_behaviour(&mut self, conversation: &str, text: &str) -> Behaviour {
        if let Some((behaviour, times)) = Behaviour::marked(text) {
            let mut hasher = DefaultHasher::new();
            (conversation, text).hash(&mut hasher);
            let met = self.marked.entry(hasher.finish()).or_default();
            *met += 1;
            return if *met <= times { behaviour } else { Behaviour::Plain };
        }
        self.script.behaviours.pop_front().unwrap_or(Behaviour::Plain)
    }

    /// The turns that the last process did not finish will never be finished.
    fn after_restart(&mut self) {
        for row in self.runs.values_mut().filter(|row| row.is_active()) {
            row.orphan = true;
        }
        if !self.script.forget_running {
            return;
        }
        let lost: Vec<String> = self.runs.iter().filter(|(_, row)| row.is_active()).map(|(id, _)| id.clone()).collect();
        for id in lost {
            self.unlock(&id);
            if let Some(row) = self.runs.remove(&id) {
                self.keys.retain(|_, run| *run != id);
                if let Some(conversation) = self.conversations.get_mut(&row.conversation) {
                    conversation.runs.retain(|run| *run != id);
                }
            }
        }
    }
}
