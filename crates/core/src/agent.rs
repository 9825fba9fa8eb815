//! What an agent's turn comes to. The trait that produces it is `broca_letta::Agent`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the agent said in one turn. `parts` may be empty: an agent may have nothing to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The assistant messages of the turn, in order.
    pub parts: Vec<String>,
    pub usage: Option<Usage>,
}

impl Answer {
    pub fn text(text: impl Into<String>) -> Self {
        Self { parts: vec![text.into()], usage: None }
    }

    /// All parts as one message, blank ones left out; `None` when nothing was said.
    pub fn joined(&self) -> Option<String> {
        let parts: Vec<&str> = self.parts.iter().map(|p| p.trim()).filter(|p| !p.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join("\n\n"))
    }
}

/// Tokens as the agent counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub total_tokens: i64,
    pub step_count: i64,
}

/// How a turn ended. Every failure chooses where it arises: retry, dead or unknown.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnOutcome {
    Answered(Answer),
    /// The turn definitely did not happen; another attempt, under a new id, makes sense.
    Retry {
        after: Option<Duration>,
        failure: Failure,
    },
    /// The turn definitely did not happen: the agent does not have its conversation (any more). In a new one it may.
    NoConversation(Failure),
    /// It will never work as it is.
    Dead(Failure),
    /// It may have happened and the agent can no longer be asked.
    Unknown(Failure),
}

/// Why something failed: a class for filters and metrics, a reason for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    pub class: FailureClass,
    /// One sentence, without message text and without secrets.
    pub reason: String,
}

impl Failure {
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }
}

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// The classes of failure, of turns and of deliveries.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum FailureClass { $($(#[$doc])* $variant),* }

        impl FailureClass {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

classes!(
    /// Another turn runs in the same conversation (HTTP 409 with a run id).
    Busy = "busy",
    /// HTTP 429, of the server, of the model behind it, or of the platform.
    RateLimited = "rate_limited",
    /// Nobody answered, or the answer was 502, 503 or 504: nothing was done.
    Unavailable = "unavailable",
    /// The time allowed for the attempt ran out.
    Timeout = "timeout",
    /// The model behind the agent failed.
    AgentError = "agent_error",
    /// The far side refused our credentials.
    Unauthorised = "unauthorised",
    /// The agent's model does not take the images of the message. It is said again without them.
    ImageRefused = "image_refused",
    /// The agent, conversation, chat or user does not exist (any more).
    NotFound = "not_found",
    /// The far side understood and refused.
    Rejected = "rejected",
    /// The conversation no longer fits the model's context window.
    ContextOverflow = "context_overflow",
    /// The recipient blocked us.
    Blocked = "blocked",
    /// The far side broke its own protocol.
    Protocol = "protocol",
    /// The process that worked on it died; what it did is not known.
    Interrupted = "interrupted",
    /// Every attempt was used up.
    Exhausted = "exhausted",
    /// A later message was to be answered with it, and its route says that this stops the turn.
    Superseded = "superseded",
    /// More messages of a burst may follow, and are to be answered with it.
    Gathering = "gathering",
    /// An operator ended it.
    Operator = "operator",
    /// The configuration does not fit (no such agent, no such route).
    Misconfigured = "misconfigured",
);

impl FailureClass {
    /// Whether it may be the conversation's own fault that its message failed. Where an endpoint is away, a key is wrong or an
    /// agent is gone or not configured, every conversation fails alike, and to quarantine them all would help nobody. (A
    /// conversation that is gone is begun anew.)
    pub fn may_be_the_conversations(self) -> bool {
        use FailureClass::{Blocked, Misconfigured, NotFound, Operator, RateLimited, Unauthorised, Unavailable};
        !matches!(self, Unavailable | RateLimited | Unauthorised | NotFound | Misconfigured | Operator | Blocked)
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_words_is_no_response() {
        assert_eq!(Answer::default().joined(), None);
        assert_eq!(Answer { parts: vec![" ".into(), "\n".into()], usage: None }.joined(), None);
        let two = Answer { parts: vec!["Let me look.".into(), String::new(), "Found it.\n".into()], usage: None };
        assert_eq!(two.joined().as_deref(), Some("Let me look.\n\nFound it."));
    }

    #[test]
    fn what_fails_for_everybody_is_no_conversations_fault() {
        for class in [FailureClass::Unavailable, FailureClass::Unauthorised, FailureClass::NotFound] {
            assert!(!class.may_be_the_conversations(), "{class}");
        }
        for class in [FailureClass::ContextOverflow, FailureClass::Rejected, FailureClass::Exhausted] {
            assert!(class.may_be_the_conversations(), "{class}");
        }
    }

    #[test]
    fn a_class_is_named_alike_in_sql_and_json() {
        for class in FailureClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }
}
