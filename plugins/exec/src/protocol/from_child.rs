//! What the program says to the host.

use broca_core::{MessageId, agent::FailureClass};
use broca_plugin::Capabilities;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{IncomingMessage, Part, RequestId};

/// What the program writes to its standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromChild {
    /// The answer to `hello`: from now on answers are handed over.
    Ready(Ready),
    /// Somebody wrote something. Messages of one chat are taken in the order of their lines.
    Ingest { id: RequestId, message: Box<IncomingMessage> },
    /// Where does a message of this instance stand?
    Status {
        id: RequestId,
        #[schemars(with = "String")]
        message_id: MessageId,
    },
    /// What did a person say lately, and what were they answered?
    History { id: RequestId, platform_user_id: String, limit: u32 },
    /// Take a message back that waits for its turn. Whose it is, the program must know.
    Cancel {
        id: RequestId,
        #[schemars(with = "String")]
        message_id: MessageId,
        reason: String,
    },
    /// To `deliver`: the platform took a part, and another follows. Wait for `part_recorded` before it.
    Part {
        id: u64,
        platform_message_id: String,
        /// How many bytes (UTF-8) of `rest` are done by it, counted from the part before.
        text_bytes: usize,
    },
    /// To `deliver`: the platform has all of it. The platform's ids of what was sent since the last recorded part.
    Delivered {
        id: u64,
        #[serde(default)]
        platform_message_ids: Vec<String>,
    },
    /// To `deliver`: the platform definitely does not have it, the recorded parts excepted. Try again.
    Retry {
        id: u64,
        /// When the platform said so.
        #[serde(default)]
        after_ms: Option<u64>,
        #[serde(default)]
        class: Option<Class>,
        reason: String,
    },
    /// To `deliver`: the platform will never take it.
    Dead { id: u64, class: Class, reason: String },
    /// To `deliver`: the platform may have it. Where the capabilities say `settles`, it is asked at once.
    Unknown {
        id: u64,
        #[serde(default)]
        class: Option<Class>,
        reason: String,
    },
    /// To `settle`.
    Settled {
        id: u64,
        outcome: Outcome,
        /// Of `delivered`: the platform's ids of all that was sent.
        #[serde(default)]
        platform_message_ids: Vec<String>,
        /// Of `partly`: what the platform has, from the first part on.
        #[serde(default)]
        parts: Vec<Part>,
    },
    /// To `settings`: they are in force, or (`restart`) the program is to be started anew with them.
    Applied {
        id: u64,
        #[serde(default)]
        restart: bool,
    },
    /// To `settings`: they do not fit; the program goes on with those it has.
    SettingsRefused { id: u64, reason: String },
    /// How it stands with the platform. After `ready` it counts as connected until it says something else.
    State {
        state: State,
        /// What is wrong, and what to do.
        #[serde(default)]
        detail: String,
    },
    /// A line for the log, beside what it writes to standard error. No texts of messages, no secrets.
    Log { level: LogLevel, message: String },
    /// Tells whoever listens: `error`, or a type of its own that begins with `x-`.
    Emit { kind: String, data: Value },
    /// It cannot go on, and ends.
    Failed { cause: Cause, reason: String },
}

/// Who the program is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ready {
    pub name: String,
    /// The program's own version.
    pub version: String,
    /// What the platform can do beyond plain text; without it, what the plugin's folder says.
    pub capabilities: Option<Capabilities>,
    /// It takes new settings while it runs.
    pub applies_settings: bool,
}

/// Why a delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The recipient blocked the bot. Of `dead`, it ends the chat's other answers, too, until somebody writes there again.
    Blocked,
    /// The chat or the person is gone. Of `dead`, as `blocked`.
    NotFound,
    /// The platform understood and refused this answer.
    Rejected,
    RateLimited,
    /// Nobody answered: nothing was done.
    Unavailable,
    Timeout,
    /// The platform refuses the credentials.
    Unauthorised,
    /// The platform broke its own protocol.
    Protocol,
}

/// What the platform says of an answer whose delivery was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has all of it.
    Delivered,
    /// It has some parts of it, and nothing behind them: the delivery goes on there.
    Partly,
    /// It has nothing of it, the recorded parts excepted: it is delivered again.
    NotDelivered,
    /// Nobody can tell: the answer stays unknown, and is never sent again by itself.
    CannotTell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Connecting,
    Connected,
    /// Something fails, and the program goes on trying by itself.
    Degraded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// What a program ends for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The settings do not fit: a person has to change them.
    Settings,
    /// The platform refuses the credentials: a person has to renew them.
    Credentials,
    /// Anything else; it is started again, with growing pauses.
    Platform,
}

impl From<Class> for FailureClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Blocked => Self::Blocked,
            Class::NotFound => Self::NotFound,
            Class::Rejected => Self::Rejected,
            Class::RateLimited => Self::RateLimited,
            Class::Unavailable => Self::Unavailable,
            Class::Timeout => Self::Timeout,
            Class::Unauthorised => Self::Unauthorised,
            Class::Protocol => Self::Protocol,
        }
    }
}

impl FromChild {
    /// The host's own question that this answers.
    pub(crate) fn answers(&self) -> Option<u64> {
        match self {
            Self::Part { id, .. }
            | Self::Delivered { id, .. }
            | Self::Retry { id, .. }
            | Self::Dead { id, .. }
            | Self::Unknown { id, .. }
            | Self::Settled { id, .. }
            | Self::Applied { id, .. }
            | Self::SettingsRefused { id, .. } => Some(*id),
            Self::Ready(_)
            | Self::Ingest { .. }
            | Self::Status { .. }
            | Self::History { .. }
            | Self::Cancel { .. }
            | Self::State { .. }
            | Self::Log { .. }
            | Self::Emit { .. }
            | Self::Failed { .. } => None,
        }
    }
}
