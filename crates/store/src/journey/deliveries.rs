//! Answers, and the attempts at delivering them.

use broca_core::{EventKind, Receipt, ResponseId, ResponseKind};
use serde_json::{Value, json};
use sqlx::types::{Json, Uuid};

use super::JourneyEvent;
use crate::{StoreError, decode::count};

pub(crate) const ANSWERS: &str = "-- journey: answers
SELECT id, kind, state, attempts, host, receipt, class, reason, created_at, started_at, finished_at
FROM responses WHERE message_id = $1 ORDER BY created_at, id";

pub(crate) const DELIVERIES: &str = "-- journey: deliveries
SELECT d.response_id, d.attempt, d.host, d.outcome, d.class, d.reason, d.started_at, d.finished_at, d.not_before
FROM responses r JOIN deliveries d ON d.response_id = r.id WHERE r.message_id = $1 ORDER BY d.id";

#[derive(sqlx::FromRow)]
pub(super) struct Answer {
    pub(super) id: Uuid,
    kind: String,
    state: String,
    attempts: i64,
    host: Option<String>,
    receipt: Option<Json<Receipt>>,
    class: Option<String>,
    reason: Option<String>,
    pub(super) created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl Answer {
    pub(super) fn is_notice(&self) -> bool {
        self.kind == ResponseKind::Notice.as_str()
    }
}

/// A row of `deliveries`.
#[derive(sqlx::FromRow)]
pub(super) struct Attempt {
    response_id: Uuid,
    attempt: i64,
    host: String,
    outcome: String,
    class: Option<String>,
    reason: Option<String>,
    started_at: i64,
    finished_at: i64,
    not_before: Option<i64>,
}

impl Attempt {
    fn kind(&self) -> Result<EventKind, StoreError> {
        Ok(match self.outcome.as_str() {
            "delivered" => EventKind::Delivered,
            "retry" => EventKind::DeliveryRetry,
            "dead" => EventKind::DeliveryDead,
            "unknown" => EventKind::DeliveryUnknown,
            "handed_back" => EventKind::DeliveryHandedBack,
            other => return Err(StoreError::Unreadable(format!("a delivery that ended as '{other}'"))),
        })
    }
}

pub(super) fn events(
    message: Uuid,
    answers: &[Answer],
    attempts: Vec<Attempt>,
    logged: &[JourneyEvent],
) -> Result<Vec<JourneyEvent>, StoreError> {
    let mut events = Vec::new();
    let event = |kind, at, response: Uuid, attempt| -> Result<JourneyEvent, StoreError> {
        let event = JourneyEvent::new(kind, at, message);
        Ok(JourneyEvent { response_id: Some(ResponseId(response)), attempt: Some(count(attempt)?), ..event })
    };
    // Who began an attempt, though another process went on with it.
    let began = |response: Uuid, from: i64, until: i64, host: &str| {
        let taken = logged.iter().find(|event| {
            event.kind == EventKind::DeliveryTakenOver
                && event.response_id == Some(ResponseId(response))
                && (from..=until).contains(&event.at.micros())
        });
        let first = taken.and_then(|event| event.detail.get("from")).and_then(Value::as_str);
        Some(first.unwrap_or(host).to_owned())
    };
    for attempt in attempts {
        let Attempt { response_id: id, attempt: n, started_at, finished_at, .. } = attempt;
        let actor = began(id, started_at, finished_at, &attempt.host);
        events.push(JourneyEvent { actor, ..event(EventKind::DeliveryBegun, started_at, id, n)? });
        let ended = event(attempt.kind()?, finished_at, id, n)?;
        let ended = ended.because(attempt.class.as_ref(), attempt.reason.as_ref());
        let receipt = answers.iter().find(|answer| answer.id == id && ended.kind == EventKind::Delivered);
        let receipt = receipt.and_then(|answer| answer.receipt.as_ref());
        let ids = receipt.map_or(Value::Null, |Json(receipt)| json!(receipt.platform_message_ids));
        let ended = ended.with("receipt", ids).with("until", json!(attempt.not_before));
        events.push(JourneyEvent { actor: Some(attempt.host), ..ended });
    }
    for answer in answers {
        if answer.is_notice() {
            let owed = JourneyEvent::new(EventKind::NoticeOwed, answer.created_at, message);
            events.push(JourneyEvent { response_id: Some(ResponseId(answer.id)), ..owed });
        }
        if let ("delivering", Some(at), Some(host)) = (answer.state.as_str(), answer.started_at, &answer.host) {
            let actor = began(answer.id, at, i64::MAX, host);
            events.push(JourneyEvent { actor, ..event(EventKind::DeliveryBegun, at, answer.id, answer.attempts)? });
        }
        if let ("suppressed", Some(at)) = (answer.state.as_str(), answer.finished_at) {
            let ended = JourneyEvent::new(EventKind::DeliverySuppressed, at, message);
            let ended = ended.because(answer.class.as_ref(), answer.reason.as_ref());
            events.push(JourneyEvent { response_id: Some(ResponseId(answer.id)), ..ended });
        }
    }
    Ok(events)
}
