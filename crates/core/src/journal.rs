//! The kinds of events that a message's journey is made of.
//!
//! A row that is written once and never changed *is* its event: an accepted message, an ended turn, an ended delivery
//! attempt, a replay. The journey reads it from there. The table `events` holds what no such row tells: what
//! a later statement overwrites (who held a lease, what a replay reopens) or deletes (a publish that was owed). Each kind
//! below says where it lives.

use std::{fmt, str::FromStr};

use crate::{MessageState, ResponseState};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no kind of event")]
pub struct UnknownKind(String);

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind { $($(#[$doc])* $variant),* }

        impl EventKind {
            /// In the order of a message's way. Of two events at the same microsecond, the one that stands
            /// first here came first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name that SQL, JSON and people see.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl FromStr for EventKind {
            type Err = UnknownKind;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(UnknownKind(text.to_owned())),
                }
            }
        }
    };
}

kinds!(
    /// Committed; the platform may be told. The row of the message.
    Accepted = "accepted",
    /// An operator brought it back: a new place at the tail, or its answer's delivery. A row of `replays`.
    Replayed = "replayed",
    /// What it says was changed, together with a replay. A row of `replays`.
    Edited = "edited",
    /// The broker confirmed a wake for it. `events`, written as the owed publish goes.
    WakePublished = "wake_published",
    /// Taken out of its queue by an operator. `events`.
    Held = "held",
    /// An operator's hold ended; it has a new place at the tail. `events`.
    Released = "released",
    /// Said to the agent in one turn with others. `events`, written as the turn starts; detail `turn`, `place`, `of`.
    Coalesced = "coalesced",
    /// A worker took the free conversation. `events`, with epoch; detail `ttl` of the lease in microseconds.
    Claimed = "claimed",
    /// A worker took the conversation from one whose lease had run out. `events`, with epoch; detail `ttl`, `from`.
    TakenOver = "taken_over",
    /// It is handled in another mode than the configured one, as an operator set it at run time. `events`, with epoch;
    /// detail `mode`, `of`.
    ModeSet = "mode_set",
    /// Recorded before the agent hears of it. The row of the turn.
    TurnStarted = "turn_started",
    /// A worker took up a turn that its predecessor left open. `events`, with epoch; detail `turn`, `from`,
    /// `from_epoch`, `handed_over`.
    TurnResumed = "turn_resumed",
    /// The agent had lost its side of the conversation: a new one was begun. `events`, with epoch; detail `turn`, `from`,
    /// `to`.
    ConversationRenewed = "conversation_renewed",
    /// The agent named the run. `events`; detail `turn`, `run`.
    RunKnown = "run_known",
    /// Its turn is to be stopped: by its sender, by an operator, or for a later message. `events`; detail `class`, `reason`.
    StopAsked = "stop_asked",
    /// The end of a turn. The row of the turn, as the four below.
    TurnAnswered = "turn_answered",
    TurnRetry = "turn_retry",
    TurnDead = "turn_dead",
    TurnUnknown = "turn_unknown",
    TurnCancelled = "turn_cancelled",
    /// The lease was given up with work pending, to be fair or to stop, and an open turn with it. `events`, with epoch;
    /// detail `turn`.
    HandedOver = "handed_over",
    /// Nothing is attempted in the conversation before a time. `events`, with epoch; detail `until`, `class`, `reason`.
    Parked = "parked",
    /// The agent's turn ended well. The row of the message, as the four below; a replay moves what it overwrites there
    /// to `events`, with the time at which it happened.
    Answered = "answered",
    Stored = "stored",
    Suppressed = "suppressed",
    Failed = "failed",
    Cancelled = "cancelled",
    /// The person is told that there will be no answer. The row of the notice.
    NoticeOwed = "notice_owed",
    /// Its conversation failed so many times in a row that it was put on hold. `events`; detail `hold`, `reason`.
    Quarantined = "quarantined",
    /// The broker confirmed the answer. `events`, written as the owed publish goes.
    AnswerPublished = "answer_published",
    /// The broker confirmed the copy of a dead letter. `events`, written as the owed publish goes.
    DeadLetterPublished = "dead_letter_published",
    /// Recorded before the platform hears of it. A row of `deliveries` once it ended, the row of the answer until then.
    DeliveryBegun = "delivery_begun",
    /// Another plugin process found a delivery that was cut off. `events`; detail `from`, `attempt`.
    DeliveryTakenOver = "delivery_taken_over",
    /// The platform took one of an answer's several messages. `events`; detail `attempt`, `part`, `receipt`.
    PartSent = "part_sent",
    /// The end of a delivery attempt. A row of `deliveries`, as the four below.
    Delivered = "delivered",
    DeliveryRetry = "delivery_retry",
    DeliveryDead = "delivery_dead",
    DeliveryUnknown = "delivery_unknown",
    /// The platform does not have it, or the plugin stopped first: the attempt does not count.
    DeliveryHandedBack = "delivery_handed_back",
    /// The answer is not to be delivered. The row of the answer; a replay moves what it overwrites there to `events`.
    DeliverySuppressed = "delivery_suppressed",
    /// An operator said that a dead letter needs nothing more. A row of `letters_closed`.
    Resolved = "resolved",
    /// The copy of a closed dead letter was dropped from its stream. A row of `letters_closed`.
    Purged = "purged",
    /// No more turns are asked of an agent's endpoint for now. `events`, of no message; detail `endpoint`.
    BreakerOpened = "breaker_opened",
    /// The agent's endpoint is asked again. `events`, of no message; detail `endpoint`.
    BreakerClosed = "breaker_closed",
    /// What it said, and who said it, was deleted on the person's wish. `events`.
    Forgotten = "forgotten",
);

impl EventKind {
    /// The event with which a message got into a terminal state.
    pub fn end_of(state: MessageState) -> Option<Self> {
        match state {
            MessageState::Completed => Some(Self::Answered),
            MessageState::Stored => Some(Self::Stored),
            MessageState::Suppressed => Some(Self::Suppressed),
            MessageState::Failed => Some(Self::Failed),
            MessageState::Cancelled => Some(Self::Cancelled),
            MessageState::Received | MessageState::Processing | MessageState::Held => None,
        }
    }

    /// The state that a message is in after this happened to it; `None` when it stays as it is. A replay of an
    /// answer's delivery alone opens no message.
    pub fn message_state(self) -> Option<MessageState> {
        match self {
            Self::Accepted | Self::Replayed | Self::Released | Self::TurnRetry | Self::TurnCancelled | Self::Parked => {
                Some(MessageState::Received)
            }
            Self::TurnStarted => Some(MessageState::Processing),
            Self::Held => Some(MessageState::Held),
            _ => MessageState::ALL.iter().copied().find(|state| Self::end_of(*state) == Some(self)),
        }
    }

    /// The state that an answer is in after this happened to it; `None` when it stays as it is.
    pub fn response_state(self) -> Option<ResponseState> {
        match self {
            Self::Answered | Self::NoticeOwed | Self::Replayed | Self::DeliveryHandedBack => {
                Some(ResponseState::Pending)
            }
            Self::DeliveryBegun => Some(ResponseState::Delivering),
            Self::Delivered => Some(ResponseState::Delivered),
            Self::DeliveryRetry => Some(ResponseState::Retry),
            Self::DeliveryDead => Some(ResponseState::Dead),
            Self::DeliveryUnknown => Some(ResponseState::Unknown),
            Self::DeliverySuppressed => Some(ResponseState::Suppressed),
            _ => None,
        }
    }

    /// The message is over, unless it is replayed.
    pub fn ends_message(self) -> bool {
        MessageState::ALL.iter().any(|state| Self::end_of(*state) == Some(self))
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for EventKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for EventKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_text_and_are_used_once() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse::<EventKind>().as_ref(), Ok(kind));
            assert_eq!(EventKind::ALL.iter().filter(|other| other.as_str() == kind.as_str()).count(), 1, "{kind}");
        }
        assert_eq!("done".parse::<EventKind>().unwrap_err().to_string(), "'done' is no kind of event");
    }
}
