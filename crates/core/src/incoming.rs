//! A message as a plugin reports it, and the rules by which it is accepted at all.

use serde::{Deserialize, Serialize};

use crate::{Attachment, TraceParent, format::sanitize, retry::Budget};

/// One platform message. The plugin reports facts; the core decides what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incoming {
    /// The platform's own id of this event: the same event reported twice is accepted once.
    pub event_id: String,
    pub sender: Sender,
    /// The chat, group or channel; `None` for a person's own chat with the bot.
    #[serde(default)]
    pub chat_id: Option<String>,
    /// Whether several people talk in that chat.
    #[serde(default)]
    pub is_group: bool,
    /// Whether it names the bot or replies to it; `None` when the plugin cannot tell, and for a person's own chat.
    #[serde(default)]
    pub addressed: Option<bool>,
    /// Who the sender is by the plugin's own settings, if those say anything about it.
    #[serde(default)]
    pub claim: Option<Claim>,
    /// May be empty where something is attached.
    pub text: String,
    /// What came with the text, in order. Each is told in the text, in a line of its own; only images' bytes are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Whatever the plugin wants to see again when it delivers the answer.
    #[serde(default)]
    pub attributes: serde_json::Value,
    /// The trace that the platform's request belongs to, if it had one.
    #[serde(default)]
    pub trace: Option<TraceParent>,
    /// How often and for how long an answer is tried for, where that is not what the route says.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// It wants an answer now: a mention, a question. Where messages of a burst are gathered, this one is not waited
    /// behind.
    #[serde(default)]
    pub urgent: bool,
}

/// Who wrote, as their platform knows them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    pub platform_user_id: String,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub display_name: Option<String>,
    /// Merged over what is known of the profile.
    #[serde(default)]
    pub metadata: serde_json::Value,
}

/// What a plugin's own settings say of a sender. The core decides what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Claim {
    /// The account's owner.
    Owner,
    /// Somebody else, and the account is to serve its owner alone.
    Stranger,
}

/// How much a message may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of UTF-8 in one message's text.
    pub max_text_bytes: usize,
    /// Bytes of JSON in attributes and in profile metadata, each.
    pub max_json_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_text_bytes: 64 * 1024, max_json_bytes: 16 * 1024 }
    }
}

/// Ids and names longer than this are refused: no platform's are.
pub const MAX_NAME_BYTES: usize = 512;

/// Why a message is not accepted. Nothing was stored; the sentence is fit for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the message is empty: send some text")]
    Empty,
    #[error("the message has {bytes} bytes, more than the limit of {limit}: send it in parts")]
    TooLong { bytes: usize, limit: usize },
    #[error("{field} is missing: the plugin must set it")]
    Missing { field: &'static str },
    #[error("{field} has {bytes} bytes, more than the limit of {limit}")]
    FieldTooLong { field: &'static str, bytes: usize, limit: usize },
    #[error("{field} has a control character")]
    Unprintable { field: &'static str },
    #[error("budget.max_attempts is 0: without an attempt nobody can answer, use 1 or more")]
    NoAttempts,
}

impl Incoming {
    /// The message as it will be stored: text cleaned of NUL and control characters, names checked.
    pub fn checked(mut self, limits: &Limits) -> Result<Self, Refusal> {
        if self.text.len() > limits.max_text_bytes {
            return Err(Refusal::TooLong { bytes: self.text.len(), limit: limits.max_text_bytes });
        }
        self.text = sanitize(&self.text);
        if self.text.is_empty() && self.attachments.is_empty() {
            return Err(Refusal::Empty);
        }
        if self.budget.and_then(|budget| budget.max_attempts) == Some(0) {
            return Err(Refusal::NoAttempts);
        }
        name("event_id", Some(&self.event_id))?;
        name("platform_user_id", Some(&self.sender.platform_user_id))?;
        name("chat_id", self.chat_id.as_deref().or(Some("-")))?;
        self.sender.username = self.sender.username.as_deref().and_then(label);
        self.sender.display_name = self.sender.display_name.as_deref().and_then(label);
        json("attributes", &mut self.attributes, limits.max_json_bytes)?;
        json("sender.metadata", &mut self.sender.metadata, limits.max_json_bytes)?;
        Ok(self)
    }
}

fn name(field: &'static str, value: Option<&str>) -> Result<(), Refusal> {
    let value = value.filter(|v| !v.is_empty()).ok_or(Refusal::Missing { field })?;
    if value.len() > MAX_NAME_BYTES {
        return Err(Refusal::FieldTooLong { field, bytes: value.len(), limit: MAX_NAME_BYTES });
    }
    if value.chars().any(char::is_control) {
        return Err(Refusal::Unprintable { field });
    }
    Ok(())
}

/// Names are for people: what does not fit is cut, not refused.
fn label(text: &str) -> Option<String> {
    let printable: String = text.chars().filter(|c| !c.is_control()).take(128).collect();
    Some(printable.trim().to_owned()).filter(|t| !t.is_empty())
}

/// PostgreSQL's jsonb refuses the escaped NUL that SQLite's text takes: neither gets one.
fn json(field: &'static str, value: &mut serde_json::Value, limit: usize) -> Result<(), Refusal> {
    if value.is_null() {
        *value = serde_json::json!({});
    }
    let text = value.to_string();
    if text.len() > limit {
        return Err(Refusal::FieldTooLong { field, bytes: text.len(), limit });
    }
    if text.contains("\\u0000") {
        return Err(Refusal::Unprintable { field });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn says(text: &str) -> Incoming {
        Incoming {
            event_id: "1".into(),
            sender: Sender { platform_user_id: "alice".into(), ..Sender::default() },
            text: text.into(),
            ..Incoming::default()
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_clean_and_not_empty(text in any::<String>()) {
            if let Ok(accepted) = says(&text).checked(&Limits::default()) {
                prop_assert!(!accepted.text.is_empty());
                prop_assert!(!accepted.text.contains('\0'));
                prop_assert_eq!(accepted.clone().checked(&Limits::default()), Ok(accepted));
            }
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let limits = Limits::default();
        assert_eq!(says(" \0\n").checked(&limits), Err(Refusal::Empty));
        let long = says(&"x".repeat(10 << 20)).checked(&limits).unwrap_err();
        assert_eq!(long.to_string(), "the message has 10485760 bytes, more than the limit of 65536: send it in parts");
        let picture = Incoming { attachments: vec![Attachment::default()], ..says("") };
        assert_eq!(picture.checked(&limits).unwrap().text, "");
        let nameless = Incoming { event_id: String::new(), ..says("hi") };
        assert_eq!(nameless.checked(&limits), Err(Refusal::Missing { field: "event_id" }));
        let odd = Incoming { chat_id: Some("a\nb".into()), ..says("hi") };
        assert_eq!(odd.checked(&limits), Err(Refusal::Unprintable { field: "chat_id" }));
        let nul = Incoming { attributes: serde_json::json!({"k": "\0"}), ..says("hi") };
        assert_eq!(nul.checked(&limits), Err(Refusal::Unprintable { field: "attributes" }));
        let never = Incoming { budget: Some(Budget { max_attempts: Some(0), max_age_s: None }), ..says("hi") };
        assert_eq!(never.checked(&limits), Err(Refusal::NoAttempts));
    }
}
