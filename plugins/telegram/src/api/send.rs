//! Calls that people see.

use serde::Serialize;

use super::{Api, ApiError, TIMEOUT, wire::Sent};

/// Where a message goes: a chat, and a topic in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) chat: i64,
    pub(crate) thread: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Text<'a> {
    chat_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parse_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_parameters: Option<ReplyTo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_preview_options: Option<LinkPreview>,
}

#[derive(Debug, Serialize)]
struct Photo<'a> {
    chat_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    photo: &'a str,
    caption: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_parameters: Option<ReplyTo>,
}

#[derive(Debug, Serialize)]
struct Action {
    chat_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    action: &'static str,
}

#[derive(Debug, Serialize)]
struct ReplyTo {
    message_id: i64,
    /// A message that was deleted meanwhile is answered all the same.
    allow_sending_without_reply: bool,
}

#[derive(Debug, Serialize)]
struct LinkPreview {
    is_disabled: bool,
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// The message that it replies to.
    pub(crate) reply_to: Option<i64>,
    pub(crate) without_preview: bool,
}

impl Manner {
    fn reply(self) -> Option<ReplyTo> {
        self.reply_to.map(|message_id| ReplyTo { message_id, allow_sending_without_reply: true })
    }
}

/// What one message holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outgoing<'a> {
    Html(&'a str),
    Plain(&'a str),
    /// Telegram gets the picture from `url` itself: 5 MB at most.
    Photo {
        url: &'a str,
        caption: &'a str,
    },
}

impl Api {
    /// Sends one message; its number.
    pub(crate) async fn send(&self, to: Target, what: Outgoing<'_>, manner: Manner) -> Result<i64, ApiError> {
        let (text, parse_mode) = match what {
            Outgoing::Html(text) => (text, Some("HTML")),
            Outgoing::Plain(text) => (text, None),
            Outgoing::Photo { url, caption } => return self.send_photo(to, url, caption, manner).await,
        };
        let ask = Text {
            chat_id: to.chat,
            message_thread_id: to.thread,
            text,
            parse_mode,
            reply_parameters: manner.reply(),
            link_preview_options: manner.without_preview.then_some(LinkPreview { is_disabled: true }),
        };
        Ok(self.call::<Sent>("sendMessage", &ask, TIMEOUT).await?.message_id)
    }

    async fn send_photo(&self, to: Target, photo: &str, caption: &str, manner: Manner) -> Result<i64, ApiError> {
        let (chat_id, message_thread_id) = (to.chat, to.thread);
        let ask = Photo { chat_id, message_thread_id, photo, caption, reply_parameters: manner.reply() };
        Ok(self.call::<Sent>("sendPhoto", &ask, TIMEOUT).await?.message_id)
    }

    /// Shown for five seconds, or until a message comes.
    pub(crate) async fn typing(&self, to: Target) -> Result<bool, ApiError> {
        let ask = Action { chat_id: to.chat, message_thread_id: to.thread, action: "typing" };
        self.call("sendChatAction", &ask, TIMEOUT).await
    }
}
