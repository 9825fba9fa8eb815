//! What the bridge handed out, perhaps in a reply that nobody got: its sessions are read again with the admin key.

use std::time::Duration;

use broca_core::{Clock, SystemClock};
use serde_json::Value;

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

pub(super) async fn recover(bridge: &Bridge, inbox: &mut Inbox, since: Duration) -> Result<(), Trouble> {
    match sessions(bridge, inbox, since).await {
        // Messages come in all the same.
        Err(Trouble::Bridge(error)) if error.status().is_some_and(|status| (400..500).contains(&status)) => {
            tracing::error!(%error, "the bridge does not show its sessions: what it handed out in a reply that was lost \
                stays unread; see to client.admin_key");
            Ok(())
        }
        other => other,
    }
}

async fn sessions(bridge: &Bridge, inbox: &mut Inbox, since: Duration) -> Result<(), Trouble> {
    let window = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    let oldest = SystemClock.now().micros().saturating_sub(window);
    let mut offset = 0;
    for _ in 0..MAX_PAGES {
        let page = paced(inbox, || bridge.sessions(offset)).await?;
        let count = page.items.len() as u64;
        for session in &page.items {
            // The last active come first; one whose time cannot be read is looked into.
            let active = session["last_active"].as_str().and_then(parse_time);
            if active.is_some_and(|active| active.micros() < oldest) || inbox.ctx.shutdown.is_cancelled() {
                return Ok(());
            }
            if id_text(&session["message_count"]).as_deref() != Some("0") {
                read(bridge, inbox, session).await?;
            }
        }
        offset += count;
        if !page.has_more || count == 0 {
            break;
        }
    }
    Ok(())
}

async fn read(bridge: &Bridge, inbox: &mut Inbox, session: &Value) -> Result<(), Trouble> {
    let Some(id) = session["id"].as_str() else { return Ok(()) };
    let messages = match paced(inbox, || bridge.session_messages(id)).await {
        // Cleaned up meanwhile.
        Err(Trouble::Bridge(error)) if error.status() == Some(404) => return Ok(()),
        messages => messages?,
    };
    let mut entries: Vec<Entry> =
        messages.iter().filter_map(|message| Entry::read(message, session["uid"].as_str())).collect();
    entries.sort_by_key(|entry| entry.number);
    inbox.keep(entries);
    inbox.store().await
}

/// Calls again when the bridge's limits have passed.
async fn paced<T, F>(inbox: &Inbox, call: impl Fn() -> F) -> Result<T, Trouble>
where
    F: Future<Output = Result<T, CallError>>,
{
    let shutdown = &inbox.ctx.shutdown;
    loop {
        match call().await {
            Err(error) if error.status() == Some(429) && !shutdown.is_cancelled() => {
                let wait = error.retry_after().unwrap_or(LIMIT_PAUSE);
                shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
            }
            result => return result.map_err(Trouble::Bridge),
        }
    }
}
