//! The methods of the bot API, as far as they are played.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    BOT_ID, BOT_NAME, Fault, Sent, Shared,
    html::{self, MAX_ENTITIES, Marked},
    server::{CONFLICT_PAUSE, Outcome},
    webhook::Webhook,
};

/// UTF-16 code units of a message and of a caption.
const MAX_TEXT: usize = 4_096;
const MAX_CAPTION: usize = 1_024;
/// Before it is parsed.
const MAX_RAW_BYTES: usize = 1 << 15;
const MAX_POLL_S: u64 = 50;

type Arguments = Map<String, Value>;

pub(super) async fn call(shared: &Arc<Shared>, method: &str, arguments: &Arguments) -> Outcome {
    match method {
        "getme" => Outcome::Result(json!({
            "id": BOT_ID, "is_bot": true, "first_name": "Rehearsal", "username": BOT_NAME,
            "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false,
        })),
        "getupdates" => get_updates(shared, arguments).await,
        "setwebhook" => set_webhook(shared, arguments),
        "deletewebhook" => {
            shared.lock().webhook = None;
            shared.changed();
            Outcome::Result(true.into())
        }
        "getwebhookinfo" => {
            let state = shared.lock();
            let url = state.webhook.as_ref().map_or("", |webhook| webhook.url.as_str());
            Outcome::Result(json!({
                "url": url, "has_custom_certificate": false, "pending_update_count": state.updates.len(),
            }))
        }
        "sendmessage" | "sendphoto" => send(shared, method, arguments).await,
        "getfile" => get_file(shared, arguments),
        "sendchataction" => chat_action(shared, arguments),
        "setmycommands" => Outcome::Result(true.into()),
        _ => Outcome::refused(404, "Not Found: method not found"),
    }
}

/// The largest file that is given out to bots.
const MAX_DOWNLOAD: usize = 20 << 20;

fn get_file(shared: &Shared, arguments: &Arguments) -> Outcome {
    let file_id = text(arguments, "file_id").unwrap_or_default();
    match shared.lock().script.files.get(file_id) {
        None => Outcome::refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable"),
        Some(file) if file.len() > MAX_DOWNLOAD => Outcome::refused(400, "Bad Request: file is too big"),
        Some(file) => Outcome::Result(json!({
            "file_id": file_id, "file_unique_id": format!("u-{file_id}"), "file_size": file.len(),
            "file_path": format!("files/{file_id}"),
        })),
    }
}

/// Numbers may come as texts.
fn integer(arguments: &Arguments, name: &str) -> Option<i64> {
    let value = arguments.get(name)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn text<'a>(arguments: &'a Arguments, name: &str) -> Option<&'a str> {
    arguments.get(name)?.as_str()
}

async fn get_updates(shared: &Arc<Shared>, arguments: &Arguments) -> Outcome {
    let number = |name: &str| integer(arguments, name);
    let offset = number("offset").unwrap_or(0);
    let wait = Duration::from_secs(u64::try_from(number("timeout").unwrap_or(0)).unwrap_or(0).min(MAX_POLL_S));
    let (fault, limit, mine) = {
        let mut state = shared.lock();
        if state.webhook.is_some() {
            return Outcome::refused(
                409,
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
            );
        }
        let fault = state.script.poll_faults.pop_front();
        if let Some(failed) = Outcome::before(fault) {
            return failed;
        }
        let limit = usize::try_from(number("limit").unwrap_or(100)).unwrap_or(100).clamp(1, 100);
        let limit = state.updates.limit(offset, limit);
        let confirmed = state.updates.confirm(offset);
        let ends_another = wait > Duration::ZERO && state.updates.len() == 0;
        if ends_another {
            state.poll += 1;
        }
        let mine = state.poll;
        drop(state);
        if confirmed > 0 || ends_another {
            shared.changed();
        }
        (fault, limit, mine)
    };
    let mut changes = shared.changes.subscribe();
    let deadline = Instant::now() + wait;
    loop {
        let (page, poll) = {
            let state = shared.lock();
            (state.updates.page(limit), state.poll)
        };
        if poll != mine {
            sleep(CONFLICT_PAUSE).await;
            return Outcome::before(Some(Fault::Conflict)).unwrap_or(Outcome::Cut);
        }
        if page.is_empty() && timeout_at(deadline, changes.changed()).await.is_ok() {
            continue;
        }
        return if fault == Some(Fault::CutAfter) { Outcome::Cut } else { Outcome::Result(page.into()) };
    }
}

fn set_webhook(shared: &Arc<Shared>, arguments: &Arguments) -> Outcome {
    let secret = text(arguments, "secret_token").unwrap_or_default();
    if secret.len() > 256 {
        return Outcome::refused(400, "Bad Request: secret token is too long");
    }
    if !secret.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return Outcome::refused(400, "Bad Request: secret token contains unallowed characters");
    }
    let url = text(arguments, "url").unwrap_or_default();
    let webhook = (!url.is_empty()).then(|| Webhook {
        url: url.to_owned(),
        secret: secret.to_owned(),
        connections: usize::try_from(integer(arguments, "max_connections").unwrap_or(40)).unwrap_or(40).clamp(1, 100),
    });
    let mut state = shared.lock();
    state.webhook = webhook;
    // A poll that waits is ended.
    state.poll += 1;
    drop(state);
    shared.changed();
    Outcome::Result(true.into())
}

async fn send(shared: &Arc<Shared>, method: &str, arguments: &Arguments) -> Outcome {
    let (fault, hold) = {
        let mut state = shared.lock();
        (state.script.send_faults.pop_front(), state.script.hold)
    };
    if let Some(failed) = Outcome::before(fault) {
        return failed;
    }
    let chat_id = match reachable(shared, arguments) {
        Ok(chat_id) => chat_id,
        Err(refused) => return refused,
    };
    let composed = if method == "sendphoto" { photo(shared, arguments) } else { message(shared, arguments) };
    let (raw, marked, photo) = match composed {
        Ok(composed) => composed,
        Err(refused) => return refused,
    };
    let thread = integer(arguments, "message_thread_id");
    let reply_to = arguments.get("reply_parameters").and_then(|reply| reply["message_id"].as_i64());
    let parse_mode = text(arguments, "parse_mode").map(str::to_owned);
    let sent = {
        let mut state = shared.lock();
        let message_id = state.next_message();
        let Marked { text, entities } = marked;
        let sent = Sent { message_id, chat_id, thread, text, entities, raw, parse_mode, reply_to, photo };
        state.log.push(sent.clone());
        sent
    };
    shared.changed();
    if !hold.is_zero() {
        sleep(hold).await;
    }
    if fault == Some(Fault::CutAfter) {
        return Outcome::Cut;
    }
    let bot = json!({"id": BOT_ID, "is_bot": true, "first_name": "Rehearsal", "username": BOT_NAME});
    let chat = json!({"id": chat_id, "type": if chat_id > 0 { "private" } else { "supergroup" }});
    let result = json!({
        "message_id": sent.message_id, "date": 1_700_000_000, "chat": chat, "from": bot, "text": sent.text,
    });
    Outcome::Result(result)
}

/// The chat, when something can be sent to it.
fn reachable(shared: &Shared, arguments: &Arguments) -> Result<i64, Outcome> {
    let chat_id =
        integer(arguments, "chat_id").ok_or_else(|| Outcome::refused(400, "Bad Request: chat_id is empty"))?;
    let state = shared.lock();
    let script = &state.script;
    if script.blocked.contains(&chat_id) {
        let why = if chat_id > 0 { "bot was blocked by the user" } else { "bot was kicked from the supergroup chat" };
        return Err(Outcome::refused(403, &format!("Forbidden: {why}")));
    }
    if script.missing.contains(&chat_id) {
        return Err(Outcome::refused(400, "Bad Request: chat not found"));
    }
    if let Some((_, to)) = script.migrated.iter().find(|(from, _)| *from == chat_id) {
        let why = "Bad Request: group chat was upgraded to a supergroup chat".to_owned();
        return Err(Outcome::Refused(400, why, json!({"migrate_to_chat_id": to})));
    }
    match integer(arguments, "message_thread_id") {
        Some(thread) if script.missing_threads.contains(&thread) => {
            Err(Outcome::refused(400, "Bad Request: message thread not found"))
        }
        _ => Ok(chat_id),
    }
}

type Composed = (String, Marked, Option<String>);

fn message(shared: &Shared, arguments: &Arguments) -> Result<Composed, Outcome> {
    let raw = text(arguments, "text").unwrap_or_default();
    if raw.is_empty() {
        return Err(Outcome::refused(400, "Bad Request: message text is empty"));
    }
    let marked = marked(shared, raw, arguments)?;
    if marked.text.trim().is_empty() {
        return Err(Outcome::refused(400, "Bad Request: message must be non-empty"));
    }
    if marked.text.encode_utf16().count() > MAX_TEXT {
        return Err(Outcome::refused(400, "Bad Request: message is too long"));
    }
    Ok((raw.to_owned(), marked, None))
}

fn photo(shared: &Shared, arguments: &Arguments) -> Result<Composed, Outcome> {
    let url = text(arguments, "photo").unwrap_or_default();
    if url.is_empty() {
        return Err(Outcome::refused(400, "Bad Request: there is no photo in the request"));
    }
    if shared.lock().script.bad_pictures.contains(url) {
        return Err(Outcome::refused(400, "Bad Request: wrong type of the web page content"));
    }
    let raw = text(arguments, "caption").unwrap_or_default();
    let marked = marked(shared, raw, arguments)?;
    if marked.text.encode_utf16().count() > MAX_CAPTION {
        return Err(Outcome::refused(400, "Bad Request: message caption is too long"));
    }
    Ok((raw.to_owned(), marked, Some(url.to_owned())))
}

fn marked(shared: &Shared, raw: &str, arguments: &Arguments) -> Result<Marked, Outcome> {
    if raw.len() > MAX_RAW_BYTES {
        return Err(Outcome::refused(400, "Bad Request: text is too long"));
    }
    let plain = || Marked { text: raw.to_owned(), entities: Vec::new() };
    match text(arguments, "parse_mode").map(str::to_ascii_lowercase).as_deref() {
        None | Some("") => Ok(plain()),
        Some("html") => {
            let mut state = shared.lock();
            if state.script.refuse_html > 0 {
                state.script.refuse_html -= 1;
                return Err(Outcome::refused(400, "Bad Request: can't parse entities: by the script"));
            }
            let mut marked = html::parse(raw)
                .map_err(|why| Outcome::refused(400, &format!("Bad Request: can't parse entities: {why}")))?;
            marked.entities.truncate(MAX_ENTITIES);
            Ok(marked)
        }
        Some(_) => Err(Outcome::refused(400, "Bad Request: unsupported parse_mode")),
    }
}

fn chat_action(shared: &Shared, arguments: &Arguments) -> Outcome {
    let chat_id = match reachable(shared, arguments) {
        Ok(chat_id) => chat_id,
        Err(refused) => return refused,
    };
    if text(arguments, "action") != Some("typing") {
        return Outcome::refused(400, "Bad Request: wrong parameter action in request");
    }
    shared.lock().typing.push((chat_id, integer(arguments, "message_thread_id")));
    shared.changed();
    Outcome::Result(true.into())
}
