//! What admins ask.

use broca_core::{Clock, SystemClock, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::Call,
    book::Session,
    keys::Key,
    reply::{Done, Outcome, Refused},
    shared::Shared,
};
use crate::wire::{iso, plain};

fn is_active(session: &Session, timeout_us: i64) -> bool {
    session.last_active > Timestamp(SystemClock.now().micros().saturating_sub(timeout_us))
}

/// `sessions`: the one that was active last first.
pub(super) fn sessions(call: &Call) -> Outcome {
    let page = call.asked.page()?;
    let timeout = call.shared.session_timeout_us();
    let all = call.asked.active.as_deref() == Some("false");
    let mut found = call.shared.store.see(|book| {
        let wanted = book.sessions.iter().filter(|(_, session)| all || is_active(session, timeout));
        wanted.map(|(name, session)| (session.last_active, name.clone())).collect::<Vec<_>>()
    });
    found.sort_by(|a, b| b.cmp(a));
    let (cut, pagination) = page.cut(found);
    let sessions: Vec<Value> = cut
        .into_iter()
        .filter_map(|(_, name)| {
            call.shared.store.session(&name, |session| {
                let mut row = row(&name, session, json!([]));
                row["message_count"] = session.said.len().into();
                row["response_count"] = session.told.len().into();
                row
            })
        })
        .collect();
    Ok(Done::new("Sessions retrieved successfully", json!({"sessions": sessions, "pagination": pagination})))
}

fn row(name: &str, session: &Session, metadata: Value) -> Value {
    json!({
        "id": name, "uid": session.uid, "created_at": plain(session.created_at),
        "last_active": plain(session.last_active), "ip_address": session.address, "metadata": metadata,
    })
}

/// `session_messages`
pub(super) fn session_messages(call: &Call) -> Outcome {
    let name = call.asked.session()?;
    let found = call.shared.store.session(name, |session| {
        let message = |(id, said): (&u64, &super::book::Said)| {
            json!({"id": id, "session_id": name, "message": said.text, "timestamp": iso(said.at), "uid": session.uid})
        };
        json!({
            "session": row(name, session, json!("[]")),
            "messages": session.said.iter().map(message).collect::<Vec<_>>(),
            "responses": session.told.values().map(|told| super::public::response(name, told)).collect::<Vec<_>>(),
        })
    });
    let data = found.ok_or_else(|| Refused::not_found("Session not found"))?;
    Ok(Done::new("Session messages retrieved", data))
}

/// A key is said once, by whoever sets it, and shown to nobody.
fn shown(key: &Key) -> &'static str {
    if key.is_set() { "********" } else { "" }
}

fn configuration(shared: &Shared) -> Value {
    json!({
        "api_key": shown(&shared.api_key), "admin_key": shown(&shared.admin_key),
        "session_timeout": shared.session_timeout_us() / 1_000_000,
    })
}

/// `config`, read
pub(super) fn config(call: &Call) -> Outcome {
    Ok(Done::new("Configuration retrieved successfully", configuration(&call.shared)))
}

#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    api_key: Option<String>,
    #[serde(default)]
    admin_key: Option<String>,
    #[serde(default)]
    session_timeout: Option<u64>,
}

const MIN_KEY_BYTES: usize = 16;
const TIMEOUTS: std::ops::RangeInclusive<u64> = 60..=604_800;

/// `config`, written. What is set here counts over the settings; a key does until the settings have another one.
pub(super) async fn configure(call: Call) -> Outcome {
    let wanted: Wanted = call.json()?;
    if wanted.session_timeout.is_some_and(|seconds| !TIMEOUTS.contains(&seconds)) {
        return Err(Refused::bad("session_timeout is not between 60 and 604800 seconds"));
    }
    let api_key = replacement("api_key", wanted.api_key, &call.shared.api_key)?;
    let admin_key = replacement("admin_key", wanted.admin_key, &call.shared.admin_key)?;
    let same = matches!((&api_key, &admin_key), (Some(api), Some(admin)) if api.hash == admin.hash);
    if same {
        return Err(Refused::bad("api_key and admin_key are the same"));
    }
    let store = &call.shared.store;
    store
        .configure(|config| {
            config.session_timeout_s = wanted.session_timeout.or(config.session_timeout_s);
            config.api_key = api_key.or(config.api_key.take());
            config.admin_key = admin_key.or(config.admin_key.take());
        })
        .await?;
    tracing::info!(address = %call.caller.address, "an admin changed the web chat's configuration");
    Ok(Done::new("Configuration updated successfully", configuration(&call.shared)))
}

fn replacement(name: &str, wanted: Option<String>, key: &Key) -> Result<Option<super::book::NewKey>, Refused> {
    // What was read is written back: it is no key.
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty() && wanted != shown(key)) else { return Ok(None) };
    if wanted.len() < MIN_KEY_BYTES {
        return Err(Refused::bad(format!("{name} is shorter than {MIN_KEY_BYTES} characters")));
    }
    let replaced = key.replaced_by(&wanted);
    replaced.map(Some).ok_or_else(|| Refused::bad(format!("{name} is not in the settings, so what it opens is closed")))
}

/// `cleanup`: inactive sessions go, except where an answer waits for its page or a message for its answer.
pub(super) async fn cleanup(call: Call) -> Outcome {
    let timeout = call.shared.session_timeout_us();
    let over = |session: &Session| {
        !is_active(session, timeout) && !session.has_undelivered() && session.open().next().is_none()
    };
    let count = call.shared.store.remove(over).await?;
    tracing::info!(count, address = %call.caller.address, "an admin had inactive sessions cleaned up");
    Ok(Done::new("Cleanup completed successfully", json!({"cleaned_count": count})))
}

/// `clear_data`: the view is emptied; the record of messages and answers stays Broca's.
pub(super) async fn clear_data(call: Call) -> Outcome {
    let (messages, responses) = call.shared.store.see(|book| {
        book.sessions
            .values()
            .fold((0, 0), |(said, told), session| (said + session.said.len(), told + session.told.len()))
    });
    let sessions = call.shared.store.remove(|_| true).await?;
    tracing::warn!(sessions, address = %call.caller.address, "an admin had all sessions cleared");
    let data = json!({"cleared_sessions": sessions, "cleared_messages": messages, "cleared_responses": responses});
    Ok(Done::new("All data cleared successfully", data))
}

/// Sessions that were inactive for longer than is kept; on a timer.
pub(super) async fn tidy(shared: &Shared) {
    let kept_us = i64::try_from(shared.settings.keep_days).unwrap_or(i64::MAX).saturating_mul(86_400_000_000);
    match shared.store.remove(|session| !is_active(session, kept_us)).await {
        Ok(0) => {}
        Ok(count) => {
            tracing::info!(count, "sessions that were inactive for longer than server.keep_days are forgotten")
        }
        Err(error) => tracing::warn!(%error, "old sessions stay for now"),
    }
}
