//! The requests that only read rows, and the creation of conversations.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State as Shelf},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use broca_core::{Clock, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    journal::Entry,
    state::{Conversation, State, Stored},
    wire,
};

type Server = Shelf<Arc<Shared>>;

pub(super) async fn health() -> Response {
    Json(json!({"version": "0.16.8", "status": "ok"})).into_response()
}

pub(super) async fn agent(Shelf(shared): Server, Path(id): Path<String>) -> Response {
    if !knows(&shared.lock(), &id) {
        return wire::not_found("Agent", &id);
    }
    Json(json!({"id": id, "name": "scripted", "agent_type": "letta_v1_agent"})).into_response()
}

fn knows(state: &State, agent: &str) -> bool {
    state.script.agent_id.as_deref().is_none_or(|only| only == agent)
}

#[derive(Deserialize)]
pub(super) struct OfAgent {
    agent_id: Option<String>,
    conversation_id: Option<String>,
    #[serde(default)]
    active: bool,
    #[serde(flatten)]
    page: Page,
}

#[derive(Deserialize)]
pub(super) struct Page {
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    order: Option<String>,
}

impl Page {
    /// The part of `rows`, oldest first, that is asked for. `newest_first` is the order when none is named.
    fn of<T>(&self, mut rows: Vec<T>, newest_first: bool, id: impl Fn(&T) -> &str) -> Vec<T> {
        if self.order.as_deref().map_or(newest_first, |order| order == "desc") {
            rows.reverse();
        }
        if let Some(after) = &self.after {
            let from = rows.iter().position(|row| id(row) == after).map_or(rows.len(), |at| at + 1);
            rows.drain(..from);
        }
        if let Some(to) = self.before.as_ref().and_then(|before| rows.iter().position(|row| id(row) == before)) {
            rows.truncate(to);
        }
        rows.truncate(self.limit.as_ref().and_then(|limit| limit.parse().ok()).unwrap_or(100));
        rows
    }
}

#[derive(Deserialize)]
pub(super) struct Create {
    summary: Option<String>,
}

/// `POST /v1/conversations/?agent_id=`
pub(super) async fn create_conversation(
    Shelf(shared): Server,
    Query(query): Query<OfAgent>,
    Json(create): Json<Create>,
) -> Response {
    let agent_id = query.agent_id.unwrap_or_default();
    let mut state = shared.lock();
    if !knows(&state, &agent_id) {
        return wire::not_found("Agent", &agent_id);
    }
    let id = wire::id("conv");
    state.record(Entry::Conversation { id: id.clone(), agent_id, summary: create.summary, at: SystemClock.now() });
    Json(conversation_json(&id, &state.conversations[&id])).into_response()
}

fn conversation_json(id: &str, row: &Conversation) -> Value {
    json!({
        "id": id, "agent_id": row.agent_id, "summary": row.summary, "created_at": wire::date(row.at),
        "in_context_message_ids": row.messages.iter().map(|stored| stored.id.as_str()).collect::<Vec<_>>(),
        "isolated_block_ids": [],
    })
}

/// `GET /v1/conversations/`
pub(super) async fn conversations(Shelf(shared): Server, Query(query): Query<OfAgent>) -> Response {
    let state = shared.lock();
    let mut rows: Vec<(&String, &Conversation)> = state.conversations.iter().collect();
    rows.retain(|(_, row)| query.agent_id.as_ref().is_none_or(|agent| row.agent_id == *agent));
    rows.sort_by_key(|(_, row)| row.at);
    let rows = query.page.of(rows, true, |(id, _)| id);
    Json(rows.into_iter().map(|(id, row)| conversation_json(id, row)).collect::<Vec<_>>()).into_response()
}

/// `GET /v1/conversations/{id}`
pub(super) async fn conversation(Shelf(shared): Server, Path(id): Path<String>) -> Response {
    match shared.lock().conversations.get(&id) {
        Some(row) => Json(conversation_json(&id, row)).into_response(),
        None => wire::not_found("Conversation", &id),
    }
}

pub(super) async fn delete_conversation(Shelf(shared): Server, Path(id): Path<String>) -> Response {
    let mut state = shared.lock();
    if !state.conversations.contains_key(&id) {
        return wire::not_found("Conversation", &id);
    }
    state.record(Entry::Deleted { conversation: id });
    Json(Value::Null).into_response()
}

/// `GET /v1/conversations/{id}/messages`, newest first unless asked otherwise.
pub(super) async fn conversation_messages(
    Shelf(shared): Server,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Response {
    match shared.lock().conversations.get(&id) {
        Some(row) => messages(page.of(row.messages.iter().collect(), true, |stored| &stored.id)),
        None => wire::not_found("Conversation", &id),
    }
}

/// `GET /v1/runs/{id}/messages`, oldest first unless asked otherwise.
pub(super) async fn run_messages(Shelf(shared): Server, Path(id): Path<String>, Query(page): Query<Page>) -> Response {
    let state = shared.lock();
    let Some(run) = state.runs.get(&id) else { return wire::not_found("Run", &id) };
    let all = state.conversations.get(&run.conversation).into_iter().flat_map(|row| &row.messages);
    // The messages of a run are among the newest: what is asked for is a run that just ended.
    messages(page.of(all.filter(|stored| stored.run == id).collect(), false, |stored| &stored.id))
}

fn messages(rows: Vec<&Stored>) -> Response {
    let list: Vec<&str> = rows.iter().map(|stored| &*stored.json).collect();
    ([(CONTENT_TYPE, "application/json")], format!("[{}]", list.join(","))).into_response()
}

/// `GET /v1/runs/`
pub(super) async fn runs(Shelf(shared): Server, Query(query): Query<OfAgent>) -> Response {
    let state = shared.lock();
    let mut ids: Vec<&String> = match &query.conversation_id {
        Some(id) => state.conversations.get(id).into_iter().flat_map(|row| &row.runs).collect(),
        None => state.runs.keys().collect(),
    };
    ids.retain(|id| state.runs.get(*id).is_some_and(|row| !query.active || row.is_active()));
    ids.sort_by_key(|id| state.runs[*id].at);
    let ids = query.page.of(ids, true, |id| id);
    Json(ids.into_iter().map(|id| run_json(&state, id)).collect::<Vec<_>>()).into_response()
}

/// `GET /v1/runs/{id}`
pub(super) async fn run(Shelf(shared): Server, Path(id): Path<String>) -> Response {
    let state = shared.lock();
    if !state.runs.contains_key(&id) {
        return wire::not_found("Run", &id);
    }
    Json(run_json(&state, &id)).into_response()
}

fn run_json(state: &State, id: &str) -> Value {
    let row = &state.runs[id];
    let agent = state.conversations.get(&row.conversation).map_or("", |conversation| &conversation.agent_id);
    row.json(id, agent)
}

/// `GET /v1/runs/{id}/usage`
pub(super) async fn run_usage(Shelf(shared): Server, Path(id): Path<String>) -> Response {
    if !shared.lock().runs.contains_key(&id) {
        return wire::not_found("Run", &id);
    }
    Json(json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})).into_response()
}
