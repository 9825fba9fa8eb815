//! A message's journey: what happened to it, from every table that tells of it, in one order.
//!
//! Each entry is a fact that was written once. Nothing in it depends on what came later, so that the journey of
//! an hour ago is the beginning of today's; where a row was changed since (a turn that another worker took up, an answer that
//! another process went on delivering) the events say what it said before.

mod deliveries;
mod message;
mod turns;

use broca_core::{EventKind, MessageId, ResponseId, Timestamp, TurnId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::types::{Json, Uuid};

use self::{
    deliveries::{Answer, Attempt},
    message::{Letter, Message, Replay},
    turns::Turn,
};

use crate::{
    StoreError,
    decode::{count, parsed},
    tx::{Tx, ask},
};

/// One step of a message's journey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct JourneyEvent {
    pub at: Timestamp,
    pub kind: EventKind,
    /// `None` when it concerns the whole conversation, another id when it happened to another message of it.
    pub message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<TurnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_id: Option<ResponseId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The worker, the plugin process or the person whose doing it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Of the lease that it happened under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else belongs to it, as [`EventKind`] says; empty for most.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
}

/// Of one conversation's events, in the time that a message was open, the latest so many are told.
const CONVERSATION_EVENTS: i64 = 2_000;

pub(crate) const EVENTS: &str = "-- journey: events
SELECT at, kind, message_id, response_id, actor, epoch, detail FROM events WHERE message_id = $1 ORDER BY id";

pub(crate) const CONVERSATION: &str = "-- journey: events of the conversation
SELECT at, kind, message_id, response_id, actor, epoch, detail FROM events
WHERE conversation_id = $1 AND at >= $2 AND (message_id IS NULL OR message_id <> $3)
ORDER BY at DESC, id DESC LIMIT $4";

/// Reads it inside a snapshot; `None` when there is no such message.
pub(crate) async fn read(tx: &mut Tx<'_>, id: Uuid) -> Result<Option<Vec<JourneyEvent>>, StoreError> {
    let Some(message) = ask!(tx, fetch_optional, Message, message::MESSAGE, id)? else { return Ok(None) };
    let logged = logged(ask!(tx, fetch_all, Logged, EVENTS, id)?)?;
    let answers = ask!(tx, fetch_all, Answer, deliveries::ANSWERS, id)?;
    let mut journey = message.events(id, &answers)?;
    for turn in ask!(tx, fetch_all, Turn, turns::TURNS, id)? {
        journey.extend(turn.events(id, &logged)?);
    }
    let attempts = ask!(tx, fetch_all, Attempt, deliveries::DELIVERIES, id)?;
    journey.extend(deliveries::events(id, &answers, attempts, &logged)?);
    for replay in ask!(tx, fetch_all, Replay, message::REPLAYS, id)? {
        journey.extend(replay.events(id));
    }
    for letter in ask!(tx, fetch_all, Letter, message::LETTERS, id)? {
        journey.extend(letter.events(id));
    }
    journey.extend(logged.into_iter().map(|event| with_answer(event, &answers)));
    let notices: Vec<_> = answers.iter().filter(|answer| answer.is_notice()).map(|notice| notice.id).collect();
    for event in &mut journey {
        if event.response_id.is_some_and(|response| notices.contains(&response.0)) {
            event.detail.insert("notice".to_owned(), Value::Bool(true));
        }
    }
    journey.sort_by_key(|event| (event.at, event.kind));
    let (conversation, since) = (message.conversation_id, message.received_at);
    let others = ask!(tx, fetch_all, Logged, CONVERSATION, conversation, since, id, CONVERSATION_EVENTS)?;
    let open = open_windows(&journey);
    let around = logged_backwards(others)?.into_iter().filter(|event| open.iter().any(|open| open.contains(event.at)));
    journey.extend(around);
    journey.sort_by_key(|event| (event.at, event.kind));
    Ok(Some(journey))
}

impl JourneyEvent {
    fn new(kind: EventKind, at: i64, message: Uuid) -> Self {
        Self {
            at: Timestamp(at),
            kind,
            message_id: Some(MessageId(message)),
            turn_id: None,
            response_id: None,
            attempt: None,
            actor: None,
            epoch: None,
            class: None,
            reason: None,
            detail: Map::new(),
        }
    }

    fn because(self, class: Option<&String>, reason: Option<&String>) -> Self {
        Self { class: class.cloned(), reason: reason.cloned(), ..self }
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        if !value.is_null() {
            self.detail.insert(key.to_owned(), value);
        }
        self
    }

    /// Whether it opens the message (again).
    fn opens(&self) -> bool {
        self.kind == EventKind::Accepted || self.kind == EventKind::Replayed && self.response_id.is_none()
    }
}

/// A time in which the message was neither over nor not yet there.
struct Open {
    since: Timestamp,
    until: Option<Timestamp>,
}

impl Open {
    fn contains(&self, at: Timestamp) -> bool {
        self.since <= at && self.until.is_none_or(|until| at <= until)
    }
}

fn open_windows(journey: &[JourneyEvent]) -> Vec<Open> {
    let mut windows: Vec<Open> = Vec::new();
    for event in journey {
        if event.opens() {
            windows.push(Open { since: event.at, until: None });
        } else if event.kind.ends_message()
            && let Some(open) = windows.last_mut()
        {
            open.until = Some(event.at);
        }
    }
    windows
}

/// A row of `events`.
#[derive(sqlx::FromRow)]
struct Logged {
    at: i64,
    kind: String,
    message_id: Option<Uuid>,
    response_id: Option<Uuid>,
    actor: Option<String>,
    epoch: Option<i64>,
    detail: Option<Json<Map<String, Value>>>,
}

impl Logged {
    fn event(self) -> Result<JourneyEvent, StoreError> {
        let mut detail = self.detail.map(|Json(detail)| detail).unwrap_or_default();
        detail.retain(|_, value| !value.is_null());
        let mut text = |key: &str| match detail.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let turn = text("turn").map(|turn| parsed(&turn)).transpose()?;
        let (class, reason) = (text("class"), text("reason"));
        let attempt = detail.remove("attempt").and_then(|attempt| attempt.as_i64()).map(count).transpose()?;
        Ok(JourneyEvent {
            at: Timestamp(self.at),
            kind: parsed(&self.kind)?,
            message_id: self.message_id.map(MessageId),
            turn_id: turn,
            response_id: self.response_id.map(ResponseId),
            attempt,
            actor: self.actor,
            epoch: self.epoch,
            class,
            reason,
            detail,
        })
    }
}

fn logged(rows: Vec<Logged>) -> Result<Vec<JourneyEvent>, StoreError> {
    rows.into_iter().map(Logged::event).collect()
}

fn logged_backwards(rows: Vec<Logged>) -> Result<Vec<JourneyEvent>, StoreError> {
    rows.into_iter().rev().map(Logged::event).collect()
}

/// An end of the message that a replay moved to the events names its answer as one that still stands in the row does.
fn with_answer(event: JourneyEvent, answers: &[Answer]) -> JourneyEvent {
    let response_id = event.response_id.or_else(|| message::answer_at(event.kind, event.at.micros(), answers));
    JourneyEvent { response_id, ..event }
}
