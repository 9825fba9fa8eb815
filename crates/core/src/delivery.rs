//! What a plugin is handed to deliver, and what it says of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ProfileId, ResponseId, TraceParent, UserId, agent::Failure};

/// An answer for a platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The same in every attempt: hand it to the platform as idempotency key where it takes one.
    pub id: ResponseId,
    pub text: String,
    /// The chat, group or channel that the message came from; `None` means the person's own chat.
    pub chat_id: Option<String>,
    /// What the plugin attached to the incoming message (e.g. the id to reply to).
    pub attributes: serde_json::Value,
    /// Counted from 1.
    pub attempt: u32,
    pub trace: Option<TraceParent>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The platform's ids of what was sent, one per part, in order.
    pub platform_message_ids: Vec<String>,
}

impl Receipt {
    pub fn of(platform_message_id: impl Into<String>) -> Self {
        Self { platform_message_ids: vec![platform_message_id.into()] }
    }
}

/// Why an answer did not get its receipt. The plugin decides which of the three it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The platform definitely does not have it; try again.
    #[error("{failure}")]
    Retry { after: Option<Duration>, failure: Failure },
    /// The platform will never take it.
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
    NotDelivered,
    /// The platform cannot be asked: the delivery stays unknown.
    CannotTell,
}
