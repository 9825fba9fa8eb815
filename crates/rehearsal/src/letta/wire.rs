//! Letta's JSON, as its server 0.16.8 writes it.

use std::time::{Duration, SystemTime};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use broca_core::Timestamp;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// A new id: `conv-…`, `run-…`, `message-…`.
pub(super) fn id(kind: &str) -> String {
    format!("{kind}-{}", Uuid::new_v4())
}

/// A moment, as RFC 3339 in UTC.
pub(super) fn date(at: Timestamp) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.micros()) * 1000);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

pub(super) fn event(event: &Value) -> String {
    format!("data: {event}\n\n")
}

/// What opens a background stream, and what keeps every stream open.
pub(super) fn ping(run: Option<&str>) -> Value {
    json!({"id": "ping", "date": date(Timestamp::default()), "message_type": "ping", "run_id": run, "seq_id": null})
}

pub(super) fn stop_reason(reason: &str) -> Value {
    json!({"message_type": "stop_reason", "stop_reason": reason})
}

pub(super) fn usage(text: &str, reply: &str) -> Value {
    let words = |text: &str| text.split_whitespace().count();
    json!({
        "message_type": "usage_statistics", "prompt_tokens": words(text), "completion_tokens": words(reply),
        "total_tokens": words(text) + words(reply), "step_count": 1, "run_ids": null,
    })
}

/// `event: error`, after which nothing follows.
pub(super) fn error_event(run: &str, kind: &str) -> Value {
    json!({
        "message_type": "error_message", "run_id": run, "error_type": kind,
        "message": "An error occurred with the LLM request.", "detail": "scripted", "seq_id": null,
    })
}

/// A body of the first shape: `{"detail": "…"}`.
pub(super) fn detail(status: StatusCode, detail: impl Into<String>) -> Response {
    (status, Json(json!({"detail": detail.into()}))).into_response()
}

pub(super) fn not_found(what: &str, id: &str) -> Response {
    detail(StatusCode::NOT_FOUND, format!("NOT_FOUND: {what} not found with id='{id}'"))
}

pub(super) fn needs_redis() -> Response {
    detail(StatusCode::SERVICE_UNAVAILABLE, "Background streaming requires Redis to be running.")
}

pub(super) fn busy(run: &str) -> Response {
    let body = json!({
        "detail": format!("CONFLICT: Cannot send a new message: another request is being processed (run_id={run})"),
        "run_id": run,
    });
    (StatusCode::CONFLICT, Json(body)).into_response()
}

/// A body of the second shape: `{"detail": {"code": …}}`.
pub(super) fn pending_approval(request: &str) -> Response {
    let body = json!({"detail": {
        "code": "PENDING_APPROVAL", "message": "Cannot send a new message: the agent waits for an approval.",
        "pending_request_id": request,
    }});
    (StatusCode::CONFLICT, Json(body)).into_response()
}

/// A body of the third shape: `{"error": {"type": …}}`, with the status that goes with the type.
pub(super) fn model_error(kind: &str) -> Response {
    let status = match kind {
        "llm_rate_limit" => StatusCode::TOO_MANY_REQUESTS,
        "llm_authentication" => StatusCode::UNAUTHORIZED,
        "llm_bad_request" => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(json!({"error": {"type": kind, "message": "scripted", "detail": null}}))).into_response()
}

/// `after` is the value of `Retry-After`: seconds or a date.
pub(super) fn not_now(status: StatusCode, after: impl Into<HeaderValue>) -> Response {
    let mut response = detail(status, "Not now");
    response.headers_mut().insert(RETRY_AFTER, after.into());
    response
}

/// The moment that is so many seconds away, as HTTP writes it. Its unit is the second, so it is rounded up.
pub(super) fn http_date(seconds: u64) -> HeaderValue {
    let at = SystemTime::now() + Duration::from_secs(seconds + 1);
    HeaderValue::from_str(&httpdate::fmt_http_date(at)).unwrap_or(HeaderValue::from_static(""))
}
