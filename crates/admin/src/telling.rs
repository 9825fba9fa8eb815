//! A message's journey in words. The same words for everybody who shows it.

use std::time::Duration;

use broca_core::{EventKind, KeptFile, MessageId, Timestamp, format::rfc3339};
use broca_store::JourneyEvent;
use serde_json::Value;

/// One step of the journey of `message`, as a line without its time.
pub fn sentence(event: &JourneyEvent, message: MessageId) -> String {
    let told = told(event);
    match event.message_id {
        Some(other) if other != message => format!("{told} (for message {other})"),
        _ => told,
    }
}

fn told(event: &JourneyEvent) -> String {
    let actor = event.actor.as_deref().unwrap_or("somebody");
    let epoch = event.epoch.unwrap_or_default();
    let text = |key: &str| event.detail.get(key).and_then(Value::as_str).unwrap_or("?");
    let why = why(event.class.as_deref(), event.reason.as_deref());
    let attempt = event.attempt.unwrap_or_default();
    let is_notice = event.detail.get("notice").and_then(Value::as_bool) == Some(true);
    let (what, of_notice) = if is_notice { ("notice", " of the notice") } else { ("answer", "") };
    match event.kind {
        EventKind::Accepted => {
            format!("accepted through {actor} as its event {}{}", text("event_id"), files(event))
        }
        EventKind::Replayed => {
            format!("replayed by {actor} from the {} on; it was {}", text("stage"), text("was_state"))
        }
        EventKind::Edited => format!("its text changed by {actor}"),
        EventKind::WakePublished => "wake confirmed by the broker".to_owned(),
        EventKind::Held => format!("held by {actor}{why}"),
        EventKind::Released => format!("released by {actor}{why}"),
        EventKind::Quarantined => format!("its conversation quarantined{why}"),
        EventKind::Coalesced => {
            let number = |key: &str| event.detail.get(key).and_then(Value::as_i64).unwrap_or_default();
            format!("said in one turn with others, as number {} of {}", number("place"), number("of"))
        }
        EventKind::StopAsked => format!("its turn is to be stopped{why}"),
        EventKind::Claimed => format!("conversation claimed by {actor}, epoch {epoch}"),
        EventKind::TakenOver => {
            format!("conversation taken over by {actor}, epoch {epoch}: the lease of {} had run out", text("from"))
        }
        EventKind::ModeSet => format!("handled in mode {}, set for {} at run time", text("mode"), text("of")),
        EventKind::TurnStarted => format!("attempt {attempt} at the agent begun by {actor}"),
        EventKind::TurnResumed => format!("open attempt of {} taken up by {actor}", text("from")),
        EventKind::ConversationRenewed => format!("the agent had lost the conversation; begun anew as {}", text("to")),
        EventKind::RunKnown => format!("the agent's run is {}", text("run")),
        EventKind::TurnAnswered => format!("attempt {attempt} answered{}", tokens(event)),
        EventKind::TurnRetry => format!("attempt {attempt} failed{why}"),
        EventKind::TurnDead => format!("attempt {attempt} failed for good{why}"),
        EventKind::TurnUnknown => format!("attempt {attempt} ended, and nobody knows how{why}"),
        EventKind::TurnCancelled => format!("attempt {attempt} cancelled{why}"),
        EventKind::HandedOver => format!("conversation handed over by {actor}, epoch {epoch}"),
        EventKind::Parked => format!("parked until {}{why}", until(event)),
        EventKind::Answered => match event.response_id {
            Some(answer) => format!("completed; its answer is {answer}"),
            None => match event.reason.as_deref() {
                Some(reason) => format!("completed; {reason}"),
                None => "completed; the agent had nothing to say".to_owned(),
            },
        },
        EventKind::Stored => "stored, no agent is asked (listen mode)".to_owned(),
        EventKind::Suppressed => format!("suppressed{why}"),
        EventKind::Failed => format!("failed, a dead letter{why}"),
        EventKind::Cancelled => format!("cancelled{why}"),
        EventKind::AnswerPublished => format!("{what} confirmed by the broker"),
        EventKind::DeadLetterPublished => "copy of the dead letter confirmed by the broker".to_owned(),
        EventKind::DeliveryBegun => format!("delivery {attempt}{of_notice} begun by {actor}"),
        EventKind::DeliveryTakenOver => format!("cut off delivery {attempt} of {} taken up by {actor}", text("from")),
        EventKind::PartSent => {
            let part = event.detail.get("part").and_then(Value::as_u64).unwrap_or_default();
            format!("part {part} sent, receipt {}", receipt(event))
        }
        EventKind::Delivered if is_notice => format!("notice delivered, receipt {}", receipt(event)),
        EventKind::Delivered => format!("delivered, receipt {}", receipt(event)),
        EventKind::DeliveryRetry => format!("delivery {attempt}{of_notice} failed, next attempt {}{why}", until(event)),
        EventKind::DeliveryDead => format!("delivery {attempt}{of_notice} failed for good{why}"),
        EventKind::DeliveryUnknown => format!("delivery {attempt}{of_notice} ended, and nobody knows how{why}"),
        EventKind::DeliveryHandedBack => format!("delivery {attempt} given back by {actor}, it does not count"),
        EventKind::DeliverySuppressed => format!("{what} kept back{why}"),
        EventKind::NoticeOwed => "the person is told, by a notice".to_owned(),
        EventKind::Resolved => format!("dead letter resolved by {actor}{why}"),
        EventKind::Purged => "copy of the dead letter dropped".to_owned(),
        EventKind::BreakerOpened | EventKind::BreakerClosed => format!("{} for {}{why}", event.kind, text("endpoint")),
        EventKind::Forgotten => format!("forgotten on the person's wish, by {actor}"),
    }
}

/// What came with a message, and what of it was not kept.
fn files(event: &JourneyEvent) -> String {
    let read = |files: &Value| serde_json::from_value::<Vec<KeptFile>>(files.clone()).ok();
    let files = event.detail.get("files").and_then(read).unwrap_or_default();
    let one = |file: &KeptFile| match (&file.object, &file.refused) {
        (Some(_), _) => {
            let (mime, size) = (file.mime.as_deref().unwrap_or("file"), file.size.unwrap_or_default());
            format!("{mime} of {size} bytes, kept")
        }
        (None, Some(why)) => format!("{}, not kept: {why}", file.kind.label()),
        (None, None) => file.kind.label().to_owned(),
    };
    let told: Vec<String> = files.iter().map(one).collect();
    if told.is_empty() { String::new() } else { format!("; came with {}", told.join(" and ")) }
}

pub(crate) fn why(class: Option<&str>, reason: Option<&str>) -> String {
    match (class, reason) {
        (Some(class), Some(reason)) => format!(": {class}: {reason}"),
        (Some(one), None) | (None, Some(one)) => format!(": {one}"),
        (None, None) => String::new(),
    }
}

fn tokens(event: &JourneyEvent) -> String {
    let usage = event.detail.get("usage").and_then(|usage| usage.get("total_tokens")).and_then(Value::as_i64);
    usage.filter(|tokens| *tokens > 0).map(|tokens| format!(", {tokens} tokens")).unwrap_or_default()
}

/// The platform's ids of what was sent.
pub(crate) fn receipt(event: &JourneyEvent) -> String {
    let ids = event.detail.get("receipt").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ids: Vec<&str> = ids.iter().filter_map(Value::as_str).collect();
    if ids.is_empty() { "without an id".to_owned() } else { ids.join(", ") }
}

fn until(event: &JourneyEvent) -> String {
    let until = event.detail.get("until").and_then(Value::as_i64).map(Timestamp);
    until.map_or_else(|| "later".to_owned(), rfc3339)
}

/// A duration as people say it.
pub fn lasting(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        s @ 1..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s @ 7_200..=172_799 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: Value) -> JourneyEvent {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_kind_has_its_words() {
        let message = MessageId::new();
        for kind in EventKind::ALL {
            let bare = event(serde_json::json!({"at": 1, "kind": kind, "message_id": message}));
            let words = sentence(&bare, message);
            assert!(words.len() > 8 && !words.contains("{"), "{kind}: {words}");
            let others = sentence(&bare, MessageId::new());
            assert!(others.ends_with(&format!("(for message {message})")), "{others}");
        }
    }

    #[test]
    fn words_say_who_and_why() {
        let message = MessageId::new();
        let parked = event(serde_json::json!({
            "at": 1, "kind": "parked", "message_id": null, "class": "rate_limited", "reason": "too many requests",
            "detail": {"until": 5_000_000},
        }));
        assert_eq!(sentence(&parked, message), "parked until 1970-01-01T00:00:05Z: rate_limited: too many requests");
        let delivered = event(serde_json::json!({
            "at": 1, "kind": "delivered", "message_id": message, "detail": {"receipt": ["991", "992"]},
        }));
        assert_eq!(sentence(&delivered, message), "delivered, receipt 991, 992");
    }
}
