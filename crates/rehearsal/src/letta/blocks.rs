//! Blocks of core memory, and what a conversation's prompt has of them: what was attached when it was last compiled, as
//! Letta 0.16.8 has it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State as Shelf},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, journal::Entry, state::State, wire};

type Server = Shelf<Arc<Shared>>;

#[derive(Clone, Debug)]
pub(super) struct Block {
    label: String,
    value: String,
}

/// All blocks, and those that are attached to an agent, in order.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    blocks: BTreeMap<String, Block>,
    /// Their keys, by their ids.
    pub(super) identities: BTreeMap<String, String>,
    pub(super) attached: Vec<(String, String)>,
}

impl Shelves {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Made { id, label, value } => drop(self.blocks.insert(id, Block { label, value })),
            Change::Deleted { id } => {
                self.blocks.remove(&id);
                self.attached.retain(|(_, block)| *block != id);
            }
            Change::Identified { id, key } => drop(self.identities.insert(id, key)),
            Change::Unidentified { id } => drop(self.identities.remove(&id)),
            Change::Attached { agent, id } => {
                if !self.attached.contains(&(agent.clone(), id.clone())) {
                    self.attached.push((agent, id));
                }
            }
            Change::Detached { agent, id } => self.attached.retain(|(of, block)| (of, block) != (&agent, &id)),
        }
    }

    fn of<'s>(&'s self, agent: &'s str) -> impl Iterator<Item = (&'s String, &'s Block)> {
        let own = self.attached.iter().filter(move |(of, _)| of == agent);
        own.filter_map(|(_, id)| self.blocks.get_key_value(id))
    }

    /// What a prompt that is compiled now says of them.
    pub(super) fn prompt(&self, agent: &str) -> Vec<String> {
        self.of(agent).map(|(_, block)| block.value.clone()).collect()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.blocks.keys().cloned().collect()
    }
}

#[derive(Clone, Debug, serde::Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub(super) enum Change {
    Made { id: String, label: String, value: String },
    Deleted { id: String },
    Identified { id: String, key: String },
    Unidentified { id: String },
    Attached { agent: String, id: String },
    Detached { agent: String, id: String },
}

#[derive(Deserialize)]
pub(super) struct Create {
    label: String,
    value: String,
}

fn block_json(id: &str, block: &Block) -> Value {
    json!({"id": id, "label": block.label, "value": block.value, "limit": 5_000, "read_only": false})
}

/// `POST /v1/blocks/`
pub(super) async fn create(Shelf(shared): Server, Json(Create { label, value }): Json<Create>) -> Response {
    let (id, mut state) = (wire::id("block"), shared.lock());
    state.record(Entry::Block(Change::Made { id: id.clone(), label, value }));
    Json(block_json(&id, &state.shelves.blocks[&id])).into_response()
}

/// `DELETE /v1/blocks/{id}`
pub(super) async fn delete(Shelf(shared): Server, Path(id): Path<String>) -> Response {
    let mut state = shared.lock();
    if !state.shelves.blocks.contains_key(&id) {
        return wire::not_found("Block", &id);
    }
    state.record(Entry::Block(Change::Deleted { id }));
    Json(json!({"message": "Block deleted"})).into_response()
}

/// `GET /v1/agents/{id}/core-memory/blocks`
pub(super) async fn list(Shelf(shared): Server, Path(agent): Path<String>) -> Response {
    let state = shared.lock();
    Json(state.shelves.of(&agent).map(|(id, block)| block_json(id, block)).collect::<Vec<_>>()).into_response()
}

/// `PATCH /v1/agents/{id}/core-memory/blocks/attach/{block}`: the same one twice is fine, another one of its label is not.
pub(super) async fn attach(Shelf(shared): Server, Path((agent, id)): Path<(String, String)>) -> Response {
    let mut state = shared.lock();
    let Some(label) = state.shelves.blocks.get(&id).map(|block| block.label.clone()) else {
        return wire::not_found("Block", &id);
    };
    if state.shelves.of(&agent).any(|(other, block)| *other != id && block.label == label) {
        return wire::detail(StatusCode::CONFLICT, format!("unique_label_per_agent: the agent has a block '{label}'"));
    }
    state.record(Entry::Block(Change::Attached { agent: agent.clone(), id }));
    Json(json!({"id": agent})).into_response()
}

/// `PATCH /v1/agents/{id}/core-memory/blocks/detach/{block}`: twice is not found.
pub(super) async fn detach(Shelf(shared): Server, Path((agent, id)): Path<(String, String)>) -> Response {
    let mut state = shared.lock();
    if !state.shelves.attached.contains(&(agent.clone(), id.clone())) {
        return wire::not_found("Block", &id);
    }
    state.record(Entry::Block(Change::Detached { agent: agent.clone(), id }));
    Json(json!({"id": agent})).into_response()
}

#[derive(Deserialize)]
pub(super) struct Upsert {
    identifier_key: String,
    name: String,
    identity_type: String,
    #[serde(default)]
    block_ids: Vec<String>,
}

/// `PUT /v1/identities/`: the same key is the same identity.
pub(super) async fn identify(Shelf(shared): Server, Json(person): Json<Upsert>) -> Response {
    let mut state = shared.lock();
    if let Some(unknown) = person.block_ids.iter().find(|id| !state.shelves.blocks.contains_key(*id)) {
        return wire::not_found("Block", unknown);
    }
    let Upsert { identifier_key: key, name, identity_type, block_ids } = person;
    let known = state.shelves.identities.iter().find(|(_, other)| **other == key).map(|(id, _)| id.clone());
    let id = known.unwrap_or_else(|| wire::id("identity"));
    let identity = json!({"id": id, "identifier_key": key, "name": name, "identity_type": identity_type,
                          "agent_ids": [], "block_ids": block_ids, "properties": []});
    state.record(Entry::Block(Change::Identified { id, key }));
    Json(identity).into_response()
}

#[derive(Deserialize)]
pub(super) struct WhichIdentity {
    identifier_key: String,
}

/// `GET /v1/identities/?identifier_key=`
pub(super) async fn identities(Shelf(shared): Server, Query(which): Query<WhichIdentity>) -> Response {
    let state = shared.lock();
    let found = state.shelves.identities.iter().filter(|(_, key)| **key == which.identifier_key);
    Json(found.map(|(id, key)| json!({"id": id, "identifier_key": key})).collect::<Vec<_>>()).into_response()
}

/// `DELETE /v1/identities/{id}`
pub(super) async fn delete_identity(Shelf(shared): Server, Path(id): Path<String>) -> Response {
    let mut state = shared.lock();
    if !state.shelves.identities.contains_key(&id) {
        return wire::not_found("Identity", &id);
    }
    state.record(Entry::Block(Change::Unidentified { id }));
    Json(Value::Null).into_response()
}

/// `POST /v1/conversations/{id}/recompile`
pub(super) async fn recompile(Shelf(shared): Server, Path(id): Path<String>) -> Response {
    let mut state = shared.lock();
    if !state.conversations.contains_key(&id) {
        return wire::not_found("Conversation", &id);
    }
    compile(&mut state, &id);
    Json(json!({"id": id})).into_response()
}

pub(super) fn compile(state: &mut State, conversation: &str) {
    let Some(agent) = state.conversations.get(conversation).map(|row| row.agent_id.clone()) else { return };
    let memory = state.shelves.prompt(&agent);
    state.record(Entry::Compiled { conversation: conversation.to_owned(), memory });
}
