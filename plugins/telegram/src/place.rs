//! Where a conversation takes place, as the pipeline names it: nothing for a person's own chat, else the chat's
//! number, with the topic's behind a `/`.

use broca_core::Profile;

use crate::api::{
    send::Target,
    wire::{ChatKind, Message},
};

/// The place of a message.
pub(crate) fn of(message: &Message) -> Target {
    // In a group without topics Telegram numbers threads of replies; nobody sees those as places.
    Target { chat: message.chat.id, thread: message.message_thread_id.filter(|_| message.is_topic_message) }
}

/// Its name in the pipeline.
pub(crate) fn chat_id(place: Target, kind: ChatKind) -> Option<String> {
    match (place.thread, kind) {
        (None, ChatKind::Private) => None,
        (None, _) => Some(place.chat.to_string()),
        (Some(thread), _) => Some(format!("{}/{thread}", place.chat)),
    }
}

/// The place that an answer goes to; `None` when the names are not of this platform.
pub(crate) fn target(chat_id: Option<&str>, platform_user_id: &str) -> Option<Target> {
    let Some(chat_id) = chat_id else {
        return Some(Target { chat: platform_user_id.parse().ok()?, thread: None });
    };
    match chat_id.split_once('/') {
        None => Some(Target { chat: chat_id.parse().ok()?, thread: None }),
        Some((chat, thread)) => Some(Target { chat: chat.parse().ok()?, thread: Some(thread.parse().ok()?) }),
    }
}

/// The same, for a profile.
pub(crate) fn of_answer(chat_id: Option<&str>, profile: &Profile) -> Option<Target> {
    target(chat_id, &profile.platform_user_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_again_by_its_name() {
        for place in [Target { chat: 7, thread: None }, Target { chat: 7, thread: Some(3) }] {
            assert_eq!(target(chat_id(place, ChatKind::Private).as_deref(), "7"), Some(place));
        }
        for place in [Target { chat: -1001, thread: None }, Target { chat: -1001, thread: Some(3) }] {
            assert_eq!(target(chat_id(place, ChatKind::Supergroup).as_deref(), "7"), Some(place));
        }
        for odd in [Some("garden"), Some("1/"), Some("/1"), Some("1/2/3")] {
            assert_eq!(target(odd, "7"), None);
        }
        assert_eq!(target(None, "alice"), None);
    }
}
