//! What both sides speak of: people, messages and answers.

use broca_core::{Attachment, MessageId, MessageState, ResponseId, ResponseKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Somebody wrote something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IncomingMessage {
    /// The platform's own id of this event: the same event reported twice is accepted once.
    pub event_id: String,
    pub sender: Sender,
    /// The chat, group or channel; without it, the person's own chat with the bot.
    pub chat_id: Option<String>,
    /// Whether several people talk in that chat.
    pub is_group: bool,
    /// Whether it names the bot or replies to it; leave it out where the program cannot tell.
    pub addressed: Option<bool>,
    /// It wants an answer now, e.g. a question: a burst of messages is not waited behind it.
    pub urgent: bool,
    /// May be empty where something is attached.
    pub text: String,
    /// What came with the text. Each is told in the text, in a line of its own; images' bytes go to the agent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Whatever the program wants to see again when it delivers the answer.
    pub attributes: Value,
    /// The `traceparent` of the platform's request, if it had one.
    pub traceparent: Option<String>,
    /// Attempts that an answer is worth, the first included, where that is not what its route says.
    pub max_attempts: Option<u32>,
    /// Seconds for which an answer is worth anything, where that is not what its route says.
    pub max_age_s: Option<u64>,
}

/// Who wrote, as their platform knows them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sender {
    pub platform_user_id: String,
    pub username: Option<String>,
    pub display_name: Option<String>,
    /// Merged over what is known of the person.
    pub metadata: Value,
}

/// One answer to be delivered, or one whose delivery was cut off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToDeliver {
    /// The message that is answered.
    #[schemars(with = "String")]
    pub message_id: MessageId,
    pub response: Answer,
    /// Whom the answer is for.
    pub profile: Person,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The same in every attempt: hand it to the platform as idempotency key where it takes one.
    #[schemars(with = "String")]
    pub id: ResponseId,
    /// An agent's answer; a notice, which says that there is none and why; or a reply of Broca's to a command.
    #[serde(default)]
    pub kind: ResponseKind,
    pub text: String,
    /// What is still to be sent of `text`: all of it, unless earlier attempts sent some parts.
    pub rest: String,
    /// The chat that the message came from; null means the person's own chat.
    pub chat_id: Option<String>,
    /// As the message that is answered had them.
    pub attributes: Value,
    /// Counted from 1.
    pub attempt: u32,
    /// What the platform has of it already, in order.
    pub parts: Vec<Part>,
}

/// One platform message of an answer that takes several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    pub platform_message_id: String,
    /// How many bytes (UTF-8) of the answer's text are sent with this part and all before it.
    pub text_end: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    pub platform: String,
    pub platform_user_id: String,
    pub username: Option<String>,
    pub display_name: Option<String>,
    pub metadata: Value,
}

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    #[schemars(with = "String")]
    pub message_id: MessageId,
    /// received, processing, held, completed, stored, suppressed, failed or cancelled.
    #[schemars(with = "String")]
    pub state: MessageState,
    pub reason: Option<String>,
    /// The agent's answer, once there is one.
    pub answer: Option<String>,
}

/// One message of a person's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    #[schemars(with = "String")]
    pub message_id: MessageId,
    pub text: String,
    #[schemars(with = "String")]
    pub state: MessageState,
    pub answer: Option<String>,
    /// Microseconds since the epoch.
    pub received_at: i64,
}

impl From<broca_core::Part> for Part {
    fn from(part: broca_core::Part) -> Self {
        Self { platform_message_id: part.platform_message_id, text_end: part.text_end }
    }
}

impl From<Part> for broca_core::Part {
    fn from(part: Part) -> Self {
        Self { platform_message_id: part.platform_message_id, text_end: part.text_end }
    }
}

impl ToDeliver {
    pub(crate) fn new(response: &broca_core::Response, profile: &broca_core::Profile, message_id: MessageId) -> Self {
        let parts = response.parts.iter().cloned().map(Part::from).collect();
        Self {
            message_id,
            response: Answer {
                id: response.id,
                kind: response.kind,
                text: response.text.clone(),
                rest: response.rest().to_owned(),
                chat_id: response.chat_id.clone(),
                attributes: response.attributes.clone(),
                attempt: response.attempt,
                parts,
            },
            profile: Person {
                platform: profile.platform.clone(),
                platform_user_id: profile.platform_user_id.clone(),
                username: profile.username.clone(),
                display_name: profile.display_name.clone(),
                metadata: profile.metadata.clone(),
            },
        }
    }
}

impl From<IncomingMessage> for broca_core::Incoming {
    #[allow(clippy::needless_update, reason = "what a later version adds to a message is left to its default")]
    fn from(message: IncomingMessage) -> Self {
        let IncomingMessage {
            event_id,
            sender,
            chat_id,
            is_group,
            addressed,
            urgent,
            text,
            attributes,
            attachments,
            ..
        } = message;
        let budget = (message.max_attempts.is_some() || message.max_age_s.is_some())
            .then_some(broca_core::retry::Budget { max_attempts: message.max_attempts, max_age_s: message.max_age_s });
        let sender = broca_core::Sender {
            platform_user_id: sender.platform_user_id,
            username: sender.username,
            display_name: sender.display_name,
            metadata: sender.metadata,
            ..broca_core::Sender::default()
        };
        // What is no traceparent begins a trace of its own, as a message without one does.
        let trace = message.traceparent.and_then(|text| text.parse().ok());
        Self {
            event_id,
            sender,
            chat_id,
            is_group,
            addressed,
            urgent,
            text,
            attachments,
            attributes,
            trace,
            budget,
            ..Self::default()
        }
    }
}
