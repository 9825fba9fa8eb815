//! What a terminal and the plugin say to each other: one JSON object a line, UTF-8, over a Unix socket.
//!
//! The terminal speaks first, with `hello`; the plugin answers `welcome`, or `refused` and closes.
//!
//! | terminal → plugin | answered with |
//! |---|---|
//! | `{"type":"hello","v":1,"as":"alice","follow":true}` | `welcome`. `follow` asks for every answer to that person, not only for those to messages of this connection |
//! | `{"type":"message","event_id":"…","text":"…"}` | `accepted`, `refused` or `unavailable`; later `answer` or `ended`. With `"budget":{"max_attempts":1,"max_age_s":60}`, or one of the two, it is tried for so often and so long, whatever its route says |
//! | `{"type":"history","limit":20}` | `history`, or `unavailable` |
//! | `{"type":"received","response_id":"…"}` | nothing: it is the receipt of an `answer` |
//!
//! | plugin → terminal | says |
//! |---|---|
//! | `{"type":"welcome","v":1,"instance":"cli"}` | go on |
//! | `{"type":"accepted","event_id":"…","message_id":"…","duplicate":false}` | the message is committed and will end in a state that can be asked for |
//! | `{"type":"refused","event_id":"…","reason":"…"}` | it can never be accepted; without `event_id` the line itself was not understood |
//! | `{"type":"unavailable","event_id":"…","reason":"…"}` | nothing was stored: say it again later, under the same `event_id` |
//! | `{"type":"answer","response_id":"…","message_id":"…","text":"…"}` | show it and say `received` |
//! | `{"type":"ended","message_id":"…","state":"failed","reason":"…","answer":null}` | a message of this connection is over and no `answer` comes; `answer` is set when it went elsewhere, e.g. while the terminal was away |
//! | `{"type":"history","items":[…]}` | the last messages of that person, oldest first |
//!
//! **Ids.** `event_id` is the terminal's own and unique for its person: a message said again under the same `event_id`
//! is the same message, whatever died in between. An answer may arrive twice (a plugin that died before it saw the
//! receipt); a terminal shows one `response_id` once.
//!
//! **Limits.** A line to the plugin has at most 1 MiB. A longer line and a line that is not UTF-8 or not JSON are
//! `refused`, and the connection stays usable. One connection may have [`MAX_WAITING`] messages without an answer.

use broca_core::{Instance, MessageId, MessageState, ResponseId, retry::Budget};
use broca_plugin::HistoryEntry;
use serde::{Deserialize, Serialize};

/// The version that both sides name when they greet.
pub const VERSION: u32 = 1;
/// Bytes in one line to the plugin, without its line break.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Bytes in one line to a terminal: history and answers have no tighter limit of their own.
pub const MAX_REPLY_BYTES: usize = 64 << 20;
/// Messages of one connection that wait for their end at a time.
pub const MAX_WAITING: usize = 256;
/// Entries of history in one reply.
pub const MAX_HISTORY: u32 = 200;

/// A terminal's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    Hello {
        v: u32,
        #[serde(rename = "as")]
        user: String,
        #[serde(default)]
        follow: bool,
    },
    Message {
        event_id: String,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Budget>,
    },
    History {
        limit: u32,
    },
    Received {
        response_id: ResponseId,
    },
}

/// The plugin's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    Welcome { v: u32, instance: Instance },
    Accepted { event_id: String, message_id: MessageId, duplicate: bool },
    Refused { event_id: Option<String>, reason: String },
    Unavailable { event_id: Option<String>, reason: String },
    Answer { response_id: ResponseId, message_id: MessageId, text: String },
    Ended { message_id: MessageId, state: MessageState, reason: Option<String>, answer: Option<String> },
    History { items: Vec<HistoryEntry> },
}

/// A request or a reply as its line, line break included.
pub(crate) fn line<T: Serialize>(said: &T) -> Vec<u8> {
    // Unwrap safety: strings, numbers and ids alone; serde_json has nothing here that it could refuse.
    let mut line = serde_json::to_vec(said).expect("a request or reply is plain data");
    line.push(b'\n');
    line
}
