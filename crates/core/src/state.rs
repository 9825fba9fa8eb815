//! The states of a message, a turn and a response, and the moves between them.
//!
//! This is the only place that says which move is legal. The SQL that performs a move carries the same
//! guard in its `where`, and the store's conformance suite holds the two against each other.

use std::{fmt, str::FromStr};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} cannot go from {from} to {to}")]
pub struct IllegalTransition {
    kind: &'static str,
    from: &'static str,
    to: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no {kind} state")]
pub struct UnknownState {
    kind: &'static str,
    text: String,
}

macro_rules! states {
    ($(#[$doc:meta])* $name:ident($kind:literal) { $($(#[$vdoc:meta])* $variant:ident = $text:literal => [$($next:ident),*]),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name that SQL, JSON and people see.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The states that may follow this one.
            pub fn next(self) -> &'static [Self] {
                match self { $(Self::$variant => &[$(Self::$next),*]),* }
            }

            /// `to`, or the refusal.
            pub fn to(self, to: Self) -> Result<Self, IllegalTransition> {
                if self.next().contains(&to) {
                    Ok(to)
                } else {
                    Err(IllegalTransition { kind: $kind, from: self.as_str(), to: to.as_str() })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(UnknownState { kind: $kind, text: text.to_owned() }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

states!(
    /// Where an accepted message is on its way.
    MessageState("message") {
        /// Committed; waits for its place in the conversation.
        Received = "received" => [Processing, Completed, Stored, Suppressed, Failed, Cancelled, Held],
        /// A worker holds the conversation and works on it, or it waits for its next attempt.
        Processing = "processing" => [Received, Completed, Stored, Failed, Cancelled, Held],
        /// The agent's turn ended well. Terminal, unless replayed.
        Completed = "completed" => [Received],
        /// Kept without calling an agent (listen mode). Terminal, unless replayed.
        Stored = "stored" => [Received],
        /// Refused by policy, with a reason. Terminal, unless replayed.
        Suppressed = "suppressed" => [Received],
        /// Dead-lettered. Terminal, unless replayed.
        Failed = "failed" => [Received],
        /// Ended by an operator. Terminal, unless replayed.
        Cancelled = "cancelled" => [Received],
        /// Taken out of the queue by an operator; release gives it a new place at the tail.
        Held = "held" => [Received, Cancelled],
    }
);

impl MessageState {
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Received | Self::Processing | Self::Held)
    }
}

states!(
    /// What became of one attempt at an agent.
    TurnState("turn") {
        /// Recorded before the agent is called; the agent may or may not know of it.
        Started = "started" => [Answered, Retry, Dead, Unknown, Cancelled],
        /// The agent answered (perhaps with nothing to say).
        Answered = "answered" => [],
        /// A definite failure after which another attempt makes sense.
        Retry = "retry" => [],
        /// A definite failure that another attempt cannot mend.
        Dead = "dead" => [],
        /// No evidence is left of whether the agent did it.
        Unknown = "unknown" => [],
        /// Stopped on an operator's word.
        Cancelled = "cancelled" => [],
    }
);

states!(
    /// Where an answer is on its way to the platform.
    ResponseState("response") {
        /// Committed; waits for its plugin.
        Pending = "pending" => [Delivering, Suppressed, Dead],
        /// A plugin process is handing it to the platform; the platform may or may not have it.
        Delivering = "delivering" => [Pending, Delivered, Retry, Dead, Unknown],
        /// The platform confirmed it. Terminal.
        Delivered = "delivered" => [],
        /// A definite failure; another attempt is due.
        Retry = "retry" => [Delivering, Suppressed, Dead],
        /// A definite failure that another attempt cannot mend. Terminal, unless replayed.
        Dead = "dead" => [Pending],
        /// The platform may have it and cannot be asked; never resent blindly. Terminal, unless replayed.
        Unknown = "unknown" => [Pending],
        /// Not to be delivered, with a reason. Terminal, unless replayed.
        Suppressed = "suppressed" => [Pending],
    }
);

impl ResponseState {
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Delivering | Self::Retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_message_state() -> impl Strategy<Value = MessageState> {
        proptest::sample::select(MessageState::ALL)
    }

    proptest! {
        #[test]
        fn a_move_is_legal_exactly_when_listed(from in any_message_state(), to in any_message_state()) {
            prop_assert_eq!(from.to(to).is_ok(), from.next().contains(&to));
        }

        /// Whatever happened to a message, some sequence of legal moves ends it.
        #[test]
        fn every_walk_can_reach_a_terminal_state(steps in proptest::collection::vec(any_message_state(), 0..20)) {
            let mut at = MessageState::Received;
            for to in steps {
                at = at.to(to).unwrap_or(at);
            }
            prop_assert!(at.is_terminal() || at.next().iter().any(|s| s.is_terminal()));
        }
    }

    #[test]
    fn terminal_states_only_reopen_by_replay() {
        for state in MessageState::ALL.iter().filter(|s| s.is_terminal()) {
            assert_eq!(state.next(), [MessageState::Received], "{state}");
        }
        for state in ResponseState::ALL.iter().filter(|s| s.is_terminal()) {
            assert!(state.next().iter().all(|s| *s == ResponseState::Pending), "{state}");
        }
    }

    #[test]
    fn names_survive_text_and_refusals_say_both_ends() {
        for state in MessageState::ALL {
            assert_eq!(state.as_str().parse::<MessageState>().as_ref(), Ok(state));
        }
        let refused = MessageState::Completed.to(MessageState::Failed).unwrap_err();
        assert_eq!(refused.to_string(), "a message cannot go from completed to failed");
        assert_eq!("done".parse::<MessageState>().unwrap_err().to_string(), "'done' is no message state");
    }
}
