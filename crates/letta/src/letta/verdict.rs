//! What the end of a run means.
//!
//! Every end and its outcome is a line of the table in this crate's README. What is behind it:
//!
//! A failed run that stored our message is dead, not unknown: what happened is known. A later step failed, the message
//! and perhaps the effects of tools are in the agent's context, and saying it again would double them; a person decides.
//! A failed run that stored nothing did not happen. Under the same key Letta would replay the failure, so the next
//! attempt needs a new one.

use broca_core::{
    Usage,
    agent::{Failure, FailureClass},
};

use super::{
    refusal::{IMAGES_ADVICE, MODEL_KEY_ADVICE, OVERFLOW_ADVICE},
    wire::{Run, StreamEvent, Tokens},
};

/// What a run's streams told about its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) stop_reason: Option<String>,
    pub(super) usage: Option<Usage>,
    error_type: Option<String>,
    overflow: bool,
    pending_approval: bool,
    /// The turn showed images; a model that takes none fails with whatever its provider says then.
    with_images: bool,
    blames_images: bool,
}

impl Evidence {
    /// Takes note of an event; true when it is one after which nothing but usage follows.
    pub(super) fn note(&mut self, event: &StreamEvent) -> bool {
        match event.message_type.as_deref() {
            Some("usage_statistics") => {
                self.usage = Some(Tokens::usage(event.usage));
                false
            }
            Some("error_message") => {
                self.error_type.clone_from(&event.error_type);
                for text in [&event.error_type, &event.message, &event.detail].into_iter().flatten() {
                    self.search(text);
                }
                true
            }
            Some("stop_reason") => {
                self.stop_reason.clone_from(&event.stop_reason);
                true
            }
            _ => false,
        }
    }

    pub(super) fn of_images(self, with_images: bool) -> Self {
        Self { with_images, ..self }
    }

    fn search(&mut self, text: &str) {
        self.overflow |= text.contains("CONTEXT_WINDOW_EXCEEDED") || text.contains("context_window_exceeded");
        self.pending_approval |= text.contains("PENDING_APPROVAL");
        self.blames_images |= BLAMES_IMAGES.iter().any(|word| text.contains(word));
    }
}

/// What models and their providers say of images that they do not take, or of tools that read them.
const BLAMES_IMAGES: [&str; 5] =
    ["thought_signature", "image-analyzer", "image_analyzer", "invalid_argument", "INVALID_ARGUMENT"];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Answered,
    Retry(Failure),
    Dead(Failure),
    /// The agent waits for somebody to allow a tool call of this turn.
    AsksApproval,
    /// The agent waits for somebody to allow a tool call of an earlier turn; this one did not happen.
    BlockedByApproval,
}

/// Judges a run that is over. `spoke`: it has assistant text. `stored`: our message is among its messages.
pub(super) fn judge(run: &Run, evidence: &Evidence, spoke: bool, stored: bool) -> Verdict {
    let reason = run.stop_reason.as_deref().or(evidence.stop_reason.as_deref());
    let dead = |class, why: &str| Verdict::Dead(Failure::new(class, format!("{why} (run {})", run.id)));
    match (run.status.as_deref(), reason) {
        (_, Some("context_window_overflow_in_system_prompt")) => dead(FailureClass::ContextOverflow, OVERFLOW_ADVICE),
        (_, Some("insufficient_credits")) => {
            dead(FailureClass::Rejected, "the Letta account has no credits left; top it up, then replay")
        }
        (Some("cancelled"), _) | (_, Some("cancelled")) => dead(
            FailureClass::Operator,
            "somebody cancelled the run in Letta; replay the message if it is still wanted",
        ),
        (Some("failed"), _) => failed(run, evidence, stored),
        (_, Some("end_turn" | "tool_rule")) => Verdict::Answered,
        (_, Some("requires_approval")) => Verdict::AsksApproval,
        (_, Some("error" | "llm_api_error" | "invalid_llm_response" | "invalid_tool_call")) => {
            failed(run, evidence, stored)
        }
        _ if spoke => Verdict::Answered,
        (_, Some(limit @ ("max_steps" | "max_tokens_exceeded" | "no_tool_call"))) => dead(
            FailureClass::AgentError,
            &format!("the agent ended without words, on {limit}; look at the run in Letta"),
        ),
        (_, other) => {
            let other = other.map_or_else(|| "no stop reason".to_owned(), |name| format!("the stop reason '{name}'"));
            dead(FailureClass::Protocol, &format!("the run ended without words and with {other}, unknown to Broca"))
        }
    }
}

fn failed(run: &Run, evidence: &Evidence, stored: bool) -> Verdict {
    let mut evidence = evidence.clone();
    evidence.search(&run.error_text());
    let kind = evidence.error_type.as_deref().unwrap_or("no error type");
    let because = |advice: &str| format!("the agent's run {} failed ({kind}): {advice}", run.id);
    let dead = |class, advice: &str| Verdict::Dead(Failure::new(class, because(advice)));
    if evidence.overflow {
        return dead(FailureClass::ContextOverflow, OVERFLOW_ADVICE);
    }
    if stored {
        let advice = "a later step failed, and the message is already in the agent's context; replay it only if a \
                      second copy does no harm";
        return dead(FailureClass::AgentError, advice);
    }
    if evidence.pending_approval {
        return Verdict::BlockedByApproval;
    }
    let retry = |class, advice: &str| Verdict::Retry(Failure::new(class, because(advice)));
    match kind {
        "llm_rate_limit" => retry(FailureClass::RateLimited, "the model is rate limited"),
        "llm_authentication" | "llm_permission_denied" => dead(FailureClass::Unauthorised, MODEL_KEY_ADVICE),
        "llm_bad_request" | "llm_unprocessable_entity" if evidence.with_images => {
            retry(FailureClass::ImageRefused, IMAGES_ADVICE)
        }
        "llm_bad_request" | "llm_unprocessable_entity" | "llm_not_found" => {
            dead(FailureClass::Rejected, "the model's provider refused the request; look at the run in Letta")
        }
        _ if evidence.with_images && evidence.blames_images => retry(FailureClass::ImageRefused, IMAGES_ADVICE),
        _ => retry(FailureClass::AgentError, "nothing of the turn was stored"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(status: &str, reason: Option<&str>, error: Option<&str>, spoke: bool, stored: bool) -> String {
        let run: Run = serde_json::from_value(json!({"id": "run-1", "status": status, "stop_reason": reason})).unwrap();
        let evidence = Evidence { error_type: error.map(str::to_owned), ..Evidence::default() };
        match judge(&run, &evidence, spoke, stored) {
            Verdict::Retry(failure) => format!("retry {}", failure.class),
            Verdict::Dead(failure) => format!("dead {}", failure.class),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_stop_reason_is_mapped() {
        for (status, reason, spoke, stored, expected) in [
            ("completed", "end_turn", false, true, "Answered"),
            ("completed", "tool_rule", true, true, "Answered"),
            ("completed", "max_steps", true, true, "Answered"),
            ("completed", "max_steps", false, true, "dead agent_error"),
            ("completed", "max_tokens_exceeded", true, true, "Answered"),
            ("completed", "max_tokens_exceeded", false, true, "dead agent_error"),
            ("completed", "no_tool_call", false, true, "dead agent_error"),
            ("completed", "requires_approval", true, true, "AsksApproval"),
            ("completed", "cancelled", true, true, "dead operator"),
            ("cancelled", "cancelled", true, true, "dead operator"),
            ("completed", "error", true, false, "retry agent_error"),
            ("completed", "llm_api_error", true, false, "retry agent_error"),
            ("completed", "llm_api_error", true, true, "dead agent_error"),
            ("completed", "invalid_llm_response", false, false, "retry agent_error"),
            ("completed", "invalid_tool_call", false, true, "dead agent_error"),
            ("failed", "error", false, false, "retry agent_error"),
            ("failed", "llm_api_error", true, true, "dead agent_error"),
            ("failed", "insufficient_credits", false, false, "dead rejected"),
            ("failed", "context_window_overflow_in_system_prompt", false, false, "dead context_overflow"),
            ("completed", "from_the_future", true, true, "Answered"),
            ("completed", "from_the_future", false, true, "dead protocol"),
        ] {
            assert_eq!(said(status, Some(reason), None, spoke, stored), expected, "{status} {reason} {spoke} {stored}");
        }
        assert_eq!(said("completed", None, None, true, true), "Answered");
        assert_eq!(said("completed", None, None, false, true), "dead protocol");
        assert_eq!(said("failed", None, None, false, false), "retry agent_error");
    }

    #[test]
    fn every_error_of_the_model_is_mapped() {
        for (error, expected) in [
            ("llm_error", "retry agent_error"),
            ("internal_error", "retry agent_error"),
            ("llm_rate_limit", "retry rate_limited"),
            ("llm_authentication", "dead unauthorised"),
            ("llm_bad_request", "dead rejected"),
        ] {
            assert_eq!(said("failed", None, Some(error), false, false), expected, "{error}");
            assert_eq!(said("failed", None, Some(error), false, true), "dead agent_error", "{error}, stored");
        }
    }

    #[test]
    fn known_texts_are_found_wherever_letta_puts_them() {
        let run: Run = serde_json::from_value(
            json!({"id": "run-1", "status": "failed", "metadata": {"error": {"detail": "CONTEXT_WINDOW_EXCEEDED: 9"}}}),
        )
        .unwrap();
        let verdict = judge(&run, &Evidence::default(), false, false);
        assert!(matches!(verdict, Verdict::Dead(f) if f.class == FailureClass::ContextOverflow));

        let event: StreamEvent =
            serde_json::from_value(json!({"message_type": "error_message", "detail": "PENDING_APPROVAL: x"})).unwrap();
        let mut evidence = Evidence::default();
        assert!(evidence.note(&event));
        let run: Run = serde_json::from_value(json!({"id": "run-1", "status": "failed"})).unwrap();
        assert_eq!(judge(&run, &evidence, false, false), Verdict::BlockedByApproval);
    }
}
