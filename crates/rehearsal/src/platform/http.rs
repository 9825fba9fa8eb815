//! The platform's HTTP side.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use broca_core::ResponseId;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout_at},
};

use super::{Delivery, Fault, PlatformScript, Shared, record::Send};

/// A poll never gives more updates than this.
const MAX_BATCH: usize = 100;
/// A poll never waits longer than this, in milliseconds.
const MAX_WAIT_MS: u64 = 50_000;

type Platform = State<Arc<Shared>>;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let router = Router::new()
        .route("/updates", get(updates))
        .route("/say", post(say))
        .route("/send", post(send))
        .route("/sent/{response_id}", get(sent))
        .route("/log", get(log))
        .route("/script", post(script))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), while_running))
        .with_state(Arc::clone(&shared));
    let mut stopped = shared.stopped.subscribe();
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // The sender lives as long as the router, so this ends when it says so.
            if stopped.wait_for(|stopped| *stopped).await.is_err() {
                tracing::debug!("the scripted platform was dropped");
            }
        })
        .await
}

/// A platform that stops answers nobody, whatever it was doing for them.
async fn while_running(State(shared): Platform, request: Request, next: Next) -> Response {
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

#[derive(Deserialize)]
struct Poll {
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    wait_ms: u64,
}

async fn updates(State(shared): Platform, Query(poll): Query<Poll>) -> Response {
    let fault = shared.lock().script.update_faults.pop_front();
    if let Some(failed) = before(fault) {
        return failed;
    }
    let limit = poll.limit.unwrap_or(MAX_BATCH).min(MAX_BATCH);
    let deadline = Instant::now() + Duration::from_millis(poll.wait_ms.min(MAX_WAIT_MS));
    let mut changes = shared.changes.subscribe();
    loop {
        let page = shared.updates(poll.offset, limit);
        if page.is_empty() && timeout_at(deadline, changes.changed()).await.is_ok() {
            continue;
        }
        return if fault == Some(Fault::CutAfter) { cut() } else { Json(json!({ "updates": page })).into_response() };
    }
}

#[derive(Deserialize)]
struct Say {
    user: String,
    text: String,
    #[serde(default)]
    chat_id: Option<String>,
}

async fn say(State(shared): Platform, Json(said): Json<Say>) -> Response {
    Json(json!({ "update_id": shared.say(said.user, said.chat_id, said.text) })).into_response()
}

async fn send(State(shared): Platform, Json(send): Json<Send>) -> Response {
    let (fault, delay_ms, hold_ms) = {
        let mut state = shared.lock();
        if state.script.blocked.contains(&send.user) {
            state.refused.push(send.user);
            return (StatusCode::FORBIDDEN, Json(json!({ "error": "blocked by the user" }))).into_response();
        }
        (state.script.send_faults.pop_front(), state.script.delay_ms, state.script.hold_ms)
    };
    if let Some(failed) = before(fault) {
        return failed;
    }
    if delay_ms > 0 {
        sleep(Duration::from_millis(delay_ms)).await;
    }
    let logged = shared.lock().record.append(send);
    shared.changed();
    let delivery = match logged {
        Ok(delivery) => delivery,
        Err(error) => {
            tracing::error!(%error, "the platform cannot keep its log");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    if hold_ms > 0 {
        sleep(Duration::from_millis(hold_ms)).await;
    }
    if fault == Some(Fault::CutAfter) {
        cut()
    } else {
        Json(json!({ "message_id": delivery.message_id })).into_response()
    }
}

async fn sent(State(shared): Platform, Path(response): Path<ResponseId>) -> Response {
    if shared.lock().script.receipts_away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let parts = shared.parts_of(response);
    if parts.is_empty() {
        return (StatusCode::NOT_FOUND, Json(json!({ "error": "no such answer was sent" }))).into_response();
    }
    let part = |sent: &Delivery| json!({ "message_id": sent.message_id, "bytes": sent.text.len(), "last": sent.last });
    Json(json!({ "parts": parts.iter().map(part).collect::<Vec<_>>() })).into_response()
}

async fn log(State(shared): Platform) -> Response {
    Json(json!({ "items": shared.lock().record.all() })).into_response()
}

async fn script(State(shared): Platform, Json(new): Json<PlatformScript>) -> Response {
    let mut state = shared.lock();
    let (log, first_update) = (state.script.log.take(), state.script.first_update);
    state.script = PlatformScript { log, first_update, ..new };
    StatusCode::NO_CONTENT.into_response()
}

/// The answer of a fault that strikes before anything is done.
fn before(fault: Option<Fault>) -> Option<Response> {
    match fault? {
        Fault::RateLimited { retry_after_s } => {
            let headers = [(RETRY_AFTER, retry_after_s.to_string())];
            Some((StatusCode::TOO_MANY_REQUESTS, headers, "slow down").into_response())
        }
        Fault::ServerError => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        Fault::CutBefore => cut(),
        Fault::None | Fault::CutAfter => None,
    }
}
