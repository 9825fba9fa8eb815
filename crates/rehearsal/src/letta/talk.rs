//! The requests that make an agent talk: messages, streams, cancellation.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State as Shelf},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use broca_core::{Clock, SystemClock};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Shared, cut,
    feed::{self, Showing},
    journal::Entry,
    play::{Turn, play},
    script::Behaviour,
    state::{ShownImage, State},
    wire,
};

type Server = Shelf<Arc<Shared>>;

#[derive(Deserialize)]
pub(super) struct Post {
    messages: Option<Vec<Said>>,
    #[serde(default = "yes")]
    streaming: bool,
    #[serde(default)]
    background: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<String>,
    content: Option<Value>,
    otid: Option<String>,
    sender_id: Option<String>,
    approvals: Option<Vec<Approval>>,
}

#[derive(Deserialize)]
struct Approval {
    tool_call_id: String,
}

/// What a message comes to: a refusal, or a run and the way it is shown.
enum Taken {
    Refused(Response),
    Shown { showing: Showing, feed: Arc<feed::Feed>, wait: Duration },
    Cut,
}

/// `POST /v1/conversations/{id}/messages`
pub(super) async fn say(Shelf(shared): Server, Path(id): Path<String>, Json(post): Json<Post>) -> Response {
    match take(&shared, &id, post) {
        Taken::Refused(response) => response,
        Taken::Shown { showing, feed, wait } => {
            tokio::time::sleep(wait).await;
            feed::stream(feed, showing, shared.stopped.subscribe())
        }
        Taken::Cut => cut(),
    }
}

fn take(shared: &Arc<Shared>, conversation: &str, post: Post) -> Taken {
    let background = post.background;
    let Some(said) = post.messages.unwrap_or_default().into_iter().next() else {
        return Taken::Refused(wire::detail(StatusCode::UNPROCESSABLE_ENTITY, "messages: field required"));
    };
    let is_denial = said.kind.as_deref() == Some("approval");
    if !post.streaming || (!is_denial && (said.role.as_deref() != Some("user") || said.content.is_none())) {
        return Taken::Refused(wire::detail(StatusCode::UNPROCESSABLE_ENTITY, "not what a scripted Letta plays"));
    }
    let mut state = shared.lock();
    state.arrived += usize::from(!is_denial);
    if !state.conversations.contains_key(conversation) {
        return Taken::Refused(wire::not_found("Conversation", conversation));
    }
    if background && !state.script.redis {
        let run = start(&mut state, conversation, None, false);
        state.end_run(&run, "failed", None, Some("Background streaming requires Redis".to_owned()));
        return Taken::Refused(wire::needs_redis());
    }
    if let Some(run) = said.otid.as_ref().filter(|_| background).and_then(|key| state.keys.get(key)).cloned() {
        return replay(&state, &run, 0);
    }
    if let Some(refused) = occupied(&mut state, conversation, &said, is_denial) {
        return Taken::Refused(refused);
    }
    let text = content(said.content.as_ref());
    let images = match images(said.content.as_ref()) {
        Ok(images) => images,
        Err(why) => return Taken::Refused(wire::detail(StatusCode::UNPROCESSABLE_ENTITY, why)),
    };
    let behaviour = if is_denial { Behaviour::Plain } else { state.next_behaviour(conversation, &text) };
    if let Some(taken) = refusal(shared, &mut state, conversation, &behaviour) {
        return taken;
    }
    let takes = match behaviour {
        Behaviour::Takes(ms) => ms,
        _ => state.draw_ms(),
    };
    let run = start(&mut state, conversation, said.otid.clone(), background);
    let taken = shown(&state, &run, &behaviour);
    let turn = Turn {
        feed: Arc::clone(&state.runs[&run].feed),
        started_at: state.runs[&run].at,
        memory: state.conversations.get(conversation).map(|row| row.memory.clone()).unwrap_or_default(),
        run,
        conversation: conversation.to_owned(),
        otid: said.otid,
        sender: said.sender_id,
        text,
        images,
        is_denial,
        behaviour,
        takes: Duration::from_millis(takes),
    };
    drop(state);
    tokio::spawn(play(Arc::clone(shared), turn));
    taken
}

/// The text of a message: a string, or a list of parts.
fn content(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// The images of a message. As with the real server, an image is a source with its bytes in base64 and their type; OpenAI's
/// `image_url` is none, and what the server would have to fetch is not played.
fn images(content: Option<&Value>) -> Result<Vec<ShownImage>, &'static str> {
    let parts = content.and_then(Value::as_array).into_iter().flatten();
    let mut images = Vec::new();
    for part in parts {
        match part["type"].as_str() {
            Some("text") => {}
            Some("image") if part["source"]["type"] == "base64" => {
                let image = serde_json::from_value(part["source"].clone());
                images.push(image.map_err(|_| "content: not an image of base64 with a media_type")?);
            }
            _ => return Err("content: not a part that a scripted Letta takes"),
        }
    }
    Ok(images)
}

/// A conversation that waits for an approval, or has a turn, takes no other message.
fn occupied(state: &mut State, conversation: &str, said: &Said, is_denial: bool) -> Option<Response> {
    let row = state.conversations.get(conversation)?;
    if let Some(run) = row.lock.as_ref().filter(|_| state.script.redis) {
        return Some(wire::busy(run));
    }
    let answered = said.approvals.iter().flatten().map(|approval| approval.tool_call_id.as_str());
    match (&row.pending, is_denial) {
        (None, false) => None,
        (Some(pending), false) => Some(wire::pending_approval(&pending.message)),
        (Some(pending), true) if answered.into_iter().any(|call| call == pending.call) => {
            let (conversation, message) = (conversation.to_owned(), pending.message.clone());
            state.record(Entry::Pending { conversation, message, call: None });
            None
        }
        (_, true) => Some(wire::detail(StatusCode::BAD_REQUEST, "No such tool call is awaiting approval.")),
    }
}

/// The behaviours that keep a turn from starting.
fn refusal(shared: &Arc<Shared>, state: &mut State, conversation: &str, behaviour: &Behaviour) -> Option<Taken> {
    let response = match behaviour {
        Behaviour::Busy => {
            let run = start(state, conversation, None, false);
            let shared = Arc::clone(shared);
            let other = run.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                shared.lock().end_run(&other, "completed", Some("end_turn"), None);
            });
            wire::busy(&run)
        }
        Behaviour::LlmHttp(kind) => wire::model_error(kind),
        Behaviour::Http(status) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            wire::detail(status, "scripted")
        }
        Behaviour::RateLimited(seconds) => wire::not_now(StatusCode::TOO_MANY_REQUESTS, *seconds),
        Behaviour::RateLimitedUntil(seconds) => wire::not_now(StatusCode::TOO_MANY_REQUESTS, wire::http_date(*seconds)),
        Behaviour::Overloaded(seconds) => wire::not_now(StatusCode::SERVICE_UNAVAILABLE, *seconds),
        Behaviour::Gone => {
            state.record(Entry::Deleted { conversation: conversation.to_owned() });
            wire::not_found("Conversation", conversation)
        }
        Behaviour::Overflow => {
            wire::detail(StatusCode::BAD_REQUEST, "CONTEXT_WINDOW_EXCEEDED: the context window is full")
        }
        Behaviour::Swallow => return Some(Taken::Cut),
        _ => return None,
    };
    Some(Taken::Refused(response))
}

fn start(state: &mut State, conversation: &str, otid: Option<String>, background: bool) -> String {
    let id = wire::id("run");
    let conversation = conversation.to_owned();
    state.record(Entry::RunStarted { id: id.clone(), conversation, otid, background, at: SystemClock.now() });
    id
}

/// How the sender of a new message is shown its run.
fn shown(state: &State, run: &str, behaviour: &Behaviour) -> Taken {
    let Taken::Shown { mut showing, feed, .. } = replay(state, run, 0) else { return Taken::Cut };
    let mut wait = Duration::ZERO;
    match behaviour {
        Behaviour::SilentPings => showing.pings_only = true,
        Behaviour::NoDone => showing.without_done = true,
        Behaviour::DropAfter(events) => showing.cut_after = Some(*events),
        Behaviour::DropAfterHeaders => showing.cut_after = Some(0),
        Behaviour::DropBeforeBytes => return Taken::Cut,
        Behaviour::SlowStart(ms) => wait = Duration::from_millis(*ms),
        _ => {}
    }
    Taken::Shown { showing, feed, wait }
}

/// Shows a run from behind event `after`.
fn replay(state: &State, run: &str, after: usize) -> Taken {
    let Some(row) = state.runs.get(run) else { return Taken::Refused(wire::not_found("Run", run)) };
    if row.feed.is_forgotten() {
        return Taken::Refused(wire::detail(StatusCode::GONE, "the run's events have expired"));
    }
    let showing = Showing {
        run: run.to_owned(),
        background: row.background,
        from: after,
        ping_every: Duration::from_millis(state.script.ping_ms.max(1)),
        pings_only: false,
        without_done: false,
        cut_after: None,
    };
    Taken::Shown { showing, feed: Arc::clone(&row.feed), wait: Duration::ZERO }
}

#[derive(Deserialize)]
pub(super) struct Resume {
    #[serde(default)]
    starting_after: usize,
    otid: Option<String>,
    run_id: Option<String>,
}

/// `POST /v1/runs/{id}/stream`
pub(super) async fn resume_run(Shelf(shared): Server, Path(run): Path<String>, Json(resume): Json<Resume>) -> Response {
    resumed(&shared, &run, resume.starting_after)
}

/// `POST /v1/conversations/{id}/stream`
pub(super) async fn resume_conversation(
    Shelf(shared): Server,
    Path(id): Path<String>,
    Json(resume): Json<Resume>,
) -> Response {
    let run = {
        let state = shared.lock();
        // Asked first of all, as the real server does: it tells a client whether keys are recognised.
        if !state.script.redis {
            return wire::needs_redis();
        }
        let by_key = resume.otid.as_ref().and_then(|key| state.keys.get(key)).cloned();
        let is_live = |run: &&String| state.runs.get(*run).is_some_and(|row| row.is_active() && row.background);
        let latest = || state.conversations.get(&id)?.runs.iter().rev().find(is_live).cloned();
        resume.run_id.or(by_key).or_else(|| latest().filter(|_| resume.otid.is_none()))
    };
    match run {
        Some(run) => resumed(&shared, &run, resume.starting_after),
        None => {
            // The real server looks for an unknown key for this long.
            tokio::time::sleep(Duration::from_millis(1750)).await;
            wire::not_found("Run", "for the conversation")
        }
    }
}

fn resumed(shared: &Arc<Shared>, run: &str, after: usize) -> Response {
    let state = shared.lock();
    if !state.script.redis {
        return wire::needs_redis();
    }
    if state.runs.get(run).is_some_and(|row| !row.background) {
        return wire::detail(StatusCode::BAD_REQUEST, "Run was not created in background mode");
    }
    match replay(&state, run, after) {
        Taken::Shown { showing, feed, .. } => feed::stream(feed, showing, shared.stopped.subscribe()),
        Taken::Refused(response) => response,
        Taken::Cut => cut(),
    }
}

/// `POST /v1/conversations/{id}/cancel`. What the model was saying is stored all the same, as by the real server.
pub(super) async fn cancel(Shelf(shared): Server, Path(id): Path<String>) -> Response {
    let mut state = shared.lock();
    let Some(row) = state.conversations.get(&id) else { return wire::not_found("Conversation", &id) };
    let active = row.runs.iter().filter(|run| state.runs.get(*run).is_some_and(|row| row.is_active()));
    let active: Vec<String> = active.cloned().collect();
    if active.is_empty() {
        return wire::detail(StatusCode::CONFLICT, "NO_ACTIVE_RUNS: no active runs to cancel");
    }
    let mut cancelled = Map::new();
    for run in active {
        // Without Redis nothing tells the run; only a run that nobody works on stays cancelled.
        if state.script.redis || state.runs.get(&run).is_some_and(|row| row.orphan) {
            let feed = Arc::clone(&state.runs[&run].feed);
            feed.push(wire::stop_reason("cancelled"));
            feed.close(None);
            state.end_run(&run, "cancelled", Some("cancelled"), None);
        }
        cancelled.insert(run, json!("cancelled"));
    }
    Json(Value::Object(cancelled)).into_response()
}
