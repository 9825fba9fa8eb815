//! The message's own row, and what operators did with it.

use broca_core::{EventKind, ResponseId};
use serde_json::json;
use sqlx::types::{Json, Uuid};

use super::{JourneyEvent, deliveries::Answer};
use crate::{StoreError, decode::parsed};

pub(crate) const MESSAGE: &str = "-- journey: message
SELECT conversation_id, instance, event_id, COALESCE(first_seq, seq) AS place, state, class, reason, received_at, finished_at, files
FROM messages WHERE id = $1";

pub(crate) const REPLAYS: &str = "-- journey: replays
SELECT response_id, stage, plan_id, actor, was_state, was_text IS NOT NULL AS edited, replayed_at
FROM replays WHERE message_id = $1 ORDER BY replayed_at";

pub(crate) const LETTERS: &str = "-- journey: letters
SELECT stage, how, actor, note, closed_at, purged_at FROM letters_closed WHERE message_id = $1 ORDER BY closed_at";

/// The end of the work and the answer are written in one statement.
pub(super) fn answer_at(kind: EventKind, at: i64, answers: &[Answer]) -> Option<ResponseId> {
    let answer =
        answers.iter().find(|answer| kind == EventKind::Answered && answer.created_at == at && !answer.is_notice());
    answer.map(|answer| ResponseId(answer.id))
}

#[derive(sqlx::FromRow)]
pub(super) struct Message {
    pub(super) conversation_id: Uuid,
    instance: String,
    event_id: String,
    place: i64,
    state: String,
    class: Option<String>,
    reason: Option<String>,
    pub(super) received_at: i64,
    finished_at: Option<i64>,
    files: Option<Json<serde_json::Value>>,
}

impl Message {
    pub(super) fn events(&self, id: Uuid, answers: &[Answer]) -> Result<Vec<JourneyEvent>, StoreError> {
        let accepted = JourneyEvent::new(EventKind::Accepted, self.received_at, id);
        let accepted = JourneyEvent { actor: Some(self.instance.clone()), ..accepted };
        // What was not let in has no place in the queue.
        let place = (self.place > 0).then_some(self.place);
        let mut accepted = accepted.with("event_id", json!(self.event_id)).with("place", json!(place));
        if let Some(Json(files)) = &self.files {
            accepted = accepted.with("files", files.clone());
        }
        let mut events = vec![accepted];
        if let Some((kind, at)) = EventKind::end_of(parsed(&self.state)?).zip(self.finished_at) {
            let end = JourneyEvent::new(kind, at, id).because(self.class.as_ref(), self.reason.as_ref());
            events.push(JourneyEvent { response_id: answer_at(kind, at, answers), ..end });
        }
        Ok(events)
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct Replay {
    response_id: Option<Uuid>,
    stage: String,
    plan_id: Uuid,
    actor: String,
    was_state: String,
    edited: bool,
    replayed_at: i64,
}

impl Replay {
    pub(super) fn events(self, message: Uuid) -> Vec<JourneyEvent> {
        let event = |kind| JourneyEvent {
            actor: Some(self.actor.clone()),
            ..JourneyEvent::new(kind, self.replayed_at, message)
        };
        let replayed = JourneyEvent { response_id: self.response_id.map(ResponseId), ..event(EventKind::Replayed) };
        let replayed = replayed.with("stage", json!(self.stage)).with("plan", json!(self.plan_id));
        let mut events = vec![replayed.with("was_state", json!(self.was_state))];
        if self.edited {
            events.push(event(EventKind::Edited));
        }
        events
    }
}

/// A row of `letters_closed`.
#[derive(sqlx::FromRow)]
pub(super) struct Letter {
    stage: String,
    how: String,
    actor: String,
    note: Option<String>,
    closed_at: i64,
    purged_at: Option<i64>,
}

impl Letter {
    pub(super) fn events(self, message: Uuid) -> Vec<JourneyEvent> {
        let event = |kind, at| JourneyEvent::new(kind, at, message).with("stage", json!(self.stage));
        // A letter that was replayed is told by the replay.
        let resolved = (self.how == "resolved").then(|| {
            let resolved = event(EventKind::Resolved, self.closed_at);
            JourneyEvent { actor: Some(self.actor.clone()), reason: self.note.clone(), ..resolved }
        });
        resolved.into_iter().chain(self.purged_at.map(|at| event(EventKind::Purged, at))).collect()
    }
}
