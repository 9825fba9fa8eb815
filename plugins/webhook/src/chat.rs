//! Requests with a bearer key: say something and wait for the answer, look for it later, read what was said.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, LOCATION},
    },
    response::{IntoResponse, Response},
};
use broca_core::{MessageId, Timestamp};
use broca_plugin::{HistoryEntry, MessageStatus};
use ring::hmac;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    api::{Refused, Road, Shared, Written, json_body, unavailable},
    settings::Chat,
};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const DEFAULT_WAIT_S: u64 = 30;
const HISTORY: u32 = 20;
const MAX_HISTORY: u32 = 100;

/// 200 with the answer, or with the end that the message came to; 202 when it is not over yet.
pub(crate) async fn say(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let (chat, caller) = caller(&shared, &headers)?;
    let written: Written = json_body(&body)?;
    let until = deadline(chat, written.wait_s);
    // Without a key of the caller's a repeated request is a new message.
    let key = match headers.get(IDEMPOTENCY_KEY) {
        Some(key) => key.to_str().map_err(|_| bad_key())?.to_owned(),
        None => MessageId::new().to_string(),
    };
    let event_id = format!("chat/{caller}/{key}");
    let ingested = shared.ingest(written.incoming(event_id, Some(caller), Road::Chat)).await?;
    outcome(&shared, ingested.message(), until).await
}

fn bad_key() -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "bad_header", "the Idempotency-Key has characters that are not ASCII")
}

#[derive(Debug, Deserialize)]
pub(crate) struct Look {
    #[serde(default)]
    wait_s: u64,
}

/// Where a message stands. Whoever has its id and a key of this instance may ask.
pub(crate) async fn look(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(look): Query<Look>,
) -> Result<Response, Refused> {
    let (chat, _) = caller(&shared, &headers)?;
    let message: MessageId = id.parse().map_err(|_| no_such_message())?;
    outcome(&shared, message, deadline(chat, Some(look.wait_s))).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct Whose {
    user: String,
    #[serde(default)]
    limit: Option<u32>,
}

#[derive(Serialize)]
struct Said {
    message_id: MessageId,
    text: String,
    state: broca_core::MessageState,
    answer: Option<String>,
    received_at_us: Timestamp,
}

/// What a person of the caller said and was answered, oldest first.
pub(crate) async fn history(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Query(whose): Query<Whose>,
) -> Result<Response, Refused> {
    let (_, caller) = caller(&shared, &headers)?;
    let limit = whose.limit.unwrap_or(HISTORY).clamp(1, MAX_HISTORY);
    let user = format!("{caller}/{}", whose.user);
    let entries = shared.ctx.history(&user, limit).await.map_err(|error| unavailable(&error.to_string()))?;
    let said = |entry: HistoryEntry| Said {
        message_id: entry.message_id,
        text: entry.text,
        state: entry.state,
        answer: entry.answer,
        received_at_us: entry.received_at,
    };
    let items: Vec<Said> = entries.into_iter().map(said).collect();
    Ok(Json(serde_json::json!({ "items": items })).into_response())
}

/// Who asks, by the key.
fn caller<'a>(shared: &'a Shared, headers: &HeaderMap) -> Result<(&'a Chat, &'a str), Refused> {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let chat = shared.settings.chat.as_ref().ok_or_else(unauthorised)?;
    // Every key is compared, and no comparison says how far it got.
    let known = chat
        .keys
        .iter()
        .fold(None, |known, (name, key)| if same(key.expose_secret(), given) { Some(name) } else { known });
    known.map(|name| (chat, name.as_str())).ok_or_else(unauthorised)
}

fn unauthorised() -> Refused {
    Refused::new(StatusCode::UNAUTHORIZED, "unauthorised", "send `Authorization: Bearer` with a key of this instance")
}

/// Compares two MACs instead of two texts, which takes as long wherever they differ.
fn same(key: &str, given: &str) -> bool {
    let mac = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    hmac::verify(
        &mac,
        key.as_bytes(),
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, given.as_bytes()), key.as_bytes()).as_ref(),
    )
    .is_ok()
}

fn deadline(chat: &Chat, wait_s: Option<u64>) -> Instant {
    Instant::now() + Duration::from_secs(wait_s.unwrap_or(DEFAULT_WAIT_S)).min(chat.max_wait)
}

async fn outcome(shared: &Shared, message: MessageId, until: Instant) -> Result<Response, Refused> {
    let waited = shared.waiting.outcome(&shared.ctx, message, until).await;
    let status = waited.map_err(|error| unavailable(&error.to_string()))?.ok_or_else(no_such_message)?;
    Ok(told(status))
}

fn no_such_message() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "not_found", "this instance has no message of that id")
}

fn told(status: MessageStatus) -> Response {
    if status.state.is_terminal() {
        return Json(status).into_response();
    }
    let place = HeaderValue::try_from(format!("/v1/messages/{}", status.message_id));
    let mut response = (StatusCode::ACCEPTED, Json(status)).into_response();
    if let Ok(place) = place {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}
