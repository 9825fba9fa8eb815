//! Attempts at the agent.

use broca_core::{EventKind, TurnId, TurnState};
use serde_json::Value;
use sqlx::types::{Json, Uuid};

use super::JourneyEvent;
use crate::{
    StoreError,
    decode::{count, parsed},
};

pub(crate) const TURNS: &str = "-- journey: turns
SELECT id, attempt, epoch, worker, state, class, reason, usage, started_at, finished_at
FROM turns WHERE message_id = $1
UNION ALL
SELECT t.id, s.attempt, t.epoch, t.worker, t.state, t.class, t.reason, t.usage, t.started_at, t.finished_at
FROM turn_messages s JOIN turns t ON t.id = s.turn_id AND t.message_id <> s.message_id WHERE s.message_id = $1
ORDER BY attempt";

#[derive(sqlx::FromRow)]
pub(super) struct Turn {
    id: Uuid,
    attempt: i64,
    epoch: i64,
    worker: String,
    state: String,
    class: Option<String>,
    reason: Option<String>,
    usage: Option<Json<Value>>,
    started_at: i64,
    finished_at: Option<i64>,
}

impl Turn {
    pub(super) fn events(self, message: Uuid, logged: &[JourneyEvent]) -> Result<Vec<JourneyEvent>, StoreError> {
        let event = |kind, at| -> Result<JourneyEvent, StoreError> {
            let (turn_id, attempt) = (Some(TurnId(self.id)), Some(count(self.attempt)?));
            Ok(JourneyEvent { turn_id, attempt, ..JourneyEvent::new(kind, at, message) })
        };
        // What the row said before somebody else took the turn up.
        let resumed = |event: &&JourneyEvent| {
            event.kind == EventKind::TurnResumed && event.turn_id.is_some_and(|turn| turn.0 == self.id)
        };
        let first = logged.iter().find(resumed).map(|event| (event.detail.get("from"), event.detail.get("from_epoch")));
        let (from, from_epoch) = first.unwrap_or_default();
        let started = JourneyEvent {
            actor: from.and_then(Value::as_str).map(str::to_owned).or_else(|| Some(self.worker.clone())),
            epoch: from_epoch.and_then(Value::as_i64).or(Some(self.epoch)),
            ..event(EventKind::TurnStarted, self.started_at)?
        };
        let kind = match parsed(&self.state)? {
            TurnState::Started => return Ok(vec![started]),
            TurnState::Answered => EventKind::TurnAnswered,
            TurnState::Retry => EventKind::TurnRetry,
            TurnState::Dead => EventKind::TurnDead,
            TurnState::Unknown => EventKind::TurnUnknown,
            TurnState::Cancelled => EventKind::TurnCancelled,
        };
        let ended = event(kind, self.finished_at.unwrap_or(self.started_at))?;
        let ended = ended.because(self.class.as_ref(), self.reason.as_ref());
        let usage = self.usage.map_or(Value::Null, |Json(usage)| usage);
        let ended = JourneyEvent { actor: Some(self.worker), epoch: Some(self.epoch), ..ended };
        Ok(vec![started, ended.with("usage", usage)])
    }
}
