//! A scripted Telegram: the bot API over HTTP, for tests of the plugin.
//!
//! Written from <https://core.telegram.org/bots/api>; the words of refusals, and what the documents leave open (who is
//! answered with 409, when an update counts as confirmed, in which order a webhook is called), are those of the
//! published server, <https://github.com/tdlib/telegram-bot-api>, version 10.0. Times in which the real one would
//! repeat a webhook call are shorter here.
//!
//! What was sent is logged before it is answered: the log is the truth that a test holds a plugin against. A send that is
//! not logged when its connection is closed never will be.

mod chats;
pub mod html;
mod methods;
mod server;
mod updates;
mod webhook;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

pub use chats::{Said, in_group, in_private, photo};
use updates::Updates;
use webhook::Webhook;

/// The token of the scripted bot; the number in front is the bot's id.
pub const TOKEN: &str = "4839574812:AAFD39kkdpWt3ywyRZergyOLMaJhac60qcE";
pub const BOT_ID: i64 = 4_839_574_812;
pub const BOT_NAME: &str = "rehearsal_bot";

/// What Telegram does, and what it does wrong.
#[derive(Clone, Debug, Default)]
pub struct TelegramScript {
    /// The number of the first update; 1,000 by default.
    pub first_update: Option<i64>,
    /// How long a send waits between its log entry and its answer: time to kill a plugin.
    pub hold: Duration,
    /// What goes wrong with the next sends of text or pictures, one each.
    pub send_faults: VecDeque<Fault>,
    /// What goes wrong with the next polls, one each.
    pub poll_faults: VecDeque<Fault>,
    /// People who blocked the bot.
    pub blocked: BTreeSet<i64>,
    /// Chats that do not exist.
    pub missing: BTreeSet<i64>,
    /// Topics that were deleted.
    pub missing_threads: BTreeSet<i64>,
    /// Groups that became supergroups: from, to.
    pub migrated: Vec<(i64, i64)>,
    /// Addresses at which there is no picture.
    pub bad_pictures: BTreeSet<String>,
    /// The token is revoked.
    pub revoked: bool,
    /// The HTML of the next messages is refused, however good it is.
    pub refuse_html: usize,
    /// What people sent, by `file_id`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What goes wrong with the next downloads, one each.
    pub file_faults: VecDeque<Fault>,
}

/// One thing that goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 with `parameters.retry_after`.
    RateLimited { retry_after_s: u64 },
    /// 500, in Telegram's own words.
    ServerError,
    /// A gateway's page with this status.
    Gateway(u16),
    /// The connection closes, nothing was done.
    CutBefore,
    /// The connection closes after the work was done.
    CutAfter,
    /// Another program polls with the same token.
    Conflict,
}

/// A message that the bot sent, as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub message_id: i64,
    pub chat_id: i64,
    pub thread: Option<i64>,
    /// What is visible; the caption, of a picture.
    pub text: String,
    pub entities: Vec<html::Entity>,
    /// What was asked for, before it was parsed.
    pub raw: String,
    pub parse_mode: Option<String>,
    pub reply_to: Option<i64>,
    pub photo: Option<String>,
}

/// A Telegram that runs inside this process until it is stopped or dropped.
#[derive(Debug)]
pub struct ScriptedTelegram {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl ScriptedTelegram {
    /// On a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port.
    pub async fn start(script: TelegramScript) -> io::Result<Self> {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).await?, script)
    }

    /// On a listener.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn on(listener: TcpListener, script: TelegramScript) -> io::Result<Self> {
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::new(script)));
        let serving = serve(listener, Arc::clone(&shared));
        Ok(Self { address, shared, serving })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A person's message, in the order of the calls. Returns the update's number.
    pub fn say(&self, said: Said) -> i64 {
        let mut state = self.shared.lock();
        let message_id = state.next_message();
        let update = state.updates.push(said.chat(), "message", said.message(message_id));
        drop(state);
        self.shared.changed();
        update
    }

    /// Any update: `what` is its only field beside the number.
    pub fn update(&self, what: &str, value: Value) -> i64 {
        let update = self.shared.lock().updates.push(0, what, value);
        self.shared.changed();
        update
    }

    /// The next update gets this number, as after a week in which nobody wrote.
    pub fn jump(&self, update_id: i64) {
        self.shared.lock().updates.jump(update_id);
    }

    /// Changes the script while it runs.
    pub fn script(&self, change: impl FnOnce(&mut TelegramScript)) {
        change(&mut self.shared.lock().script);
    }

    /// Everything that was sent, in order.
    pub fn log(&self) -> Vec<Sent> {
        self.shared.lock().log.clone()
    }

    /// The chats (with their topic) in which the bot was seen typing, in order.
    pub fn typing(&self) -> Vec<(i64, Option<i64>)> {
        self.shared.lock().typing.clone()
    }

    /// How many calls of a method there were.
    pub fn calls(&self, method: &str) -> usize {
        self.shared.lock().calls.iter().filter(|call| *call == method).count()
    }

    /// The address that is called with updates, if there is one.
    pub fn webhook(&self) -> Option<String> {
        self.shared.lock().webhook.as_ref().map(|webhook| webhook.url.clone())
    }

    /// What it says with each call.
    pub fn webhook_secret(&self) -> Option<String> {
        self.shared.lock().webhook.as_ref().map(|webhook| webhook.secret.clone())
    }

    /// How many updates wait to be confirmed.
    pub fn unconfirmed(&self) -> usize {
        self.shared.lock().updates.len()
    }

    /// Waits until `met` by the log; the log as it is then, or after `within`.
    pub async fn wait_for_log(&self, within: Duration, met: impl Fn(&[Sent]) -> bool) -> Vec<Sent> {
        self.wait_until(within, |state| met(&state.log)).await;
        self.log()
    }

    /// Waits until every update is confirmed. Says whether that was `within` the time.
    pub async fn wait_for_confirmation(&self, within: Duration) -> bool {
        self.wait_until(within, |state| state.updates.len() == 0).await
    }

    /// Waits until the bot typed at least so often. Says whether it did `within` the time.
    pub async fn wait_for_typing(&self, times: usize, within: Duration) -> bool {
        self.wait_until(within, |state| state.typing.len() >= times).await
    }

    /// Closes the port and every connection.
    pub async fn goes_away(&mut self) {
        self.shared.stop();
        if let Err(error) = (&mut self.serving).await {
            tracing::error!(%error, "the scripted Telegram did not end well");
        }
    }

    /// Comes back on its address with all it knew.
    ///
    /// # Errors
    /// The port was taken meanwhile.
    pub async fn comes_back(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.serving = serve(listener, Arc::clone(&self.shared));
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

impl Drop for ScriptedTelegram {
    fn drop(&mut self) {
        self.shared.stop();
        self.serving.abort();
    }
}

fn serve(listener: TcpListener, shared: Arc<Shared>) -> JoinHandle<()> {
    shared.stopped.send_replace(false);
    tokio::spawn(async move {
        tokio::join!(server::serve(listener, Arc::clone(&shared)), webhook::push(shared));
    })
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
    script: TelegramScript,
    updates: Updates,
    webhook: Option<Webhook>,
    /// Of the long poll that waits; a newer one ends it.
    poll: u64,
    log: Vec<Sent>,
    typing: Vec<(i64, Option<i64>)>,
    calls: Vec<String>,
    messages: i64,
}

impl State {
    fn next_message(&mut self) -> i64 {
        self.messages += 1;
        self.messages
    }
}

impl Shared {
    fn new(script: TelegramScript) -> Self {
        let updates = Updates::new(script.first_update.unwrap_or(1_000));
        let state = State {
            script,
            updates,
            webhook: None,
            poll: 0,
            log: Vec::new(),
            typing: Vec::new(),
            calls: Vec::new(),
            messages: 0,
        };
        Self { state: Mutex::new(state), changes: watch::Sender::new(0), stopped: watch::Sender::new(false) }
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
}
