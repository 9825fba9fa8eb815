//! The way in.
//!
//! A bridge may count a message as fetched the moment it has put it into a reply. So nothing is fetched that could not
//! be stored: before each look into the inbox the pipeline is asked whether it is there, what was fetched and not
//! stored is kept and tried again before anything else is fetched, and after a start and after a reply that was lost the
//! sessions are read again ([`super::recover`]). All of it may come twice, and is one message by its event id.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use broca_core::{Incoming, MessageId};
use broca_plugin::{Context, IngestError, PluginError, PluginState};

use super::{
    bridge::{Bridge, CallError, PAGE},
    entry::Entry,
    recover::Recovery,
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Calls in one round; the rest is for the next.
const MAX_CALLS: usize = 50;
/// Event ids that are remembered for bridges that hand a message out until it is answered.
const MAX_TAKEN: usize = 20_000;

/// Why a round was not finished.
#[derive(Debug)]
pub(super) enum Trouble {
    Bridge(CallError),
    /// The pipeline cannot take a message now.
    Pipeline(String),
}

/// What was fetched.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) ctx: Context,
    /// Fetched and not stored.
    waiting: VecDeque<Incoming>,
    taken: HashSet<String>,
    order: VecDeque<String>,
}

pub(super) async fn run(bridge: &Bridge, ctx: Context, every: Duration, since: Duration) -> Result<(), PluginError> {
    let shutdown = ctx.shutdown.clone();
    let mut said = PluginState::Connecting;
    let mut inbox = Inbox { ctx, waiting: VecDeque::new(), taken: HashSet::new(), order: VecDeque::new() };
    let mut recovery = Recovery::default();
    recovery.want(bridge);
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_cancelled() {
        let (state, wait) = match inbox.round(bridge, &mut recovery, since).await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                (PluginState::Connected, every)
            }
            Err(Trouble::Bridge(error)) if error.is_bad_key() => {
                return Err(PluginError::Credentials(format!("{error}: put the bridge's API key into client.api_key")));
            }
            Err(trouble) => {
                let (detail, wait) = trouble.told();
                let wait = wait.unwrap_or_default().max(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
                (PluginState::Degraded { detail }, wait)
            }
        };
        if state != said && !shutdown.is_cancelled() {
            inbox.ctx.report(state.clone());
            said = state;
        }
        shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
    Ok(())
}

impl Inbox {
    async fn round(&mut self, bridge: &Bridge, recovery: &mut Recovery, since: Duration) -> Result<(), Trouble> {
        self.store().await?;
        // Asks for a message that there is not: the road to the rows is open, or it is not.
        let asked = self.ctx.status(MessageId::new()).await;
        asked.map_err(|error| Trouble::Pipeline(error.to_string()))?;
        // Older messages before newer ones. Where the bridge does not show its sessions, messages come in all the same.
        let recovered = match recovery.go_on(bridge, self, since).await {
            Err(trouble @ (Trouble::Pipeline(_) | Trouble::Bridge(CallError::NotReached(_)))) => return Err(trouble),
            recovered => recovered,
        };
        let fetched = self.fetch(bridge).await;
        if matches!(&fetched, Err(Trouble::Bridge(error)) if error.may_be_done()) {
            recovery.want(bridge);
        }
        fetched.and(recovered)
    }

    /// A bridge that hands out a message once always gives the next ones at offset 0. One that hands it out until it is
    /// answered gives the same again: then the offset moves on.
    async fn fetch(&mut self, bridge: &Bridge) -> Result<(), Trouble> {
        let mut offset = 0;
        for _ in 0..MAX_CALLS {
            // Not given up half way: what is in the reply may be in no other.
            let page = bridge.inbox(offset).await.map_err(Trouble::Bridge)?;
            let count = page.items.len() as u64;
            let mut entries: Vec<Entry> = page.items.iter().filter_map(read).collect();
            // A client says when a message was written; the bridge's number says when it came.
            entries.sort_by_key(|entry| entry.number);
            let before = self.waiting.len();
            self.keep(entries);
            let is_new = self.waiting.len() > before;
            self.store().await?;
            if self.ctx.shutdown.is_cancelled() || !(page.has_more || count >= PAGE) {
                break;
            }
            offset = if is_new { offset } else { offset + count.max(1) };
        }
        Ok(())
    }

    /// Remembers what is new.
    pub(super) fn keep(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let id = entry.incoming.event_id.clone();
            if self.taken.insert(id.clone()) {
                self.order.push_back(id);
                self.waiting.push_back(entry.incoming);
            }
        }
        while self.order.len() > MAX_TAKEN {
            if let Some(oldest) = self.order.pop_front() {
                self.taken.remove(&oldest);
            }
        }
    }

    /// Stores what was fetched, in order.
    pub(super) async fn store(&mut self) -> Result<(), Trouble> {
        while let Some(incoming) = self.waiting.front() {
            match self.ctx.ingest(incoming.clone()).await {
                Ok(_) => {}
                // The bridge has no word for it: whoever wrote sees no answer.
                Err(IngestError::Refused(refusal)) => {
                    tracing::warn!(event = incoming.event_id, %refusal, "a message of the bridge's was refused");
                }
                Err(error @ IngestError::Unavailable(_)) => return Err(Trouble::Pipeline(error.to_string())),
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}

fn read(entry: &serde_json::Value) -> Option<Entry> {
    let read = Entry::read(entry, None);
    if read.is_none() {
        tracing::warn!(id = %entry["id"], "the bridge has a message without a session, an id or a text; it is let go");
    }
    read
}

impl Trouble {
    /// For an operator, and how long the bridge wants to be left alone.
    fn told(&self) -> (String, Option<Duration>) {
        match self {
            Self::Bridge(error) if error.status() == Some(429) => {
                (format!("{error}; raise client.poll_interval_s if this stays"), error.retry_after())
            }
            Self::Bridge(error) => (error.to_string(), error.retry_after()),
            Self::Pipeline(why) => (format!("nothing is fetched until it can be stored: {why}"), None),
        }
    }
}
