//! What a plugin is handed to deliver, and what it says of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ProfileId, ResponseId, TraceParent, UserId, agent::Failure};

/// What a response tells the person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResponseKind {
    #[default]
    Answer,
    /// That there is no answer. It is no dead letter when it cannot be delivered, and never brings another notice.
    Notice,
    /// What Broca itself says to a command. In all else it is a notice, and stored as one.
    Reply,
}

impl ResponseKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Notice => "notice",
            Self::Reply => "reply",
        }
    }
}

impl std::str::FromStr for ResponseKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "answer" => Ok(Self::Answer),
            "notice" => Ok(Self::Notice),
            "reply" => Ok(Self::Reply),
            _ => Err(format!("'{text}' is no kind of response")),
        }
    }
}

/// An answer for a platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The same in every attempt: hand it to the platform as idempotency key where it takes one.
    pub id: ResponseId,
    /// An agent's answer, or what Broca says by itself.
    #[serde(default)]
    pub kind: ResponseKind,
    pub text: String,
    /// The chat, group or channel that the message came from; `None` means the person's own chat.
    pub chat_id: Option<String>,
    /// What the plugin attached to the incoming message (e.g. the id to reply to).
    pub attributes: serde_json::Value,
    /// Counted from 1.
    pub attempt: u32,
    /// The platform messages that earlier attempts sent of it, in order: this attempt goes on after them.
    #[serde(default)]
    pub parts: Vec<Part>,
    pub trace: Option<TraceParent>,
}

impl Response {
    /// The text that is still to be sent: all of it, unless an earlier attempt sent some parts.
    pub fn rest(&self) -> &str {
        let mut sent = self.parts.last().map_or(0, |part| part.text_end).min(self.text.len());
        while !self.text.is_char_boundary(sent) {
            sent -= 1;
        }
        &self.text[sent..]
    }
}

/// One platform message of an answer that takes several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Part {
    /// The platform's id of it.
    pub platform_message_id: String,
    /// How many bytes of the answer's text are sent with this part and all before it. Whoever goes on begins there, also
    /// when another version of the plugin cuts the text at other places.
    pub text_end: usize,
}

/// The person that an answer is for, as their platform knows them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub id: ProfileId,
    pub user_id: UserId,
    pub platform: String,
    pub platform_user_id: String,
    pub username: Option<String>,
    pub display_name: Option<String>,
    /// The plugin's own facts about the person, e.g. a web session.
    pub metadata: serde_json::Value,
}

/// The platform's confirmation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Receipt {
    /// The platform's ids of what was sent, one per part, in order.
    pub platform_message_ids: Vec<String>,
}

impl Receipt {
    /// Of an answer that went out as one platform message.
    pub fn of(platform_message_id: impl Into<String>) -> Self {
        Self { platform_message_ids: vec![platform_message_id.into()] }
    }
}

/// Why an answer did not get its receipt. The plugin decides which of the three it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The platform definitely does not have it, the recorded parts excepted; try again, after them.
    #[error("{failure}")]
    Retry { after: Option<Duration>, failure: Failure },
    /// The platform will never take it, or the rest of it.
    #[error("{0}")]
    Dead(Failure),
    /// The platform may have it.
    #[error("{0}")]
    Unknown(Failure),
}

/// What a platform says when asked for an answer whose delivery was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    Delivered(Receipt),
    /// It has these parts, all from the first on, and nothing behind them: the delivery goes on there.
    Partly(Vec<Part>),
    /// It has nothing of it, the recorded parts ([`Response::parts`]) excepted.
    NotDelivered,
    /// The platform cannot be asked: the delivery stays unknown.
    CannotTell,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str, ends: &[usize]) -> Response {
        let part = |end: &usize| Part { platform_message_id: end.to_string(), text_end: *end };
        Response {
            id: ResponseId::new(),
            kind: ResponseKind::Answer,
            text: text.to_owned(),
            chat_id: None,
            attributes: serde_json::Value::Null,
            attempt: 1,
            parts: ends.iter().map(part).collect(),
            trace: None,
        }
    }

    #[test]
    fn the_rest_begins_behind_the_last_part() {
        assert_eq!(response("one two", &[]).rest(), "one two");
        assert_eq!(response("one two", &[1, 4]).rest(), "two");
        assert_eq!(response("one two", &[4, 7]).rest(), "");
        assert_eq!(response("né", &[2]).rest(), "é", "half a letter is none");
        assert_eq!(response("one", &[9]).rest(), "");
    }
}
