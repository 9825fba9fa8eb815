//! What the bot API's objects look like, as far as they are read. Everything that may be missing may also be wrong:
//! an update whose picture cannot be read is still somebody's message.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// The kinds of update that Telegram is asked for.
pub(crate) const WANTED: [&str; 2] = ["message", "edited_message"];

#[derive(Debug, Deserialize)]
pub(crate) struct Reply<T> {
    pub(crate) ok: bool,
    pub(crate) result: Option<T>,
    pub(crate) error_code: Option<u16>,
    pub(crate) description: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) parameters: Option<Parameters>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    pub(crate) retry_after: Option<u64>,
    pub(crate) migrate_to_chat_id: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    pub(crate) message_id: i64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WebhookInfo {
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) pending_update_count: u64,
    /// Seconds since the epoch.
    pub(crate) last_error_date: Option<i64>,
    pub(crate) last_error_message: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Update {
    pub(crate) update_id: i64,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) message: Option<Message>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) edited_message: Option<Message>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    #[serde(default)]
    pub(crate) is_bot: bool,
    #[serde(default)]
    pub(crate) first_name: String,
    pub(crate) last_name: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) language_code: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Chat {
    pub(crate) id: i64,
    #[serde(rename = "type")]
    pub(crate) kind: ChatKind,
    pub(crate) title: Option<String>,
    pub(crate) username: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChatKind {
    Private,
    Group,
    Supergroup,
    Channel,
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) message_id: i64,
    pub(crate) chat: Chat,
    pub(crate) message_thread_id: Option<i64>,
    #[serde(default)]
    pub(crate) is_topic_message: bool,
    #[serde(default)]
    pub(crate) is_automatic_forward: bool,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) from: Option<User>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) sender_chat: Option<Chat>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) reply_to_message: Option<Box<Message>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) forum_topic_created: Option<Value>,
    pub(crate) media_group_id: Option<String>,
    pub(crate) text: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) entities: Vec<Entity>,
    pub(crate) caption: Option<String>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) caption_entities: Vec<Entity>,
    #[serde(flatten)]
    pub(crate) content: Content,
}

/// What a message holds beside text; at most one of them is there.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Content {
    #[serde(default, deserialize_with = "list")]
    pub(crate) photo: Vec<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) document: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) animation: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) video: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) video_note: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) voice: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) audio: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) sticker: Option<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) location: Option<Location>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) contact: Option<Contact>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) poll: Option<Poll>,
}

/// Any of Telegram's objects that name a file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct File {
    pub(crate) file_id: String,
    pub(crate) file_unique_id: Option<String>,
    pub(crate) file_size: Option<u64>,
    pub(crate) file_name: Option<String>,
    pub(crate) mime_type: Option<String>,
    pub(crate) width: Option<u64>,
    pub(crate) height: Option<u64>,
    /// In seconds.
    pub(crate) duration: Option<u64>,
    /// Of a sticker.
    pub(crate) emoji: Option<String>,
    /// Of a piece of music.
    pub(crate) title: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Location {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Contact {
    pub(crate) phone_number: String,
    #[serde(default)]
    pub(crate) first_name: String,
    pub(crate) last_name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Poll {
    pub(crate) question: String,
}

/// A marked stretch of a text; offset and length are in UTF-16 code units.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entity {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) offset: usize,
    pub(crate) length: usize,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) user: Option<User>,
}

impl Entity {
    /// The stretch itself; `None` when it does not lie within the text.
    pub(crate) fn of<'a>(&self, text: &'a str) -> Option<&'a str> {
        let start = byte_at(text, self.offset)?;
        let end = byte_at(text, self.offset.checked_add(self.length)?)?;
        text.get(start..end)
    }
}

fn byte_at(text: &str, unit: usize) -> Option<usize> {
    let mut units = 0;
    for (at, c) in text.char_indices() {
        if units >= unit {
            return (units == unit).then_some(at);
        }
        units += c.len_utf16();
    }
    (units == unit).then_some(text.len())
}

impl User {
    pub(crate) fn display_name(&self) -> String {
        let last = self.last_name.as_deref().unwrap_or_default();
        format!("{} {last}", self.first_name).trim().to_owned()
    }
}

/// What cannot be read counts as missing.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

/// Members that cannot be read are left out.
fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let Value::Array(members) = Value::deserialize(deserializer)? else { return Ok(Vec::new()) };
    Ok(members.into_iter().filter_map(|member| serde_json::from_value(member).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_what_is_wrong_around_it() {
        let update = serde_json::json!({"update_id": 7, "message": {
            "message_id": 1, "chat": {"id": 5, "type": "private"}, "text": "hi", "from": {"id": "x"},
            "photo": "no list", "document": {"file_size": -1}, "entities": [{"type": 1}, {"type": "bold", "offset": 0, "length": 2}],
        }});
        let message = serde_json::from_value::<Update>(update).unwrap().message.unwrap();
        assert_eq!((message.text.as_deref(), message.entities.len()), (Some("hi"), 1));
        assert!(message.from.is_none() && message.content.photo.is_empty() && message.content.document.is_none());
    }

    #[test]
    fn offsets_are_utf16() {
        let entity = |offset, length| Entity { kind: "mention".into(), offset, length, user: None };
        let text = "🦀 @bot äh";
        assert_eq!(entity(3, 4).of(text), Some("@bot"));
        assert_eq!(entity(8, 2).of(text), Some("äh"));
        for (offset, length) in [(1, 2), (0, 1), (8, 3), (99, 1), (2, usize::MAX)] {
            assert_eq!(entity(offset, length).of(text), None);
        }
    }
}
