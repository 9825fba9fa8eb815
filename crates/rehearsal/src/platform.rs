//! A scripted chat platform, for the demo and for tests of plugins.
//!
//! It speaks HTTP and JSON and works as Telegram's bot API does where that matters:
//!
//! | request | what it does |
//! |---|---|
//! | `GET /updates?offset=&limit=&wait_ms=` | `{"updates": […]}` from number `offset` on; forgets all below; waits up to `wait_ms` for the first |
//! | `POST /say {user, text, chat_id?}` | a person writes; → `{"update_id"}` |
//! | `POST /send {response_id, user, chat_id?, text, part?, last?}` | the bot answers, or sends a part of an answer; → `{"message_id"}` |
//! | `GET /sent/{response_id}` | `{"parts": [{message_id, bytes, last}]}`, or 404; 503 while `receipts_away` |
//! | `GET /log` | `{"items": […]}`, everything that was sent, in order |
//! | `POST /script {…}` | replaces the [`PlatformScript`] (its log and first number excepted) |
//!
//! A send is logged before it is answered, on disk when the script names a file, so the log is the truth that a test
//! holds a pipeline against. A second send of one part is logged a second time: duplicates are never hidden. A send
//! that is not logged when its connection is closed never will be.

mod http;
mod record;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broca_core::{Clock, ResponseId, SystemClock};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

pub use record::Delivery;
use record::Record;

/// What the platform does, and what it does wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlatformScript {
    /// Where the receipts are kept, one JSON object a line, appended; read back at the start.
    pub log: Option<PathBuf>,
    /// The number of the first update. By default the milliseconds of the Unix epoch, so that a platform that is
    /// started anew never repeats a number.
    pub first_update: Option<u64>,
    /// How long a send is under way before the platform has it, in milliseconds.
    pub delay_ms: u64,
    /// How long a send waits between its receipt and its answer, in milliseconds: time to kill a plugin.
    pub hold_ms: u64,
    /// What goes wrong with the next sends, one each.
    pub send_faults: VecDeque<Fault>,
    /// What goes wrong with the next polls, one each.
    pub update_faults: VecDeque<Fault>,
    /// Nobody can ask for receipts: `GET /sent/…` answers 503. A plugin then cannot tell what became of a cut send.
    pub receipts_away: bool,
    /// A send to one of these people is answered with 403.
    pub blocked: BTreeSet<String>,
    /// Every poll gives each update twice.
    pub repeat_updates: bool,
    /// Every poll gives the newest update first.
    pub reverse_updates: bool,
}

/// One thing that goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// This one goes well; the fault behind it strikes the next.
    None,
    /// 429 with `Retry-After`, in seconds.
    RateLimited { retry_after_s: u64 },
    /// 500; nothing was done.
    ServerError,
    /// The connection closes, nothing was done.
    CutBefore,
    /// The connection closes after the work was done.
    CutAfter,
}

/// Somebody wrote something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub update_id: u64,
    pub user: String,
    pub chat_id: Option<String>,
    pub text: String,
}

/// A platform that runs inside this process until it is stopped or dropped.
#[derive(Debug)]
pub struct ScriptedPlatform {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl ScriptedPlatform {
    /// Starts a platform on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port, or the script's log cannot be read or opened.
    pub async fn start(script: PlatformScript) -> io::Result<Self> {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).await?, script)
    }

    /// Starts a platform on a listener, e.g. to come back on the address of one that was stopped.
    ///
    /// # Errors
    /// The script's log cannot be read or opened.
    pub fn on(listener: TcpListener, script: PlatformScript) -> io::Result<Self> {
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::new(script)?));
        let serving = spawn(listener, Arc::clone(&shared));
        Ok(Self { address, shared, serving })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A person writes in their own chat with the bot. Returns the update's number.
    pub fn say(&self, user: &str, text: &str) -> u64 {
        self.shared.say(user.to_owned(), None, text.to_owned())
    }

    /// A person writes in a group.
    pub fn say_in(&self, chat: &str, user: &str, text: &str) -> u64 {
        self.shared.say(user.to_owned(), Some(chat.to_owned()), text.to_owned())
    }

    /// Changes the script while the platform runs.
    pub fn script(&self, change: impl FnOnce(&mut PlatformScript)) {
        change(&mut self.shared.lock().script);
    }

    /// Everything that was sent, in order, duplicates included.
    pub fn log(&self) -> Vec<Delivery> {
        self.shared.lock().record.all().to_vec()
    }

    /// Whose sends were refused with 403, in order.
    pub fn refused(&self) -> Vec<String> {
        self.shared.lock().refused.clone()
    }

    /// The updates that no poll has confirmed yet.
    pub fn unconfirmed(&self) -> Vec<Update> {
        self.shared.lock().updates.iter().cloned().collect()
    }

    /// Waits until at least `count` sends are logged; returns the log as it is then, or after `within`.
    pub async fn wait_for_sends(&self, count: usize, within: Duration) -> Vec<Delivery> {
        self.wait_until(within, |state| state.record.all().len() >= count).await;
        self.log()
    }

    /// Waits until the plugin has confirmed every update. Says whether it did `within` that time.
    pub async fn wait_for_confirmation(&self, within: Duration) -> bool {
        self.wait_until(within, |state| state.updates.is_empty()).await
    }

    /// Closes every connection and the port.
    pub async fn stop(mut self) {
        self.goes_away().await;
    }

    /// The same for a while.
    pub async fn goes_away(&mut self) {
        self.shared.stop();
        if let Err(error) = (&mut self.serving).await {
            tracing::error!(%error, "the scripted platform did not end well");
        }
    }

    /// Comes back on its address with all it knew.
    ///
    /// # Errors
    /// The port was taken meanwhile.
    pub async fn comes_back(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.shared.stopped.send_replace(false);
        self.serving = spawn(listener, Arc::clone(&self.shared));
        Ok(())
    }

    async fn wait_until(&self, within: Duration, met: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + within;
        let mut changes = self.shared.changes.subscribe();
        loop {
            if met(&self.shared.lock()) {
                return true;
            }
            match timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
    }
}

impl Drop for ScriptedPlatform {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

fn spawn(listener: TcpListener, shared: Arc<Shared>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = http::serve(listener, shared).await {
            tracing::error!(%error, "the scripted platform ended");
        }
    })
}

/// Serves a platform on `listener` until the future is dropped.
///
/// # Errors
/// The script's log cannot be read or opened, or the listener failed.
pub async fn serve(listener: TcpListener, script: PlatformScript) -> io::Result<()> {
    http::serve(listener, Arc::new(Shared::new(script)?)).await
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Bumped with every change of the state: polls and waiting tests look again.
    changes: watch::Sender<u64>,
    stopped: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    script: PlatformScript,
    updates: VecDeque<Update>,
    next_update: u64,
    record: Record,
    /// People whose sends were answered with 403.
    refused: Vec<String>,
}

impl Shared {
    fn new(script: PlatformScript) -> io::Result<Self> {
        let record = Record::open(script.log.as_deref())?;
        let now_ms = u64::try_from(SystemClock.now().micros() / 1_000).unwrap_or(1);
        let next_update = script.first_update.unwrap_or(now_ms);
        let state = Mutex::new(State { script, updates: VecDeque::new(), next_update, record, refused: Vec::new() });
        Ok(Self { state, changes: watch::Sender::new(0), stopped: watch::Sender::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn stop(&self) {
        self.stopped.send_replace(true);
    }

    fn say(&self, user: String, chat_id: Option<String>, text: String) -> u64 {
        let update_id = {
            let mut state = self.lock();
            let update_id = state.next_update;
            state.next_update += 1;
            state.updates.push_back(Update { update_id, user, chat_id, text });
            update_id
        };
        self.changed();
        update_id
    }

    /// Forgets the updates below `offset` and gives those from it on, as the script wants them.
    fn updates(&self, offset: u64, limit: usize) -> Vec<Update> {
        let mut state = self.lock();
        let before = state.updates.len();
        state.updates.retain(|update| update.update_id >= offset);
        let confirmed = state.updates.len() < before;
        let copies = if state.script.repeat_updates { 2 } else { 1 };
        let page = state.updates.iter().take(limit);
        let mut page: Vec<Update> = page.flat_map(|update| std::iter::repeat_n(update, copies)).cloned().collect();
        if state.script.reverse_updates {
            page.reverse();
        }
        drop(state);
        if confirmed {
            self.changed();
        }
        page
    }

    /// The parts of an answer, in order and each once, as far as there is no gap.
    fn parts_of(&self, response: ResponseId) -> Vec<Delivery> {
        let mut parts: Vec<Delivery> = Vec::new();
        for sent in self.lock().record.all().iter().filter(|sent| sent.response_id == response) {
            if usize::try_from(sent.part).is_ok_and(|part| part == parts.len()) {
                parts.push(sent.clone());
            }
        }
        parts
    }
}
