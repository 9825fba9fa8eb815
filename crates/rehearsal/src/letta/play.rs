//! Plays a turn: what the agent does, in which order, and what of it is stored.

use std::{sync::Arc, time::Duration};

use broca_core::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::{
    Shared,
    feed::{DONE, Feed},
    journal::Entry,
    script::Behaviour,
    state::ShownImage,
    state::TurnLine,
    wire,
};

/// A turn that was accepted.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) run: String,
    pub(super) conversation: String,
    pub(super) otid: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) text: String,
    pub(super) images: Vec<ShownImage>,
    /// Answers a request for approval, rather than saying something.
    pub(super) is_denial: bool,
    pub(super) behaviour: Behaviour,
    pub(super) takes: Duration,
    pub(super) started_at: Timestamp,
    pub(super) feed: Arc<Feed>,
    pub(super) memory: Vec<String>,
}

/// How a turn goes.
#[derive(Debug, Default)]
struct Plot {
    /// Stored when half of the time is over.
    first_step: Vec<(&'static str, Value)>,
    last_step: Vec<(&'static str, Value)>,
    /// What the stream shows in place of the last step's messages.
    chunks: Option<Vec<(&'static str, Value)>>,
    status: &'static str,
    stop_reasons: Vec<String>,
    error: Option<String>,
    asks: Option<String>,
    stores: bool,
}

/// Runs `turn` to its end, or until the server is killed.
pub(super) async fn play(shared: Arc<Shared>, turn: Turn) {
    let mut stopped = shared.stopped.subscribe();
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = perform(&shared, &turn) => {}
    }
}

async fn perform(shared: &Shared, turn: &Turn) {
    if turn.behaviour == Behaviour::Stuck {
        return std::future::pending().await;
    }
    let plot = plot(turn, &shared.lock().script.prefix);
    let half = turn.takes / 2;
    tokio::time::sleep(half).await;
    let mut user =
        Some(("user_message", json!({"content": content(turn), "otid": turn.otid, "sender_id": turn.sender})));
    if !plot.first_step.is_empty() {
        if !turn.is_denial {
            store(shared, turn, user.take().into_iter());
        }
        tell(turn, &store(shared, turn, plot.first_step.iter().cloned()));
    }
    tokio::time::sleep(turn.takes - half).await;
    if plot.stores && !turn.is_denial {
        store(shared, turn, user.take().into_iter());
    }
    let last = if plot.stores { store(shared, turn, plot.last_step.iter().cloned()) } else { Vec::new() };
    match &plot.chunks {
        Some(chunks) => {
            // Chunks share the id of the message that they make up.
            let id = last.last().map_or_else(|| json!(wire::id("message")), |message| message["id"].clone());
            let chunks = chunks.iter().cloned().map(|(kind, fields)| message(turn, kind, id.clone(), fields));
            tell(turn, &chunks.collect::<Vec<_>>());
        }
        None => tell(turn, &last),
    }
    end(shared, turn, &plot);
}

fn end(shared: &Shared, turn: &Turn, plot: &Plot) {
    let reply = plot.first_step.iter().chain(&plot.last_step).filter(|(kind, _)| *kind == "assistant_message");
    let reply: Vec<&str> = reply.filter_map(|(_, fields)| fields["content"].as_str()).collect();
    for reason in &plot.stop_reasons {
        turn.feed.push(wire::stop_reason(reason));
    }
    match &plot.error {
        Some(kind) => turn.feed.push(wire::error_event(&turn.run, kind)),
        None => turn.feed.push(wire::usage(&turn.text, &reply.join(" "))),
    }
    let mut state = shared.lock();
    if (plot.stores || !plot.first_step.is_empty()) && !turn.is_denial {
        state.ran(TurnLine {
            conversation: turn.conversation.clone(),
            otid: turn.otid.clone(),
            run_id: turn.run.clone(),
            text: turn.text.clone(),
            sender: turn.sender.clone(),
            images: turn.images.clone(),
            reply: reply.join("\n\n"),
            started_at_us: turn.started_at.micros(),
            finished_at_us: SystemClock.now().micros(),
            memory: turn.memory.clone(),
        });
    }
    let reason = plot.stop_reasons.last().map(String::as_str);
    turn.feed.close(plot.error.is_none().then_some(DONE));
    state.end_run(&turn.run, plot.status, reason, plot.error.clone());
    if let Some(call) = &plot.asks {
        let asked = state.conversations.get(&turn.conversation).and_then(|row| row.messages.last());
        let message = asked.map(|stored| stored.id.clone()).unwrap_or_default();
        let conversation = turn.conversation.clone();
        state.record(Entry::Pending { conversation, message, call: Some(call.clone()) });
    }
}

fn plot(turn: &Turn, prefix: &str) -> Plot {
    let say = |text: String| ("assistant_message", json!({"content": text}));
    let answer = || say(format!("{prefix}{}", turn.text));
    let plain = Plot {
        status: "completed",
        stop_reasons: vec!["end_turn".to_owned()],
        stores: true,
        last_step: vec![answer()],
        ..Plot::default()
    };
    let failed = |kind: &str| Plot {
        status: "failed",
        stop_reasons: vec!["llm_api_error".to_owned()],
        error: Some(kind.to_owned()),
        ..Plot::default()
    };
    if turn.is_denial {
        let response = ("approval_response_message", json!({"approve": false}));
        return Plot { last_step: vec![response, say("I go on without the tool.".to_owned())], ..plain };
    }
    match &turn.behaviour {
        Behaviour::LlmFails(kind) => failed(kind),
        Behaviour::LaterStepFails(kind) => Plot { first_step: vec![call(), returned()], ..failed(kind) },
        Behaviour::LlmDies => Plot {
            chunks: Some(vec![say(prefix.to_owned())]),
            status: "completed",
            stop_reasons: vec!["error".to_owned(), "llm_api_error".to_owned()],
            ..failed("internal_error")
        },
        Behaviour::Empty => Plot { last_step: Vec::new(), ..plain },
        Behaviour::Several => Plot { first_step: vec![say("Let me look.".to_owned()), call(), returned()], ..plain },
        Behaviour::Chunks => Plot { chunks: Some(vec![say(prefix.to_owned()), say(turn.text.clone())]), ..plain },
        Behaviour::Approval => {
            let call_id = wire::id("call");
            let asked = json!({"name": "send_email", "arguments": "{}", "tool_call_id": call_id});
            let request = ("approval_request_message", json!({"tool_call": asked, "tool_calls": [asked]}));
            Plot {
                last_step: vec![say("I would like to use a tool.".to_owned()), request],
                stop_reasons: vec!["requires_approval".to_owned()],
                asks: Some(call_id),
                ..plain
            }
        }
        Behaviour::Ends(reason) => Plot { last_step: Vec::new(), stop_reasons: vec![reason.clone()], ..plain },
        Behaviour::EndsSaying(reason) => Plot { stop_reasons: vec![reason.clone()], ..plain },
        _ => plain,
    }
}

fn call() -> (&'static str, Value) {
    let call = json!({"name": "archival_memory_search", "arguments": "{}", "tool_call_id": "call_1"});
    ("tool_call_message", json!({"tool_call": call, "tool_calls": [call]}))
}

fn returned() -> (&'static str, Value) {
    ("tool_return_message", json!({"tool_return": "[]", "status": "success", "tool_call_id": "call_1"}))
}

/// Puts messages into the conversation; what was put.
fn store(shared: &Shared, turn: &Turn, messages: impl Iterator<Item = (&'static str, Value)>) -> Vec<Value> {
    let mut state = shared.lock();
    messages
        .map(|(kind, fields)| {
            let id = wire::id("message");
            let value = message(turn, kind, json!(id), fields);
            let (conversation, run) = (turn.conversation.clone(), turn.run.clone());
            state.record(Entry::Message { conversation, run, id, json: value.to_string() });
            value
        })
        .collect()
}

/// As it is stored: images are shown with their bytes, in every listing.
fn content(turn: &Turn) -> Value {
    if turn.images.is_empty() {
        return json!(turn.text);
    }
    let image = |image: &ShownImage| {
        let source =
            json!({"type": "letta", "file_id": wire::id("file"), "media_type": image.media_type, "data": image.data});
        json!({"type": "image", "source": source})
    };
    let text = json!({"type": "text", "text": turn.text});
    std::iter::once(text).chain(turn.images.iter().map(image)).collect()
}

fn message(turn: &Turn, kind: &str, id: Value, fields: Value) -> Value {
    let mut message = json!({
        "id": id, "date": wire::date(SystemClock.now()), "message_type": kind, "name": null, "otid": null,
        "sender_id": null, "step_id": null, "is_err": null, "seq_id": null, "run_id": turn.run,
    });
    if let (Some(message), Value::Object(fields)) = (message.as_object_mut(), fields) {
        message.extend(fields);
    }
    message
}

/// The stream shows what the agent did, never the user's own message.
fn tell(turn: &Turn, messages: &[Value]) {
    for message in messages {
        turn.feed.push(message.clone());
    }
}
