//! What the host says to the program.

use broca_core::MessageId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Entry, RequestId, Standing, ToDeliver};

/// What the host writes to the program's standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToChild {
    /// The first line. Answer `ready`.
    Hello {
        /// The name of this account's instance.
        instance: String,
        platform: String,
        /// The program's own settings. Secrets among them are the secrets themselves.
        settings: Value,
        bounds: Bounds,
        /// Broca's version.
        broca: String,
    },
    /// Hand this answer to the platform; say what became of it by `delivered`, `retry`, `dead` or `unknown`. One answer of a
    /// chat at a time, in order; of several chats at once.
    Deliver {
        id: u64,
        #[serde(flatten)]
        answer: ToDeliver,
    },
    /// A delivery of this answer was cut off: ask the platform whether it has it; say `settled`. Only of programs whose
    /// capabilities say `settles`.
    Settle {
        id: u64,
        #[serde(flatten)]
        answer: ToDeliver,
    },
    /// A part is on record: send the next.
    PartRecorded { id: u64 },
    /// A part could not be recorded: send nothing more of this answer.
    PartLost { id: u64, reason: String },
    /// New settings, of programs that said `applies_settings`; say `applied` or `settings_refused`.
    Settings { id: u64, settings: Value },
    /// Somebody waits while an agent works on an answer. Only with the capability `typing`.
    Typing {
        #[schemars(with = "String")]
        message_id: MessageId,
        chat_id: Option<String>,
        platform_user_id: String,
    },
    /// Something happened that the instance's settings have it listen to.
    Event { event: Value },
    /// To `ingest`: the message is committed. Now the platform may be told so.
    Accepted {
        id: RequestId,
        #[schemars(with = "String")]
        message_id: MessageId,
        /// This event was accepted before; that is as good.
        duplicate: bool,
        /// It is stored and not let in: why, in one word such as `ignored` or `rate_limited`. Nobody answers it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suppressed: Option<String>,
    },
    /// To `ingest`: the message can never be accepted. The reason is fit for its sender; confirm it to the platform.
    Refused { id: RequestId, reason: String },
    /// To any question: nothing was done. Do not confirm it to the platform, ask again later.
    Unavailable { id: RequestId, reason: String },
    /// To `status`; null when there is no such message of this instance.
    StatusIs { id: RequestId, message: Option<Standing> },
    /// To `history`, oldest first.
    HistoryIs { id: RequestId, messages: Vec<Entry> },
    /// To `cancel`.
    Cancelled { id: RequestId, outcome: Withdrawn },
    /// Finish what is at hand, begin nothing new, end. After `grace_ms` the input is closed and SIGTERM sent, then SIGKILL.
    Shutdown { grace_ms: u64 },
}

/// What the host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    /// Bytes in one line that the program writes, its end included. A longer one is dropped.
    pub line_bytes: usize,
    /// Questions of the program that may be open at a time. Those above are answered with `unavailable`.
    pub open_requests: usize,
}

/// What became of a message that its sender took back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Withdrawn {
    /// It waited, and is cancelled.
    Done,
    /// An agent works on it, which is not stopped.
    Running,
    /// It is over, or not this instance's.
    Over,
}
