//! What happened, for whoever listens: dashboards, plugins, other programs. An event may be lost; no code of the
//! pipeline depends on one. It names ids and states, never a message's text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ConversationId, Instance, MessageId, MessageState, ResponseState, Timestamp};

/// The version this code writes; fields it does not know are ignored.
pub const VERSION: u32 = 1;

/// Longer events are not sent.
pub const MAX_BYTES: usize = 64 * 1024;

/// What an event is about. The word is the second-last token of its subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EventType {
    /// A message changed its state; `data` is a [`MessageEvent`].
    Message,
    /// A plugin's state changed; `data` is its state.
    Status,
    /// A plugin reports that something failed.
    Error,
    /// A plugin's own.
    Own(OwnKind),
}

/// The name of a plugin's own type of event: `x-`, then lower-case letters, digits and `-`; at most 32 of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnKind(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no type of event: use message, status, error, or one of your own like 'x-joined'")]
pub struct InvalidEventType(String);

impl EventType {
    /// A plugin's own type, e.g. `x-joined`.
    pub fn own(name: &str) -> Result<Self, InvalidEventType> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        match name.strip_prefix("x-") {
            Some(rest) if !rest.is_empty() && name.len() <= 32 && name.bytes().all(legal) => {
                Ok(Self::Own(OwnKind(name.to_owned())))
            }
            _ => Err(InvalidEventType(name.chars().take(64).collect())),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Message => "message",
            Self::Status => "status",
            Self::Error => "error",
            Self::Own(OwnKind(name)) => name,
        }
    }
}

impl FromStr for EventType {
    type Err = InvalidEventType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "message" => Ok(Self::Message),
            "status" => Ok(Self::Status),
            "error" => Ok(Self::Error),
            own => Self::own(own),
        }
    }
}

impl TryFrom<String> for EventType {
    type Error = InvalidEventType;

    fn try_from(name: String) -> Result<Self, InvalidEventType> {
        name.parse()
    }
}

impl From<EventType> for String {
    fn from(kind: EventType) -> Self {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event as it is on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    #[serde(rename = "v")]
    pub version: u32,
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The plugin instance that it came from, or whose message it is about.
    pub instance: Instance,
    /// By the clock of whoever emitted it.
    pub at: Timestamp,
    pub data: serde_json::Value,
}

/// The `data` of a [`EventType::Message`] event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageEvent {
    pub message_id: MessageId,
    /// A plugin process does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// What it is in now; `processing` means that an agent works on it.
    pub state: MessageState,
    /// What its answer is in now; there when the event tells of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<ResponseState>,
    /// Why it failed, waits, or was not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub platform_user_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
}

impl Event {
    /// The event's bytes; `None` when it is too long to be sent.
    pub fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok().filter(|bytes| bytes.len() <= MAX_BYTES)
    }

    /// Reads an event; `None` for what is none, or of another version.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(payload).ok().filter(|event| event.version == VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_one_subject_token() {
        for name in ["message", "status", "error", "x-joined", "x-2"] {
            assert_eq!(name.parse::<EventType>().unwrap().to_string(), name);
        }
        for bad in ["", "joined", "x-", "x-a.b", "x-*", "x->", "X-a", "x-ä", &format!("x-{}", "a".repeat(31))] {
            assert!(bad.parse::<EventType>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_survives_the_wire_and_junk_is_none() {
        let event = Event {
            version: VERSION,
            kind: EventType::own("x-joined").unwrap(),
            instance: "telegram".parse().unwrap(),
            at: Timestamp(1),
            data: serde_json::json!({"chat": "g1"}),
        };
        assert_eq!(Event::decode(&event.encode().unwrap()), Some(event.clone()));
        assert_eq!(Event::decode(b"{}"), None);
        assert_eq!(Event::decode(&Event { version: 2, ..event.clone() }.encode().unwrap()), None);
        let long = Event { data: "x".repeat(MAX_BYTES).into(), ..event };
        assert_eq!(long.encode(), None);
    }
}
