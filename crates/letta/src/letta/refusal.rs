//! Letta's refusals: an HTTP status that is not 2xx, with one of three shapes of body.
//!
//! Reasons name codes and ids alone. A refusal's own text may quote the message that was refused, so it is searched
//! for what is known and never repeated.
//! What each means for the turn is said in this crate's README.

use std::time::{Duration, SystemTime};

use broca_core::{
    TurnOutcome,
    agent::{Failure, FailureClass},
};
use serde_json::Value;

/// When a busy conversation is tried again.
pub(super) const BUSY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// `error.type`, `detail.code`, or the capital letters that `detail` begins with.
    pub(super) code: Option<String>,
    /// The body had `error.type`: it speaks of the model, not of our request.
    pub(super) of_model: bool,
    /// The run that is in the way.
    pub(super) run_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// This server cannot stream in the background, so it cannot recognise a repeated turn either.
    pub(super) needs_redis: bool,
}

impl Refusal {
    pub(super) fn read(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let mut refusal = Self { status, retry_after: retry_after.and_then(delay), ..Self::default() };
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return refusal };
        let word = |value: &Value| value.as_str().map(|text| text.chars().take(64).collect::<String>());
        if let Some(kind) = body["error"].get("type").and_then(word) {
            refusal.code = Some(kind);
            refusal.of_model = true;
        } else if let Some(code) = body["detail"].get("code").and_then(word) {
            refusal.code = Some(code);
        } else if let Some(detail) = body["detail"].as_str() {
            refusal.code = leading_code(detail);
            refusal.needs_redis = status == 503 && detail.contains("requires Redis");
        }
        refusal.run_id = body["run_id"].as_str().or(body["error"]["run_id"].as_str()).map(str::to_owned);
        refusal
    }

    pub(super) fn is_pending_approval(&self) -> bool {
        self.status == 409 && self.code.as_deref() == Some("PENDING_APPROVAL")
    }

    /// Whether the same call may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..)
    }

    /// Whether a request that shows images may do without them.
    pub(super) fn may_be_for_images(&self) -> bool {
        let overflow = self.code.as_deref() == Some("CONTEXT_WINDOW_EXCEEDED");
        matches!(self.status, 400 | 413 | 422) && !overflow
    }

    /// What the refusal of `what` means when nothing of it happened.
    pub(super) fn outcome(&self, what: &str) -> TurnOutcome {
        let failure = self.failure(what);
        match self.status {
            409 => TurnOutcome::Retry { after: self.retry_after.or(Some(BUSY_PAUSE)), failure },
            _ if self.is_passing() && failure.class != FailureClass::ContextOverflow => {
                TurnOutcome::Retry { after: self.retry_after, failure }
            }
            _ => TurnOutcome::Dead(failure),
        }
    }

    pub(super) fn failure(&self, what: &str) -> Failure {
        let code = self.code.as_deref().map(|code| format!(", {code}")).unwrap_or_default();
        let (class, advice) = self.reading();
        Failure::new(class, format!("Letta refused to {what} (HTTP {}{code}): {advice}", self.status))
    }

    fn reading(&self) -> (FailureClass, &'static str) {
        let code = self.code.as_deref().unwrap_or_default();
        match self.status {
            _ if code == "CONTEXT_WINDOW_EXCEEDED" => (FailureClass::ContextOverflow, OVERFLOW_ADVICE),
            401 | 403 if self.of_model => (FailureClass::Unauthorised, MODEL_KEY_ADVICE),
            401 | 403 => (FailureClass::Unauthorised, "check the agent's API key (the server's password)"),
            404 => (FailureClass::NotFound, "check the agent id and that the conversation was not deleted in Letta"),
            409 if self.is_pending_approval() => {
                (FailureClass::Busy, "a tool call in this conversation waits for somebody's approval")
            }
            409 => (FailureClass::Busy, "another turn runs in this conversation"),
            429 => (FailureClass::RateLimited, "too many requests; it is tried again later"),
            500 if code == "llm_rate_limit" => (FailureClass::RateLimited, "the model is rate limited"),
            500 => (FailureClass::AgentError, "the server failed; its log says why"),
            300..=399 => (FailureClass::Misconfigured, "the endpoint redirects; configure the address it points to"),
            408 | 425 | 501.. => (FailureClass::Unavailable, "the server is not ready"),
            _ => (FailureClass::Rejected, "it will not take this request as it is; its log says why"),
        }
    }
}

pub(super) const OVERFLOW_ADVICE: &str =
    "the conversation no longer fits the model's context window; compact it in Letta or start a new one, then replay";
pub(super) const IMAGES_ADVICE: &str = "its model does not take the images; the message is said again without them";
pub(super) const MODEL_KEY_ADVICE: &str =
    "the model's provider refused Letta's credentials; mend them in Letta, then replay";

/// `CONTEXT_WINDOW_EXCEEDED` of `CONTEXT_WINDOW_EXCEEDED: …`.
fn leading_code(detail: &str) -> Option<String> {
    let (head, _) = detail.split_once(':')?;
    let is_code = (3..=64).contains(&head.len()) && head.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    is_code.then(|| head.to_owned())
}

/// `Retry-After`, as seconds or as a date. Never more than a day.
fn delay(header: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(86_400);
    let header = header.trim();
    let delay = match header.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => httpdate::parse_http_date(header).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(delay.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Refusal {
        Refusal::read(status, None, body.as_bytes())
    }

    #[test]
    fn reads_the_three_shapes() {
        let busy = read(409, r#"{"detail":"CONFLICT: busy (run_id=run-1)","run_id":"run-1"}"#);
        assert_eq!((busy.code.as_deref(), busy.run_id.as_deref()), (Some("CONFLICT"), Some("run-1")));
        let pending = read(409, r#"{"detail":{"code":"PENDING_APPROVAL","pending_request_id":"m"}}"#);
        assert!(pending.is_pending_approval());
        let model = read(500, r#"{"error":{"type":"llm_error","message":"secret words"}}"#);
        assert!(model.of_model && model.code.as_deref() == Some("llm_error"));
        assert!(read(503, r#"{"detail":"Background streaming requires Redis to be up"}"#).needs_redis);
        assert_eq!(read(502, "<html>").code, None);
    }

    #[test]
    fn every_status_has_its_outcome() {
        let outcomes = [
            (400, "", "dead rejected"),
            (400, r#"{"detail":"CONTEXT_WINDOW_EXCEEDED: 9 tokens"}"#, "dead context_overflow"),
            (401, "", "dead unauthorised"),
            (401, r#"{"error":{"type":"llm_authentication"}}"#, "dead unauthorised"),
            (404, "", "dead not_found"),
            (409, "", "retry busy"),
            (422, "", "dead rejected"),
            (429, "", "retry rate_limited"),
            (500, "", "retry agent_error"),
            (500, r#"{"error":{"type":"llm_rate_limit"}}"#, "retry rate_limited"),
            (502, "", "retry unavailable"),
            (503, "", "retry unavailable"),
            (307, "", "dead misconfigured"),
            (501, "", "retry unavailable"),
        ];
        for (status, body, expected) in outcomes {
            let said = match read(status, body).outcome("do it") {
                TurnOutcome::Retry { failure, .. } => format!("retry {}", failure.class),
                TurnOutcome::Dead(failure) => format!("dead {}", failure.class),
                other => format!("{other:?}"),
            };
            assert_eq!(said, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_reason_never_repeats_what_was_said() {
        let bodies = [r#"{"detail":"[{'input': 'my secret'}]"}"#, r#"{"detail":"my secret: x"}"#];
        for body in bodies {
            assert!(!read(422, body).failure("take the message").reason.contains("secret"));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(delay("7"), Some(Duration::from_secs(7)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(delay(&date).is_some_and(|d| d > Duration::from_secs(90) && d <= Duration::from_secs(100)));
        assert_eq!(delay("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(delay("soon"), None);
        assert_eq!(delay("-1"), None);
        assert_eq!(delay("1e300"), None);
    }
}
