//! `POST /v1/operations/<name>` does one, `GET /v1/operations` is the table.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use broca_admin::operations::{Caller, Code, Deps, Entry, OperationError, table};
use serde_json::{Value, json};

use super::{
    MAX_BODY_BYTES,
    guard::{Door, guard},
    healthz, refused, to_its_end, with_status,
};

pub(crate) fn router(door: Door, deps: Arc<Deps>) -> Router {
    let guarded = Router::new()
        .route("/v1/operations", get(list))
        .route("/v1/operations/{name}", post(call))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(door, guard))
        .with_state(deps);
    Router::new().route("/healthz", get(healthz)).merge(guarded)
}

async fn nothing_here() -> Response {
    refused(
        &OperationError::new(Code::NotFound, "there is nothing here")
            .hint("GET /v1/operations, or POST /v1/operations/<name>"),
    )
}

async fn list() -> Response {
    let items: Vec<Value> = table::ALL.iter().map(described).collect();
    Json(json!({"items": items})).into_response()
}

/// A line of the table, for programs.
pub(crate) fn described(entry: &Entry) -> Value {
    let facts = &entry.facts;
    let absent = facts.absent.iter().map(|(via, why)| json!({"via": via, "reason": why}));
    json!({
        "name": facts.name,
        "summary": facts.summary,
        "access": facts.access,
        "effect": facts.effect.name(),
        "idempotent": facts.effect.is_idempotent(),
        "reaches_people": facts.reaches_people,
        "command": format!("broca {}", facts.cli),
        "absent": absent.collect::<Vec<_>>(),
        "request": entry.request_schema(),
        "answer": entry.answer_schema(),
    })
}

async fn call(
    State(deps): State<Arc<Deps>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return too_much(&rejection),
    };
    let Some(entry) = table::find(&name) else {
        return refused(
            &OperationError::new(Code::NotFound, format!("there is no operation '{name}'"))
                .hint("GET /v1/operations has them"),
        );
    };
    match answer(entry, &deps, &caller, &body).await {
        Ok(answer) => ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
        Err(error) => refused(&error),
    }
}

async fn answer(
    entry: &'static Entry,
    deps: &Arc<Deps>,
    caller: &Caller,
    body: &[u8],
) -> Result<Value, OperationError> {
    let request = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let request = request.map_err(|error| {
        OperationError::new(Code::Usage, format!("the request is no JSON: {error}"))
            .hint("GET /v1/operations has the schema of every request")
    })?;
    to_its_end(entry, deps, caller, request).await
}

fn too_much(rejection: &BytesRejection) -> Response {
    let error = OperationError::new(Code::Usage, format!("the request cannot be read: {rejection}"))
        .hint(format!("a request has {MAX_BODY_BYTES} bytes at most"));
    let status = rejection.status();
    with_status(if status.is_client_error() { status } else { StatusCode::BAD_REQUEST }, &error)
}
