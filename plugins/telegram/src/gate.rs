//! What the core is told of who writes: whether it is the owner, and in groups, whether they speak to the bot.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::api::wire::{Entity, Message, User};

/// The one person whom a private bot serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Id(i64),
    /// Without the `@`, in small letters.
    Name(String),
}

/// Who writes: a person, or a group or channel in whose name somebody writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) id: i64,
    pub(crate) username: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) language: Option<String>,
}

impl Writer {
    /// `None` when it is a program, or Telegram itself.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        // What a channel's members wrote there is copied into its group.
        if message.is_automatic_forward {
            return None;
        }
        if let Some(chat) = &message.sender_chat {
            let (username, display_name) = (chat.username.clone(), chat.title.clone());
            return Some(Self { id: chat.id, username, display_name, language: None });
        }
        let user = message.from.as_ref().filter(|user| !user.is_bot)?;
        Some(Self {
            id: user.id,
            username: user.username.clone(),
            display_name: Some(user.display_name()).filter(|name| !name.is_empty()),
            language: user.language_code.clone(),
        })
    }
}

impl Owner {
    pub(crate) fn is(&self, writer: &Writer) -> bool {
        match self {
            Self::Id(id) => writer.id == *id,
            Self::Name(name) => writer.username.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name)),
        }
    }
}

/// Whether a message in a group is for the bot: it names it, or replies to it.
pub(crate) fn speaks_to(message: &Message, me: &User) -> bool {
    let (text, entities) = match &message.text {
        Some(text) => (text.as_str(), &message.entities),
        None => (message.caption.as_deref().unwrap_or_default(), &message.caption_entities),
    };
    entities.iter().any(|entity| names(entity, text, me)) || replies_to(message, me)
}

fn names(entity: &Entity, text: &str, me: &User) -> bool {
    match entity.kind.as_str() {
        "mention" => {
            let name = entity.of(text).and_then(|mention| mention.strip_prefix('@'));
            name.zip(me.username.as_deref()).is_some_and(|(name, own)| name.eq_ignore_ascii_case(own))
        }
        "text_mention" => entity.user.as_ref().is_some_and(|user| user.id == me.id),
        _ => false,
    }
}

fn replies_to(message: &Message, me: &User) -> bool {
    let Some(replied) = &message.reply_to_message else { return false };
    // In a topic, whatever is no reply replies to the message that opened the topic.
    replied.forum_topic_created.is_none() && replied.from.as_ref().is_some_and(|user| user.id == me.id)
}

/// Strangers are told once in a while that this bot is not for them.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    told: Mutex<HashMap<i64, Instant>>,
}

/// Whoever writes on hears nothing for so long.
const SILENCE: Duration = Duration::from_secs(3_600);
/// More strangers than this at a time are no conversation.
const MAX_TOLD: usize = 1_000;

impl Refusals {
    /// Whether this stranger is to be told now.
    pub(crate) fn is_due(&self, stranger: i64) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < SILENCE);
        if told.contains_key(&stranger) || told.len() >= MAX_TOLD {
            return false;
        }
        told.insert(stranger, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(more: Value) -> Message {
        let mut message = json!({"message_id": 1, "chat": {"id": -5, "type": "supergroup"}});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(message).unwrap()
    }

    fn me() -> User {
        serde_json::from_value(json!({"id": 9, "is_bot": true, "username": "Broca_Bot"})).unwrap()
    }

    #[test]
    fn a_group_speaks_to_the_bot_by_its_name_or_in_a_reply() {
        let mention = |text: &str| json!({"text": text, "entities": [{"type": "mention", "offset": 3, "length": 10}]});
        assert!(speaks_to(&message(mention("hi @broca_bot")), &me()));
        assert!(!speaks_to(&message(mention("hi @other_bot")), &me()));
        assert!(!speaks_to(&message(json!({"text": "hi @broca_bot"})), &me()), "no mention, as in code");
        let named = json!({"type": "text_mention", "offset": 0, "length": 2, "user": {"id": 9}});
        assert!(speaks_to(&message(json!({"caption": "hi", "caption_entities": [named]})), &me()));
        let reply = |from: i64, more: Value| {
            let mut replied = json!({"message_id": 1, "chat": {"id": -5, "type": "supergroup"}, "from": {"id": from}});
            replied.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            message(json!({"text": "yes", "reply_to_message": replied}))
        };
        assert!(speaks_to(&reply(9, json!({})), &me()));
        assert!(!speaks_to(&reply(8, json!({})), &me()));
        assert!(!speaks_to(&reply(9, json!({"forum_topic_created": {"name": "x"}})), &me()));
    }

    #[test]
    fn programs_and_copies_of_channels_are_nobody() {
        assert_eq!(Writer::of(&message(json!({"from": {"id": 1, "is_bot": true}}))), None);
        let copied = json!({"is_automatic_forward": true, "sender_chat": {"id": -7, "type": "channel"}});
        assert_eq!(Writer::of(&message(copied)), None);
        assert_eq!(Writer::of(&message(json!({}))), None);
        let unnamed = json!({"from": {"id": 1_087_968_824, "is_bot": true}, "sender_chat": {"id": -5, "type": "supergroup", "title": "G"}});
        assert_eq!(Writer::of(&message(unnamed)).unwrap().id, -5);
    }

    #[test]
    fn the_owner_is_known_by_number_or_name() {
        let writer = Writer::of(&message(json!({"from": {"id": 7, "username": "Alice"}}))).unwrap();
        assert!(Owner::Id(7).is(&writer) && Owner::Name("alice".into()).is(&writer));
        assert!(!Owner::Id(8).is(&writer) && !Owner::Name("alic".into()).is(&writer));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_told_once_an_hour() {
        let refusals = Refusals::default();
        assert!(refusals.is_due(1) && !refusals.is_due(1) && refusals.is_due(2));
        tokio::time::advance(SILENCE).await;
        assert!(refusals.is_due(1));
        assert_eq!((0..2_000).filter(|stranger| refusals.is_due(10 + stranger)).count(), MAX_TOLD - 1);
    }
}
