//! What the bridge handed out, perhaps in a reply that nobody got: its sessions are read again with the admin key.
//!
//! A bridge limits what admins ask more than anything else. So this goes on where the limit stopped it, a piece in each
//! round, and messages come in meanwhile.

use std::{collections::VecDeque, time::Duration};

use broca_core::{Clock, SystemClock};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    bridge::{Bridge, CallError, id_text},
    entry::Entry,
    poll::{Inbox, Trouble},
};
use crate::wire::parse_time;

/// Pages of sessions that are looked through.
const MAX_PAGES: usize = 100;
/// What a limit without a time is waited for.
const LIMIT_PAUSE: Duration = Duration::from_secs(5);

/// What is left to be read.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    is_wanted: bool,
    /// Sessions that were not read yet, and their people; the one that was active last first.
    sessions: Option<VecDeque<(String, Option<String>)>>,
    rest_until: Option<Instant>,
}

impl Recovery {
    /// Begins from the start, where the bridge shows its sessions to us.
    pub(super) fn want(&mut self, bridge: &Bridge) {
        if bridge.has_admin_key() {
            (self.is_wanted, self.sessions) = (true, None);
        }
    }

    /// Goes on as far as the bridge's limits allow.
    pub(super) async fn go_on(&mut self, bridge: &Bridge, inbox: &mut Inbox, since: Duration) -> Result<(), Trouble> {
        if !self.is_wanted || self.rest_until.is_some_and(|until| until > Instant::now()) {
            return Ok(());
        }
        match self.read(bridge, inbox, since).await {
            Err(Trouble::Bridge(error)) if error.status() == Some(429) => {
                self.rest_until = Some(Instant::now() + error.retry_after().unwrap_or(LIMIT_PAUSE));
                Ok(())
            }
            // Messages come in all the same.
            Err(Trouble::Bridge(error)) if error.status().is_some_and(|status| (400..500).contains(&status)) => {
                tracing::error!(%error, "the bridge does not show its sessions: what it handed out in a reply that was \
                    lost stays unread; see to client.admin_key");
                *self = Self::default();
                Ok(())
            }
            read => read,
        }
    }

    async fn read(&mut self, bridge: &Bridge, inbox: &mut Inbox, since: Duration) -> Result<(), Trouble> {
        if self.sessions.is_none() {
            self.sessions = Some(active(bridge, since).await.map_err(Trouble::Bridge)?);
        }
        let sessions = self.sessions.get_or_insert_default();
        while let Some((session, uid)) = sessions.front() {
            if inbox.ctx.shutdown.is_cancelled() {
                return Ok(());
            }
            let messages = match bridge.session_messages(session).await {
                // Cleaned up meanwhile.
                Err(error) if error.status() == Some(404) => Vec::new(),
                messages => messages.map_err(Trouble::Bridge)?,
            };
            let read = messages.iter().filter_map(|message| Entry::read(message, uid.as_deref()));
            let mut entries: Vec<Entry> = read.collect();
            entries.sort_by_key(|entry| entry.number);
            inbox.keep(entries);
            inbox.store().await?;
            sessions.pop_front();
        }
        *self = Self::default();
        Ok(())
    }
}

/// Sessions that were active since, and have messages.
async fn active(bridge: &Bridge, since: Duration) -> Result<VecDeque<(String, Option<String>)>, CallError> {
    let window = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    let oldest = SystemClock.now().micros().saturating_sub(window);
    let mut found = VecDeque::new();
    let mut offset = 0;
    for _ in 0..MAX_PAGES {
        let page = bridge.sessions(offset).await?;
        let count = page.items.len() as u64;
        for session in page.items {
            // The last active come first; one whose time cannot be read is looked into.
            let at = session["last_active"].as_str().and_then(parse_time);
            if at.is_some_and(|at| at.micros() < oldest) {
                return Ok(found);
            }
            let text = |value: &Value| value.as_str().map(str::to_owned);
            if let (Some(id), true) = (text(&session["id"]), id_text(&session["message_count"]).as_deref() != Some("0"))
            {
                found.push_back((id, text(&session["uid"])));
            }
        }
        offset += count;
        if !page.has_more || count == 0 {
            break;
        }
    }
    Ok(found)
}
