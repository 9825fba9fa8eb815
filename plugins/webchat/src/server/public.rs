//! What pages ask: to say something, and what was answered. Whoever knows a session's id is its page.

use std::sync::Arc;

use axum::http::StatusCode;
use broca_core::{Incoming, MessageId, Sender};
use broca_plugin::IngestError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::Call,
    asked::checked_session,
    book::{Said, Session, Told},
    limits::Counted,
    reply::{Done, Outcome, Refused},
    shared::Shared,
    store::{Accepted, Visitor},
};
use crate::wire::{iso, uid_of, username};

#[derive(Debug, Deserialize)]
struct Written {
    session_id: String,
    message: String,
    /// The page's own id of the message: said twice, it is one message.
    #[serde(default)]
    client_message_id: Option<String>,
    /// What the browser keeps for its person: with it, several sessions are one person's.
    #[serde(default)]
    visitor: Option<String>,
}

const MAX_CLIENT_ID: usize = 64;
/// A visitor's secret is not to be guessed.
const MIN_VISITOR: usize = 22;

fn is_word(text: &str, least: usize) -> bool {
    (least..=MAX_CLIENT_ID).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
}

impl Written {
    fn checked(self, max_chars: usize) -> Result<Self, Refused> {
        checked_session(&self.session_id)?;
        if self.client_message_id.as_deref().is_some_and(|id| !is_word(id, 1)) {
            return Err(Refused::bad("Invalid client_message_id: use up to 64 letters and digits"));
        }
        if self.visitor.as_deref().is_some_and(|visitor| !is_word(visitor, MIN_VISITOR)) {
            return Err(Refused::bad("Invalid visitor: use 22 to 64 random letters and digits"));
        }
        let chars = self.message.chars().count();
        if chars > max_chars {
            return Err(Refused::bad(format!(
                "The message has {chars} characters, more than {max_chars}: send it in parts"
            )));
        }
        Ok(self)
    }
}

/// `messages`: it is the pipeline's before the page is told so.
pub(super) async fn say(call: Call) -> Outcome {
    let shared = &call.shared;
    let written: Written = call.json()?;
    let written = written.checked(shared.settings.max_message_chars)?;
    let counted = Counted::Session(written.session_id.clone());
    shared.limits.admit(counted, shared.settings.per_minute.session).map_err(Refused::too_many)?;
    let visitor = Visitor {
        uid: uid_of(written.visitor.as_deref().unwrap_or(&written.session_id)),
        session: written.session_id,
        address: call.caller.address.to_string(),
    };
    let key = written.client_message_id.clone().unwrap_or_else(|| MessageId::new().to_string());
    let message = accept(shared, &visitor, &key, written.message.clone()).await?;
    let accepted = Accepted { message, client: written.client_message_id, text: written.message.clone() };
    let (id, at, is_new_user) = shared.store.said(&visitor, accepted).await;
    let data = json!({
        "message_id": id, "session_id": visitor.session, "message": written.message, "timestamp": iso(at),
        "uid": visitor.uid, "is_new_user": is_new_user,
    });
    Ok(Done::new("Message submitted successfully", data))
}

async fn accept(shared: &Shared, visitor: &Visitor, key: &str, text: String) -> Result<MessageId, Refused> {
    let Visitor { session, uid, .. } = visitor;
    let incoming = Incoming {
        event_id: format!("{session}/{key}"),
        sender: Sender {
            platform_user_id: uid.clone(),
            username: Some(username(uid)),
            display_name: None,
            metadata: json!({"session_id": session, "uid": uid, "source": "web_chat"}),
        },
        text,
        attributes: json!({"session_id": session}),
        ..Incoming::default()
    };
    match shared.ctx.ingest(incoming).await {
        Ok(ingested) => Ok(ingested.message()),
        Err(IngestError::Refused(refusal)) => Err(Refused::new(StatusCode::BAD_REQUEST, refusal)),
        Err(IngestError::Unavailable(reason)) => {
            tracing::warn!(reason, "a message could not be taken");
            Err(Refused::unavailable("The message was not taken: send it again in a moment"))
        }
    }
}

/// `responses`
pub(super) fn responses(call: &Call) -> Outcome {
    let name = call.asked.session()?;
    let since = call.asked.since()?;
    let after: u64 = number(call.asked.after.as_deref())?;
    let wanted = |told: &&Told| told.id > after && since.is_none_or(|since| told.at > since);
    let told = call.shared.store.session(name, |session| {
        session.told.values().filter(wanted).map(|told| response(name, told)).collect::<Vec<_>>()
    });
    let told = told.unwrap_or_default();
    if let Some(last) = told.last().and_then(|told| told["id"].as_u64()) {
        call.shared.store.seen(name, last);
    }
    Ok(Done::new("Responses retrieved successfully", json!({"session_id": name, "responses": told})))
}

pub(super) fn number(text: Option<&str>) -> Result<u64, Refused> {
    let text = text.filter(|text| !text.is_empty());
    text.map_or(Ok(0), |text| text.parse().map_err(|_| Refused::bad("after is not the id of an answer")))
}

/// An answer, as pages get it.
pub(super) fn response(session: &str, told: &Told) -> Value {
    json!({
        "id": told.id, "session_id": session, "response": told.text, "timestamp": iso(told.at), "message_id": told.message,
        "kind": told.kind,
    })
}

/// `conversation`: all that was said in the session, for a page that was loaded anew.
pub(super) async fn conversation(call: Call) -> Outcome {
    let name = call.asked.session()?;
    look(&call.shared, name).await;
    let message = |said: &Said, session: &Session| {
        json!({
            "id": said.id, "client_message_id": said.client, "message": said.text, "timestamp": iso(said.at),
            "state": session.ended.get(&said.id),
        })
    };
    let found = call.shared.store.session(name, |session| {
        json!({
            "session_id": name,
            "messages": session.said.values().map(|said| message(said, session)).collect::<Vec<_>>(),
            "responses": session.told.values().map(|told| response(name, told)).collect::<Vec<_>>(),
        })
    });
    let data = found.unwrap_or_else(|| json!({"session_id": name, "messages": [], "responses": []}));
    Ok(Done::new("Conversation retrieved successfully", data))
}

/// Messages of a session that are asked after at a time: the newest.
const MAX_LOOKS: usize = 20;

/// Asks the pipeline what became of messages that nobody answered so far.
pub(super) async fn look(shared: &Arc<Shared>, name: &str) {
    let open: Option<Vec<(u64, MessageId)>> = shared
        .store
        .session(name, |session| session.open().rev().take(MAX_LOOKS).map(|said| (said.id, said.message)).collect());
    for (id, message) in open.into_iter().flatten() {
        let Ok(Some(status)) = shared.ctx.status(message).await else { continue };
        // An answer is on its way here, or will not come and is a dead letter that an operator sees to.
        if status.state.is_terminal() && status.state != broca_core::MessageState::Held && status.answer.is_none() {
            shared.store.ended(name, id, status.state.as_str());
        }
    }
}
