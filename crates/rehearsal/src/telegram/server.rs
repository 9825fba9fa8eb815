//! The HTTP side: `/bot<token>/<method>`, and what is in front of every method.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{any, get},
};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::{Fault, Shared, TOKEN, methods};

/// What a call comes to.
pub(super) enum Outcome {
    Result(Value),
    /// Code, description, parameters.
    Refused(u16, String, Value),
    Gateway(u16),
    Cut,
}

impl Outcome {
    pub(super) fn refused(code: u16, description: &str) -> Self {
        Self::Refused(code, description.to_owned(), Value::Null)
    }

    /// What a fault makes of a call of which nothing was done.
    pub(super) fn before(fault: Option<Fault>) -> Option<Self> {
        Some(match fault? {
            Fault::RateLimited { retry_after_s } => Self::Refused(
                429,
                format!("Too Many Requests: retry after {retry_after_s}"),
                json!({"retry_after": retry_after_s}),
            ),
            Fault::ServerError => Self::refused(500, "Internal Server Error: restart"),
            Fault::Gateway(status) => Self::Gateway(status),
            Fault::Conflict => Self::refused(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
            ),
            Fault::CutBefore => Self::Cut,
            Fault::CutAfter => return None,
        })
    }
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/{bot}/{method}", any(call))
        .route("/file/{bot}/files/{id}", get(file))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), while_running))
        .with_state(Arc::clone(&shared));
    let mut stopped = shared.stopped.subscribe();
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        if stopped.wait_for(|stopped| *stopped).await.is_err() {
            tracing::debug!("the scripted Telegram was dropped");
        }
    });
    if let Err(error) = served.await {
        tracing::error!(%error, "the scripted Telegram ended");
    }
}

/// A server that stops answers nobody, whatever it was doing for them.
async fn while_running(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut stopped = shared.stopped.subscribe();
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => cut(),
        response = next.run(request) => response,
    }
}

/// Closes the connection without an answer: the server's task for it ends here, quietly.
fn cut() -> ! {
    std::panic::resume_unwind(Box::new("connection cut by the script"))
}

async fn call(
    State(shared): State<Arc<Shared>>,
    Path((bot, method)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let outcome = match bot.strip_prefix("bot") {
        None => Outcome::refused(404, "Not Found"),
        Some(token) if token != TOKEN || shared.lock().script.revoked => Outcome::refused(401, "Unauthorized"),
        Some(_) => match arguments(query, &headers, &body) {
            Ok(arguments) => {
                // Methods are the same in any case of letters.
                let method = method.to_ascii_lowercase();
                shared.lock().calls.push(method.clone());
                methods::call(&shared, &method, &arguments).await
            }
            Err(description) => Outcome::refused(400, description),
        },
    };
    answer(outcome)
}

/// Files are given out beside the methods, in no envelope.
async fn file(State(shared): State<Arc<Shared>>, Path((bot, id)): Path<(String, String)>) -> Response {
    let mut state = shared.lock();
    state.calls.push("file".to_owned());
    let known = bot.strip_prefix("bot").is_some_and(|token| token == TOKEN) && !state.script.revoked;
    let (fault, content) = (state.script.file_faults.pop_front(), state.script.files.get(&id).cloned());
    drop(state);
    match (Outcome::before(fault), content.filter(|_| known)) {
        (Some(failed), _) => answer(failed),
        (None, None) => answer(Outcome::refused(404, "Not Found")),
        (None, Some(_)) if fault.is_some() => cut(),
        (None, Some(content)) => content.into_response(),
    }
}

/// Query, form and JSON are all the same to Telegram.
fn arguments(
    query: HashMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Map<String, Value>, &'static str> {
    let mut arguments: Map<String, Value> = query.into_iter().map(|(name, value)| (name, value.into())).collect();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/json") {
        match serde_json::from_slice(body) {
            Ok(Value::Object(more)) => arguments.extend(more),
            _ => return Err("Bad Request: can't parse JSON object"),
        }
    }
    Ok(arguments)
}

fn answer(outcome: Outcome) -> Response {
    match outcome {
        Outcome::Result(result) => Json(json!({"ok": true, "result": result})).into_response(),
        Outcome::Refused(code, description, parameters) => {
            let mut body = json!({"ok": false, "error_code": code, "description": description});
            if !parameters.is_null() {
                body["parameters"] = parameters;
            }
            (status(code), Json(body)).into_response()
        }
        Outcome::Gateway(code) => (status(code), Html(format!("<html><body>{code}</body></html>"))).into_response(),
        Outcome::Cut => cut(),
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The real server lets a caller who conflicts wait, so that two of them do not chase each other.
pub(super) const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
