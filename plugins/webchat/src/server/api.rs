//! The API: one address, and the action in the query.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{
        ConnectInfo, DefaultBodyLimit, Query, Request, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    admin,
    door::{self, Role},
    outside, page, public,
    reply::Refused,
    shared::Shared,
    stream,
};

/// The longest body: a message of the most characters, each of four bytes and escaped, and what is around it.
const AROUND_BYTES: usize = 4096;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let max_body = shared.settings.max_message_chars * 12 + AROUND_BYTES;
    Router::new()
        .route("/api/v1/", any(act))
        .route("/api/v1", any(act))
        .route("/api/v1/index.php", any(act))
        .layer(DefaultBodyLimit::max(max_body))
        .layer(middleware::from_fn_with_state(shared.clone(), while_there_is_room))
        .route("/", get(page::page))
        .route("/chat.js", get(page::script))
        .route("/chat.css", get(page::style))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(|| async { Refused::not_found("There is nothing at this address") })
        .layer(middleware::from_fn(strict))
        .with_state(shared)
}

/// No reply is kept by anybody between, guessed at, or shown within another site's page.
async fn strict(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

async fn while_there_is_room(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match shared.requests.try_acquire() {
        Ok(_room) => next.run(request).await,
        Err(_) => Refused::unavailable("Too many requests at a time: come back in a moment").into_response(),
    }
}

/// Everything that a query may have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    action: String,
    pub(super) session_id: Option<String>,
    pub(super) limit: Option<String>,
    pub(super) offset: Option<String>,
    pub(super) since: Option<String>,
    pub(super) active: Option<String>,
    /// The id of the last answer that a page has.
    pub(super) after: Option<String>,
}

/// One request, read.
pub(super) struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) caller: door::Caller,
    pub(super) asked: Asked,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

impl Call {
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_json::from_slice(&self.body).map_err(|error| Refused::bad(format!("Invalid JSON: {error}")))
    }
}

/// What an action is called, how, and by whom.
const ACTIONS: &[(&str, Method, Role)] = &[
    ("messages", Method::POST, Role::Public),
    ("responses", Method::GET, Role::Public),
    ("conversation", Method::GET, Role::Public),
    ("stream", Method::GET, Role::Public),
    ("inbox", Method::GET, Role::Plugin),
    ("outbox", Method::POST, Role::Plugin),
    ("sessions", Method::GET, Role::Admin),
    ("session_messages", Method::GET, Role::Admin),
    ("config", Method::GET, Role::Admin),
    ("config", Method::POST, Role::Admin),
    ("cleanup", Method::POST, Role::Admin),
    ("clear_data", Method::POST, Role::Admin),
];

fn role_of(action: &str) -> Option<Role> {
    ACTIONS.iter().find(|(name, ..)| *name == action).map(|(.., role)| *role)
}

fn check(action: &str, method: &Method) -> Result<(), Refused> {
    let mut known = ACTIONS.iter().filter(|(name, ..)| *name == action).peekable();
    if known.peek().is_none() {
        return Err(Refused::bad("Invalid action"));
    }
    if !known.any(|(_, allowed, _)| allowed == method) {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"));
    }
    Ok(())
}

async fn act(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    asked: Result<Query<Asked>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    // What cannot be read has no action, and is counted as such.
    let Query(asked) = asked.unwrap_or_default();
    let origin = door::allowed_origin(&shared, &headers).and_then(|origin| HeaderValue::from_str(origin).ok());
    let role = role_of(&asked.action);
    let mut response = if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        answer(shared, peer, asked, method, headers, body).await.unwrap_or_else(IntoResponse::into_response)
    };
    // Of other sites' pages, those that may chat read the replies; what needs a key is for no other site's page.
    if role == Some(Role::Public) {
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
            let named = HeaderValue::from_static("content-type, last-event-id, authorization");
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, named);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
    }
    response
}

async fn answer(
    shared: Arc<Shared>,
    peer: SocketAddr,
    asked: Asked,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    // Whoever tries names out is counted, too.
    let caller = door::admit(&shared, &headers, peer, role_of(&asked.action).unwrap_or(Role::Public))?;
    check(&asked.action, &method)?;
    let body = body.map_err(|error| Refused::new(error.status(), "The body is too long, or was cut off"))?;
    let action = asked.action.clone();
    let call = Call { shared, caller, asked, headers, body };
    let done = match (action.as_str(), method == Method::POST) {
        ("stream", _) => return stream::listen(call),
        ("messages", _) => public::say(call).await,
        ("responses", _) => public::responses(&call),
        ("conversation", _) => public::conversation(call).await,
        ("inbox", _) => outside::inbox(call).await,
        ("outbox", _) => outside::outbox(call).await,
        ("sessions", _) => admin::sessions(&call),
        ("session_messages", _) => admin::session_messages(&call),
        ("config", false) => admin::config(&call),
        ("config", true) => admin::configure(call).await,
        ("cleanup", _) => admin::cleanup(call).await,
        _ => admin::clear_data(call).await,
    };
    done.map(IntoResponse::into_response)
}
