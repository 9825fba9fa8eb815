//! One message and all that happened to it: now, or as it stood at some time.

use broca_core::{EventKind, MessageId, MessageState, ResponseState, Timestamp, TurnState};
use broca_store::{
    Journey, JourneyEvent, MessageRecord, ReplayRecord, ResponseRecord, Standing, Store, StoreError, TurnRecord,
};
use serde::Serialize;

/// What `broca message show` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Shown {
    #[serde(flatten)]
    pub message: MessageRecord,
    /// Set when it is shown as it stood then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    pub journey: Vec<JourneyEvent>,
}

#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error("there is no message {0}")]
    Unknown(MessageId),
    #[error("message {message} was not there yet: it was accepted {}", broca_core::format::rfc3339(*.accepted))]
    NotYet { message: MessageId, accepted: Timestamp },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A message with its journey, now or as it stood at `at`.
///
/// # Errors
/// There is no such message, or was none at that time; the database does not answer.
pub async fn show(store: &Store, id: MessageId, at: Option<Timestamp>) -> Result<Shown, ShowError> {
    let journey = store.journey(id).await?.ok_or(ShowError::Unknown(id))?;
    let Some(at) = at else {
        return Ok(Shown { message: journey.message, as_of: None, journey: journey.events });
    };
    let accepted = journey.message.received_at;
    if at < accepted {
        return Err(ShowError::NotYet { message: id, accepted });
    }
    let (message, journey) = as_of(journey, at);
    Ok(Shown { message, as_of: Some(at), journey })
}

/// Nothing more will happen to it by itself: it has ended, its answers too, and the broker has all it was owed.
pub fn is_over(standing: &Standing) -> bool {
    let message = &standing.journey.message;
    message.state.is_terminal()
        && message.responses.iter().all(|response| response.state.is_terminal())
        && standing.owed.is_empty()
}

/// Follows a journey: gives each step once, the first time that it is seen.
#[derive(Debug, Default)]
pub struct Follower {
    told: Vec<JourneyEvent>,
}

impl Follower {
    /// What is new. Steps that were written by several processes at once may come late, and then out of order.
    pub fn news(&mut self, events: Vec<JourneyEvent>) -> Vec<JourneyEvent> {
        let news: Vec<JourneyEvent> = events.into_iter().filter(|event| !self.told.contains(event)).collect();
        self.told.extend(news.iter().cloned());
        news
    }
}

/// Takes everything back that happened after `at`.
fn as_of(journey: Journey, at: Timestamp) -> (MessageRecord, Vec<JourneyEvent>) {
    let Journey { message, mut events, .. } = journey;
    events.retain(|event| event.at <= at);
    let own: Vec<&JourneyEvent> = events.iter().filter(|event| event.message_id == Some(message.id)).collect();
    let opened = own.iter().rposition(|event| opens(event)).unwrap_or(0);
    // Only what happened since it was accepted or last replayed says how it stands.
    let round = &own[opened..];
    let stands = round.iter().rev().find_map(|event| state_after(event));
    // A new attempt leaves the reason of the last one standing.
    let judged = round
        .iter()
        .rev()
        .find(|event| matches!(event.kind, EventKind::TurnRetry | EventKind::Parked) || event.kind.ends_message());
    let end = round.iter().rev().find(|event| event.kind.ends_message());
    let later: Vec<&ReplayRecord> = message.replays.iter().filter(|replay| replay.at > at).collect();
    let text = later.iter().find_map(|replay| replay.was_text.clone());
    let seq = later.iter().find(|replay| replay.response_id.is_none()).map(|replay| replay.was_seq);
    let attempts = own.iter().filter(|event| starts_attempt(event)).count();
    let record = MessageRecord {
        state: stands.unwrap_or(MessageState::Received),
        class: judged.and_then(|event| event.class.clone()),
        reason: judged.and_then(|event| event.reason.clone()),
        finished_at: end.map(|event| event.at),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        text: text.unwrap_or(message.text),
        seq: seq.unwrap_or(message.seq),
        turns: message.turns.into_iter().filter(|turn| turn.started_at <= at).map(|turn| turn_at(turn, &own)).collect(),
        responses: message
            .responses
            .into_iter()
            .filter(|response| response.created_at <= at)
            .map(|response| response_at(response, &own))
            .collect(),
        replays: message.replays.into_iter().filter(|replay| replay.at <= at).collect(),
        ..message
    };
    (record, events)
}

fn opens(event: &JourneyEvent) -> bool {
    state_after(event) == Some(MessageState::Received)
        && matches!(event.kind, EventKind::Accepted | EventKind::Replayed)
}

/// The replay of a delivery leaves the message as it is.
fn state_after(event: &JourneyEvent) -> Option<MessageState> {
    let of_answer = event.kind == EventKind::Replayed && event.response_id.is_some();
    event.kind.message_state().filter(|_| !of_answer)
}

/// A turn that was handed over in good order goes on as the same attempt.
fn starts_attempt(event: &JourneyEvent) -> bool {
    let handed_over = event.detail.get("handed_over").and_then(serde_json::Value::as_bool) == Some(true);
    event.kind == EventKind::TurnStarted || event.kind == EventKind::TurnResumed && !handed_over
}

fn turn_at(turn: TurnRecord, own: &[&JourneyEvent]) -> TurnRecord {
    let of_it: Vec<_> = own.iter().filter(|event| event.turn_id == Some(turn.id)).collect();
    let ended = of_it.iter().rev().find_map(|event| Some((turn_state(event.kind)?, event)));
    let worker = of_it.iter().rev().filter(|event| event.kind != EventKind::HandedOver);
    let run = of_it.iter().rev().find(|event| event.kind == EventKind::RunKnown);
    TurnRecord {
        state: ended.map_or(TurnState::Started, |(state, _)| state),
        worker: worker.clone().find_map(|event| event.actor.clone()).unwrap_or(turn.worker),
        run: run.and_then(|event| event.detail.get("run")?.as_str().map(str::to_owned)),
        class: ended.and_then(|(_, event)| event.class.clone()),
        reason: ended.and_then(|(_, event)| event.reason.clone()),
        finished_at: ended.map(|(_, event)| event.at),
        ..turn
    }
}

fn turn_state(kind: EventKind) -> Option<TurnState> {
    Some(match kind {
        EventKind::TurnAnswered => TurnState::Answered,
        EventKind::TurnRetry => TurnState::Retry,
        EventKind::TurnDead => TurnState::Dead,
        EventKind::TurnUnknown => TurnState::Unknown,
        EventKind::TurnCancelled => TurnState::Cancelled,
        _ => return None,
    })
}

fn response_at(response: ResponseRecord, own: &[&JourneyEvent]) -> ResponseRecord {
    let of_it = || own.iter().filter(|event| event.response_id == Some(response.id));
    let stands = of_it().rev().find_map(|event| Some((event.kind.response_state()?, event)));
    let begun = of_it().filter(|event| event.kind == EventKind::DeliveryBegun).count();
    let handed_back = of_it().filter(|event| event.kind == EventKind::DeliveryHandedBack).count();
    let part = of_it().rev().find(|event| event.kind == EventKind::PartSent);
    let sent = part.and_then(|event| event.detail.get("part")?.as_u64()).unwrap_or(0);
    let state = stands.map_or(ResponseState::Pending, |(state, _)| state);
    ResponseRecord {
        state,
        attempts: u32::try_from(begun.saturating_sub(handed_back)).unwrap_or(u32::MAX),
        receipt: response.receipt.filter(|_| state == ResponseState::Delivered),
        parts: response.parts.into_iter().take(usize::try_from(sent).unwrap_or(usize::MAX)).collect(),
        class: stands.and_then(|(_, event)| event.class.clone()),
        reason: stands.and_then(|(_, event)| event.reason.clone()),
        finished_at: stands.filter(|_| state.is_terminal()).map(|(_, event)| event.at),
        ..response
    }
}
