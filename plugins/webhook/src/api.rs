//! What the two roads in have in common: the router, what is shared, and how a request is told what is wrong.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use broca_core::{Attachment, Incoming, Sender};
use broca_plugin::{Context, IngestError, Ingested};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{chat, incoming, settings::Checked, waiting::Waiting};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ctx: Context,
    pub(crate) settings: Arc<Checked>,
    pub(crate) waiting: Waiting,
    requests: Semaphore,
}

impl Shared {
    pub(crate) fn new(ctx: Context, settings: Arc<Checked>, waiting: Waiting) -> Self {
        let requests = Semaphore::new(settings.max_requests);
        Self { ctx, settings, waiting, requests }
    }

    /// Reports a message; only what this gives may be told to the caller.
    pub(crate) async fn ingest(&self, message: Incoming) -> Result<Ingested, Refused> {
        self.ctx.ingest(message).await.map_err(|error| match error {
            IngestError::Refused(refusal) => Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", refusal),
            IngestError::Unavailable(reason) => unavailable(&reason),
        })
    }
}

pub(crate) fn unavailable(reason: &str) -> Refused {
    tracing::warn!(reason, "a request could not be taken");
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "nothing was stored: send it again, under the same id")
}

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let mut roads = Router::new();
    if shared.settings.incoming.is_some() {
        roads = roads.route("/v1/messages", post(incoming::take));
    }
    if shared.settings.chat.is_some() {
        roads = roads
            .route("/v1/chat", post(chat::say))
            .route("/v1/messages/{id}", get(chat::look))
            .route("/v1/history", get(chat::history));
    }
    roads
        .layer(DefaultBodyLimit::max(shared.settings.max_body_bytes))
        .layer(middleware::from_fn_with_state(shared.clone(), while_there_is_room))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(|| async { Refused::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address") })
        .with_state(shared)
}

async fn while_there_is_room(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match shared.requests.try_acquire() {
        Ok(_room) => next.run(request).await,
        Err(_) => {
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests at a time: come back in a second")
                .into_response()
        }
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl ToString) -> Self {
        Self { status, code, message: message.to_string() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": {"code": self.code, "message": self.message}}));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The body as JSON; an error names the place.
pub(crate) fn json_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        Refused::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body is not what is wanted: {error}"))
    })
}

/// Which road a message came by; kept with it, so that its answer takes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Road {
    Webhook,
    Chat,
}

/// What is kept with a message for its answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) road: Road,
    /// The caller's own, handed back with the answer.
    #[serde(default)]
    pub(crate) attributes: Value,
}

/// What both roads take.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    user: String,
    text: String,
    #[serde(default)]
    attachments: Vec<Attachment>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    chat_id: Option<String>,
    #[serde(default)]
    is_group: bool,
    #[serde(default)]
    attributes: Value,
    /// Chat requests only.
    #[serde(default)]
    pub(crate) wait_s: Option<u64>,
}

impl Written {
    /// As a message. What a caller names is the caller's own: `space` keeps the people and chats of two apart.
    pub(crate) fn incoming(self, event_id: String, space: Option<&str>, road: Road) -> Incoming {
        let own = |id: String| space.map_or_else(|| id.clone(), |space| format!("{space}/{id}"));
        Incoming {
            event_id,
            sender: Sender {
                platform_user_id: own(self.user),
                username: self.username,
                display_name: self.display_name,
                metadata: Value::Null,
            },
            chat_id: self.chat_id.map(own),
            is_group: self.is_group,
            text: self.text,
            attachments: self.attachments,
            attributes: json!(Kept { road, attributes: self.attributes }),
            ..Incoming::default()
        }
    }
}
