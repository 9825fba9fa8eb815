//! What people write, as Telegram tells a bot.

use serde_json::{Value, json};

use super::{BOT_ID, BOT_NAME};

/// A message that somebody wrote.
#[derive(Clone, Debug)]
pub struct Said {
    from: i64,
    chat: i64,
    thread: Option<i64>,
    text: String,
    username: Option<String>,
    more: Value,
}

/// Somebody's message in their own chat with the bot.
pub fn in_private(from: i64, text: &str) -> Said {
    Said { from, chat: from, thread: None, text: text.to_owned(), username: None, more: Value::Null }
}

/// Somebody's message in a group, whose number is negative.
pub fn in_group(chat: i64, from: i64, text: &str) -> Said {
    Said { chat, ..in_private(from, text) }
}

/// The fields of a message that is a photo, for [`Said::with`]: it has a caption and no text.
pub fn photo(file_id: &str, (width, height): (u32, u32), bytes: usize, caption: Option<&str>) -> Value {
    let size = json!({
        "file_id": file_id, "file_unique_id": format!("u-{file_id}"), "width": width, "height": height,
        "file_size": bytes,
    });
    json!({"text": null, "caption": caption, "photo": [size]})
}

impl Said {
    /// In a topic of a forum.
    pub fn in_topic(self, thread: i64) -> Self {
        Self { thread: Some(thread), ..self }
    }

    /// With a user name, which not everybody has.
    pub fn by(self, username: &str) -> Self {
        Self { username: Some(username.to_owned()), ..self }
    }

    /// As a reply to a message of the bot.
    pub fn to_the_bot(self, message_id: i64) -> Self {
        let bot = json!({"id": BOT_ID, "is_bot": true, "first_name": "Rehearsal", "username": BOT_NAME});
        let chat = self.chat_object();
        let replied = json!({"message_id": message_id, "date": 1_700_000_000, "chat": chat, "from": bot, "text": "…"});
        self.with(json!({"reply_to_message": replied}))
    }

    /// With further fields of the message; `null` removes one.
    pub fn with(mut self, more: Value) -> Self {
        match (&mut self.more, more) {
            (Value::Object(mine), Value::Object(more)) => mine.extend(more),
            (mine, more) => *mine = more,
        }
        self
    }

    pub(super) fn chat(&self) -> i64 {
        self.chat
    }

    fn chat_object(&self) -> Value {
        if self.chat > 0 {
            json!({"id": self.chat, "type": "private", "first_name": format!("Person {}", self.chat)})
        } else {
            json!({"id": self.chat, "type": "supergroup", "title": format!("Group {}", -self.chat)})
        }
    }

    pub(super) fn message(&self, message_id: i64) -> Value {
        let from = self.from;
        let mut message = json!({
            "message_id": message_id,
            "date": 1_700_000_000 + message_id,
            "from": {"id": from, "is_bot": false, "first_name": format!("Person {from}"), "language_code": "en"},
            "chat": self.chat_object(),
            "text": self.text,
        });
        if let Some(username) = &self.username {
            message["from"]["username"] = json!(username);
        }
        let entities = entities(&self.text);
        if !entities.is_empty() {
            message["entities"] = json!(entities);
        }
        if let Some(thread) = self.thread {
            message["message_thread_id"] = json!(thread);
            message["is_topic_message"] = json!(true);
        }
        if let (Some(message), Value::Object(more)) = (message.as_object_mut(), &self.more) {
            message.extend(more.clone());
            message.retain(|_, value| !value.is_null());
        }
        message
    }
}

/// Commands and mentions, which Telegram finds by itself.
fn entities(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut offset = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let solid = word.trim_end();
        let kind = match solid.chars().next() {
            Some('/') => Some("bot_command"),
            Some('@') => Some("mention"),
            _ => None,
        };
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '@');
        let len = solid.chars().skip(1).take_while(|c| name(*c)).count() + 1;
        if let Some(kind) = kind.filter(|_| len > 1) {
            found.push(json!({"type": kind, "offset": offset, "length": len}));
        }
        offset += word.encode_utf16().count();
    }
    found
}
