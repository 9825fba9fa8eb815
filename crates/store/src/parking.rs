//! Conversations that wait though nothing of them failed: for their agent's endpoint, for a slot, for a configuration.
//! A message that waits like this has used no attempt.

use std::{fmt, str::FromStr, time::Duration};

use broca_core::{ConversationId, MessageId, Timestamp, agent::Failure};
use serde::Serialize;

/// What a parked conversation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parked {
    /// For its agent's endpoint to answer again.
    Endpoint,
    /// For one of the turns that its agent or its endpoint may have at a time.
    Slot,
    /// For somebody to configure its agent.
    Agent,
    /// For more messages of a burst. Any wake may claim it and see whether enough have come.
    Window,
}

impl Parked {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Slot => "slot",
            Self::Agent => "agent",
            Self::Window => "window",
        }
    }
}

impl Parked {
    /// Whether it is said of the message itself.
    pub(crate) fn is_trouble(self) -> bool {
        matches!(self, Self::Endpoint | Self::Agent)
    }

    /// As `conversations.parked` has it; a window is in `window_until`.
    pub(crate) fn column(self) -> Option<&'static str> {
        (self != Self::Window).then_some(self.as_str())
    }
}

impl fmt::Display for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Parked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "endpoint" => Ok(Self::Endpoint),
            "slot" => Ok(Self::Slot),
            "agent" => Ok(Self::Agent),
            "window" => Ok(Self::Window),
            _ => Err(format!("'{text}' is nothing that a conversation is parked for")),
        }
    }
}

/// Gives a held conversation up until a later time. Nothing is attempted until then; no attempt is counted.
#[derive(Clone, Debug)]
pub struct Park {
    pub conversation: ConversationId,
    pub epoch: i64,
    /// The first pending message, which would have had the turn.
    pub message: MessageId,
    pub what_for: Parked,
    /// Until this time by the database's clock, or for `delay`, whichever is later.
    pub until: Timestamp,
    pub delay: Duration,
    /// Parked only if nothing was accepted behind this place; otherwise nothing changes, and the answer is
    /// `Timestamp(0)`. `None`: whatever was accepted.
    pub seen: Option<i64>,
    /// Told in the message's journey, and of the message itself unless it waits for a slot or for more messages, which
    /// is no trouble.
    pub why: Failure,
}

/// Lets parked conversations come back.
#[derive(Clone, Debug)]
pub struct Unpark {
    pub what_for: Parked,
    /// Of these agents alone.
    pub agents: Vec<String>,
    /// Those that were to come back first.
    pub at_most: u32,
    /// The first comes back at this time or at once, whichever is later.
    pub from: Timestamp,
    /// The others so long one after the other, but all of them within `within`.
    pub apart: Duration,
    pub within: Duration,
}

/// How many conversations of an agent wait for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ParkedCount {
    pub agent: String,
    pub what_for: Parked,
    pub conversations: i64,
    /// When the first of them comes back.
    pub next: Timestamp,
}
