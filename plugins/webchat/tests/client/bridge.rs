//! A bridge, written from the documents of the original's: it hands a message out once, counts requests, knows which
//! sessions are over, and fails as it is told.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const API_KEY: &str = "api_h8hcbfg4uiqfz6sjy1h6ri";
pub(crate) const ADMIN_KEY: &str = "admin_free0ps_and_more";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refused with that status, and nothing done.
    Status(u16),
    /// Refused by the limits, with the seconds to wait.
    Limited(u64),
    /// Done, but the reply is lost.
    ReplyLost,
    /// Not done, and the connection is cut.
    Cut,
    /// A page of somebody else's.
    Html,
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    /// id, session, text, uid, fetched
    pub(crate) messages: Vec<(u64, String, String, Option<String>, bool)>,
    /// id, session, text, message id as it was sent
    pub(crate) responses: Vec<(u64, String, String, Value)>,
    /// Sessions that are over.
    pub(crate) expired: Vec<String>,
    /// The next calls of an action fail so.
    pub(crate) faults: Vec<(&'static str, Fault)>,
    pub(crate) calls: Vec<String>,
    /// Ids are texts, as some databases give them.
    pub(crate) ids_are_texts: bool,
    /// Messages stay in the inbox until they are answered.
    pub(crate) keeps_until_answered: bool,
    /// Responses do not say which message they answer.
    pub(crate) forgets_message_ids: bool,
}

pub(crate) type Shared = Arc<Mutex<Books>>;

#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) books: Shared,
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Bridge {
    pub(crate) async fn start() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), Shared::default()).await
    }

    async fn on(address: SocketAddr, books: Shared) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/api/v1/", any(serve)).with_state(books.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { books, address, task }
    }

    /// It is down; what it knows is kept.
    pub(crate) async fn stop(&self) {
        self.task.abort();
        while tokio::net::TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn start_again(self) -> Self {
        Self::on(self.address, self.books.clone()).await
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Somebody writes.
    pub(crate) fn says(&self, session: &str, uid: &str, text: &str) -> u64 {
        let mut books = self.books();
        let id = books.messages.len() as u64 + 1;
        books.messages.push((id, session.to_owned(), text.to_owned(), Some(uid.to_owned()), false));
        id
    }

    pub(crate) fn fails(&self, action: &'static str, fault: Fault) {
        self.books().faults.push((action, fault));
    }

    pub(crate) fn answers(&self) -> Vec<String> {
        self.books().responses.iter().map(|(_, _, text, _)| text.clone()).collect()
    }
}

fn success(data: Value) -> Response {
    Json(json!({"success": true, "message": "Done", "timestamp": "2025-08-04T03:17:33+00:00", "data": data}))
        .into_response()
}

fn error(status: u16, error: &str) -> Response {
    let body = json!({"success": false, "error": error, "timestamp": "2025-08-04T03:17:33+00:00"});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn serve(
    State(books): State<Shared>,
    Query(query): Query<std::collections::HashMap<String, String>>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut books = books.lock().unwrap();
    let action = query["action"].clone();
    books.calls.push(action.clone());
    let fault = books.faults.iter().position(|(of, _)| *of == action).map(|at| books.faults.remove(at).1);
    match fault {
        Some(Fault::Status(status)) => return error(status, "as it was told"),
        Some(Fault::Limited(seconds)) => {
            let body = json!({"success": false, "error": "Rate limit exceeded", "code": 429, "retry_after": seconds});
            return (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response();
        }
        Some(Fault::Html) => return (StatusCode::OK, "<html>parked</html>").into_response(),
        Some(Fault::Cut) => return cut(),
        Some(Fault::ReplyLost) | None => {}
    }
    let key = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ")).unwrap_or("");
    let wanted = match action.as_str() {
        "inbox" | "outbox" => API_KEY,
        "sessions" | "session_messages" => ADMIN_KEY,
        _ => key,
    };
    if key != wanted {
        return error(401, "Authentication required");
    }
    let post = method == Method::POST;
    let reply = match action.as_str() {
        "inbox" if !post => inbox(&mut books, &query),
        "outbox" if post => outbox(&mut books, &body),
        "responses" if !post => responses(&books, &query["session_id"]),
        "sessions" if !post => sessions(&books),
        "session_messages" if !post => session_messages(&books, &query["session_id"]),
        _ => error(405, "Method not allowed"),
    };
    if fault.is_some() { cut() } else { reply }
}

/// A body that breaks off.
fn cut() -> Response {
    let broken = futures::stream::iter([Ok(Bytes::from("{\"succ")), Err(std::io::Error::other("cut"))]);
    axum::body::Body::from_stream(broken).into_response()
}

fn id(books: &Books, id: u64) -> Value {
    if books.ids_are_texts { json!(id.to_string()) } else { json!(id) }
}

fn inbox(books: &mut Books, query: &std::collections::HashMap<String, String>) -> Response {
    let number = |name: &str| query[name].parse::<usize>().unwrap();
    let (limit, offset) = (number("limit").min(100), number("offset"));
    let answered =
        |id: u64| books.responses.iter().any(|(.., message)| message.to_string().trim_matches('"') == id.to_string());
    let keeps = books.keeps_until_answered;
    let open: Vec<u64> =
        books.messages.iter().filter(|m| if keeps { !answered(m.0) } else { !m.4 }).map(|m| m.0).collect();
    let page: Vec<u64> = open.iter().copied().skip(offset).take(limit).collect();
    for message in books.messages.iter_mut().filter(|message| page.contains(&message.0)) {
        message.4 = true;
    }
    let rows: Vec<Value> = books.messages.iter().filter(|m| page.contains(&m.0)).map(|(number, session, text, uid, _)| {
        json!({"id": id(books, *number), "session_id": session, "message": text, "timestamp": "2025-08-04T03:08:55.484Z", "uid": uid})
    }).collect();
    let has_more = offset + limit < open.len();
    success(
        json!({"messages": rows, "pagination": {"total": open.len(), "limit": limit, "offset": offset, "has_more": has_more}}),
    )
}

fn outbox(books: &mut Books, body: &[u8]) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return error(400, "Invalid JSON") };
    let (Some(session), Some(text)) = (body["session_id"].as_str(), body["response"].as_str()) else {
        return error(400, "Missing required fields");
    };
    if text.trim().is_empty() || text.len() > 10_000 {
        return error(400, "Invalid response");
    }
    if books.expired.iter().any(|expired| expired == session) || !books.messages.iter().any(|m| m.1 == session) {
        return error(400, "Invalid or expired session");
    }
    let number = books.responses.len() as u64 + 1;
    books.responses.push((number, session.to_owned(), text.to_owned(), body["message_id"].clone()));
    success(json!({"response_id": id(books, number), "session_id": session, "timestamp": "2025-08-04T03:17:33+00:00"}))
}

fn responses(books: &Books, session: &str) -> Response {
    let rows = books.responses.iter().filter(|response| response.1 == session).map(|(number, session, text, message)| {
        // As it shows texts: fit for HTML.
        let shown = text.replace('&', "&amp;").replace('<', "&lt;").trim().to_owned();
        let mut row = json!({"id": id(books, *number), "session_id": session, "response": shown, "timestamp": "2025-08-04T03:17:33+00:00"});
        if !books.forgets_message_ids {
            row["message_id"] = message.clone();
        }
        row
    });
    success(json!({"responses": rows.collect::<Vec<_>>()}))
}

fn sessions(books: &Books) -> Response {
    let mut names: Vec<&str> = books.messages.iter().map(|m| m.1.as_str()).collect();
    names.dedup();
    let now = time::OffsetDateTime::now_utc();
    let now = format!("{} {:02}:{:02}:{:02}", now.date(), now.hour(), now.minute(), now.second());
    let rows = names.iter().rev().map(|name| {
        let of_session = || books.messages.iter().filter(|m| m.1 == *name);
        json!({"id": name, "uid": of_session().next().and_then(|m| m.3.clone()), "created_at": now, "last_active": now,
            "ip_address": "::1", "metadata": [], "message_count": of_session().count(), "response_count": 0})
    });
    let rows: Vec<Value> = rows.collect();
    let total = rows.len();
    success(json!({"sessions": rows, "pagination": {"total": total, "limit": 100, "offset": 0, "has_more": false}}))
}

fn session_messages(books: &Books, session: &str) -> Response {
    let rows = books.messages.iter().filter(|m| m.1 == session).map(|(number, session, text, ..)| {
        json!({"id": id(books, *number), "session_id": session, "message": text, "timestamp": "2025-08-04T03:08:55.484Z"})
    });
    success(json!({"session": {"id": session}, "messages": rows.collect::<Vec<_>>(), "responses": []}))
}
