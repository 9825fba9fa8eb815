//! The way out, and what the bridge has of an answer.
//!
//! The outbox takes no idempotency key. But whoever knows a session may read what it was answered: so an answer that
//! was cut off is looked for there before it is sent again. A bridge that gives each response the `message_id` that
//! it was sent with says exactly what it has. Of one that does not, an equal text may be an earlier answer: then
//! nobody can tell, and the answer is left unknown.

use std::time::Duration;

use broca_core::{
    DeliveryError, Part, Profile, Receipt, Response,
    agent::{Failure, FailureClass},
    delivery::Settlement,
};
use broca_plugin::Parts;
use serde_json::Value;

use super::bridge::{Bridge, CallError, id_text};

/// A bridge that is slow to write what it was sent has written it by then.
const SLOW: Duration = Duration::from_secs(35);

pub(super) async fn deliver(
    bridge: &Bridge,
    response: &Response,
    profile: &Profile,
    parts: &Parts,
    max_bytes: usize,
) -> Result<Receipt, DeliveryError> {
    let session = session_of(response, profile)?;
    let pieces = cut(response.rest(), max_bytes);
    let mut done = 0;
    if response.attempt > 1 {
        match look(bridge, session, response, &pieces).await {
            Found::Pieces(found) => {
                for (id, piece) in found.iter().zip(&pieces) {
                    done += 1;
                    if done == pieces.len() {
                        return Ok(parts.receipt(id.clone()));
                    }
                    parts.sent(id.clone(), piece.len()).await?;
                }
            }
            // Nothing was sent in this attempt, and the next one looks first, too.
            Found::NotNow(error) => {
                let reason = format!("what it has of an earlier attempt cannot be asked: {error}");
                return Err(retry(error.retry_after(), FailureClass::Unavailable, &reason));
            }
            Found::PerhapsAll | Found::CannotAsk => {
                return Err(unknown("an earlier attempt may have reached the bridge"));
            }
        }
    }
    let message = &response.attributes["message_id"];
    let mut last = String::from("nothing");
    for (at, piece) in pieces.iter().enumerate().skip(done) {
        last = send(bridge, (session, profile), piece, message).await?;
        if at + 1 < pieces.len() {
            parts.sent(last.clone(), piece.len()).await?;
        }
    }
    Ok(parts.receipt(last))
}

pub(super) async fn settle(bridge: &Bridge, response: &Response, profile: &Profile, max_bytes: usize) -> Settlement {
    let Ok(session) = session_of(response, profile) else { return Settlement::NotDelivered };
    let pieces = cut(response.rest(), max_bytes);
    match look(bridge, session, response, &pieces).await {
        Found::Pieces(found) if found.len() == pieces.len() => {
            let earlier = response.parts.iter().map(|part| part.platform_message_id.clone());
            Settlement::Delivered(Receipt { platform_message_ids: earlier.chain(found).collect() })
        }
        Found::Pieces(found) if found.is_empty() => Settlement::NotDelivered,
        Found::Pieces(found) => {
            let mut end = response.text.len() - response.rest().len();
            let mut known = response.parts.clone();
            known.extend(found.into_iter().zip(&pieces).map(|(platform_message_id, piece)| {
                end += piece.len();
                Part { platform_message_id, text_end: end }
            }));
            Settlement::Partly(known)
        }
        Found::PerhapsAll | Found::NotNow(_) | Found::CannotAsk => Settlement::CannotTell,
    }
}

/// The session that the message came from.
fn session_of<'a>(response: &'a Response, profile: &'a Profile) -> Result<&'a str, DeliveryError> {
    let kept = response.attributes["session_id"].as_str().or_else(|| latest(profile));
    kept.ok_or_else(|| dead(FailureClass::NotFound, "neither the message nor the profile names a session"))
}

/// Where the person was seen last.
fn latest(profile: &Profile) -> Option<&str> {
    profile.metadata["session_id"].as_str()
}

/// Into the session that the message came from; if the bridge has forgotten that, into the person's latest.
async fn send(
    bridge: &Bridge,
    (session, profile): (&str, &Profile),
    piece: &str,
    message: &Value,
) -> Result<String, DeliveryError> {
    match bridge.outbox(session, piece, message).await {
        Err(error) if is_session_gone(&error) => match latest(profile).filter(|latest| *latest != session) {
            Some(latest) => bridge.outbox(latest, piece, message).await.map_err(|error| verdict(&error)),
            None => Err(verdict(&error)),
        },
        sent => sent.map_err(|error| verdict(&error)),
    }
}

fn is_session_gone(error: &CallError) -> bool {
    matches!(error, CallError::Refused { status: 400 | 404 | 410, error, .. } if error.to_ascii_lowercase().contains("session"))
}

/// What a failed call means for the answer.
fn verdict(error: &CallError) -> DeliveryError {
    let reason = error.to_string();
    let after = error.retry_after();
    match error {
        CallError::NotReached(_) => retry(after, FailureClass::Unavailable, &reason),
        // The next attempt looks first.
        error if error.may_be_done() => retry(Some(SLOW), FailureClass::Timeout, &reason),
        error if is_session_gone(error) => {
            dead(FailureClass::NotFound, &format!("{reason}: the session is over at the bridge"))
        }
        error => match error.status() {
            Some(429) => retry(after, FailureClass::RateLimited, &reason),
            Some(401 | 403) => retry(
                Some(Duration::from_secs(60)),
                FailureClass::Unauthorised,
                &format!("{reason}: renew client.api_key"),
            ),
            Some(500..=599) => retry(after, FailureClass::Unavailable, &reason),
            _ => dead(FailureClass::Rejected, &reason),
        },
    }
}

fn retry(after: Option<Duration>, class: FailureClass, reason: &str) -> DeliveryError {
    DeliveryError::Retry { after, failure: Failure::new(class, reason) }
}

fn dead(class: FailureClass, reason: &str) -> DeliveryError {
    DeliveryError::Dead(Failure::new(class, reason))
}

fn unknown(reason: &str) -> DeliveryError {
    let advice = "look at the session's responses, then replay or leave it";
    DeliveryError::Unknown(Failure::new(FailureClass::Timeout, format!("{reason}: {advice}")))
}

enum Found {
    /// The bridge's ids of the first pieces; it has none of the others.
    Pieces(Vec<String>),
    /// It has such a text, and does not say for which message.
    PerhapsAll,
    /// It is away, or busy.
    NotNow(CallError),
    CannotAsk,
}

async fn look(bridge: &Bridge, session: &str, response: &Response, pieces: &[&str]) -> Found {
    match bridge.responses(session).await {
        Ok(responses) => found(&responses, response, pieces),
        // It has no such session, so it has nothing in it.
        Err(error) if is_session_gone(&error) => Found::Pieces(Vec::new()),
        Err(error) if error.may_pass() => Found::NotNow(error),
        Err(_) => Found::CannotAsk,
    }
}

fn found(responses: &[Value], response: &Response, pieces: &[&str]) -> Found {
    let message = id_text(&response.attributes["message_id"]);
    let is_exact = message.is_some() && responses.iter().all(|entry| entry.get("message_id").is_some());
    let recorded = |id: &str| response.parts.iter().any(|part| part.platform_message_id == id);
    let mut mine = responses.iter().filter(|entry| !is_exact || id_text(&entry["message_id"]) == message);
    let mut ids = Vec::new();
    for piece in pieces {
        let words = bare(piece);
        let next = mine.find_map(|entry| {
            let id = id_text(&entry["id"]).filter(|id| !recorded(id))?;
            (bare(entry["response"].as_str()?) == words).then_some(id)
        });
        match next {
            Some(id) => ids.push(id),
            None => break,
        }
    }
    if is_exact || ids.is_empty() { Found::Pieces(ids) } else { Found::PerhapsAll }
}

/// A bridge may change marks and spaces, or write them for HTML; letters and numbers stay.
fn bare(text: &str) -> String {
    let plain = ["&amp;", "&lt;", "&gt;", "&quot;", "&#039;", "&#39;"]
        .iter()
        .fold(text.to_owned(), |text, mark| text.replace(mark, ""));
    plain.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Pieces of at most so many bytes, cut where a paragraph, a line or a word ends. All of the text is in one of them.
fn cut(text: &str, max_bytes: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > max_bytes {
        let mut end = max_bytes;
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let fits = &rest[..end];
        let at = ["\n\n", "\n", " "].iter().find_map(|mark| {
            let at = fits.rfind(mark)? + mark.len();
            // A piece of blanks alone is no message.
            (!fits[..at].trim().is_empty()).then_some(at)
        });
        let at = at.unwrap_or(end);
        let (piece, after) = rest.split_at(at);
        pieces.push(piece);
        rest = after;
    }
    // What is left of a text that ends with a blank shows nothing.
    if pieces.is_empty() || !rest.trim().is_empty() {
        pieces.push(rest);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_left_out(text in "(\\PC| |\n){0,300}", max in 4_usize..50) {
            let pieces = cut(&text, max);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= max));
            prop_assert!(text.starts_with(&pieces.concat()));
            prop_assert!(text[pieces.concat().len()..].trim().is_empty());
        }
    }

    fn response(text: &str, message: Value) -> Response {
        Response {
            kind: broca_core::ResponseKind::Answer,
            id: broca_core::ResponseId::new(),
            text: text.into(),
            chat_id: None,
            attributes: json!({"session_id": "session_abc123", "message_id": message}),
            attempt: 2,
            parts: Vec::new(),
            trace: None,
        }
    }

    #[test]
    fn an_answer_is_found_by_its_message() {
        let there = [
            json!({"id": 1, "response": "yes", "message_id": 3}),
            json!({"id": 2, "response": "a &lt; b", "message_id": 4}),
        ];
        let ids = |text: &str, message: Value| match found(&there, &response(text, message), &[text]) {
            Found::Pieces(ids) => Some(ids),
            _ => None,
        };
        assert_eq!(ids("a < b", json!(4)), Some(vec!["2".to_owned()]));
        assert_eq!(ids("a < b", json!("4")), Some(vec!["2".to_owned()]));
        assert_eq!(ids("yes", json!(4)), Some(vec![]), "that was the answer to another message");
    }

    #[test]
    fn an_equal_text_is_no_proof() {
        let there = [json!({"id": 1, "response": "yes"})];
        assert!(matches!(found(&there, &response("yes", json!(4)), &["yes"]), Found::PerhapsAll));
        assert!(matches!(found(&there, &response("no", json!(4)), &["no"]), Found::Pieces(ids) if ids.is_empty()));
    }
}
