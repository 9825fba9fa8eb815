//! What becomes of an update: somebody's message is reported, a command is answered, the rest is let go.

use std::sync::Arc;

use broca_core::{
    Incoming, Sender,
    access::{Reason, Standing},
};
use broca_plugin::{Context, IngestError, Ingested};
use serde_json::{Value, json};

use crate::{
    api::{
        Api,
        send::Manner,
        wire::{ChatKind, Message, Update, User},
    },
    command::{self, Command},
    content::{self, Held, Said},
    files,
    gate::{self, Refusals, Writer},
    notice::Notices,
    place,
    settings::{Edits, Groups, Rules, SharedRules},
};

/// The way in, for updates from polls and from the webhook alike.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) api: Api,
    pub(crate) me: User,
    pub(crate) ctx: Context,
    pub(crate) rules: SharedRules,
    pub(crate) notices: Notices,
    pub(crate) refusals: Arc<Refusals>,
}

/// The update is not done with: it must come again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotNow(String);

/// Whether an edit of a message is a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Edited,
}

impl Inbox {
    /// Takes one update. When this returns `Ok`, it may be confirmed to Telegram.
    pub(crate) async fn take(&self, update: Value) -> Result<(), NotNow> {
        let update: Update = match serde_json::from_value(update) {
            Ok(update) => update,
            Err(error) => {
                tracing::warn!(%error, "an update that cannot be read is let go");
                return Ok(());
            }
        };
        let (message, version) = match (update.message, update.edited_message) {
            (Some(message), _) => (message, Version::First),
            (None, Some(message)) => (message, Version::Edited),
            (None, None) => return Ok(()),
        };
        let rules = self.rules.now();
        let Some(writer) = Writer::of(&message) else { return Ok(()) };
        if matches!(message.chat.kind, ChatKind::Channel | ChatKind::Other) || !wants(&rules, &message, version) {
            return Ok(());
        }
        let command = if version == Version::First { command::of(&message, &self.me) } else { None };
        if command == Some(Command::ForOthers) || !self.is_addressed(&rules, &message, command) {
            return Ok(());
        }
        let said = content::read(&message, self.ctx.attachments().max_bytes);
        let mut incoming = self.incoming(update.update_id, &message, (&rules, &writer), (version, &said));
        if command.is_some() && incoming.is_group {
            incoming.addressed = Some(true);
        }
        match command {
            Some(Command::Pipeline) | None => self.report(&message, &writer, (incoming, said.file)).await?,
            Some(command) => self.obey(command, message, writer, incoming).await,
        }
        Ok(())
    }

    /// In a group, a command of ours speaks to us like a name does.
    fn is_addressed(&self, rules: &Rules, message: &Message, command: Option<Command>) -> bool {
        match (message.chat.kind, rules.groups) {
            (ChatKind::Private, _) => true,
            (_, Groups::Off) => false,
            (_, Groups::All) => true,
            (_, Groups::Addressed) => command.is_some() || gate::speaks_to(message, &self.me),
        }
    }

    /// Tells somebody, once in a while, why nothing comes of what they write; whom an operator keeps out is told nothing.
    fn refuse(&self, message: &Message, writer: &Writer, reason: Reason) {
        let text = match reason {
            Reason::NotOwner => {
                "This bot serves its owner alone, so your message was not passed on. \
                 If it is yours, /whoami tells you the id to put into its settings."
            }
            Reason::NotAllowed | Reason::NotPaired => "This bot does not know you, so nothing was passed on.",
            Reason::RateLimited => "That is more than this bot takes from one person at a time; it was not passed on.",
            Reason::DailyCap => "That is as much as this bot takes from one person in a day; it was not passed on.",
            Reason::Inactive | Reason::Ignored | Reason::Denied | Reason::Command => return,
            Reason::GroupSilent | Reason::GroupsOff | Reason::GroupNotAllowed => return,
        };
        if self.refusals.is_due(writer.id) {
            self.notices.send(place::of(message), text.to_owned(), manner(message));
        }
    }

    async fn obey(&self, command: Command, message: Message, writer: Writer, incoming: Incoming) {
        let standing = match self.ctx.standing(&incoming).await {
            Ok(Standing::Blocked(reason)) if command != Command::WhoAmI => {
                self.refuse(&message, &writer, reason);
                return;
            }
            Ok(standing) => Some(standing),
            Err(error) => {
                tracing::warn!(%error, "it cannot be found out who may give commands");
                None
            }
        };
        let (ctx, me) = (self.ctx.clone(), self.me.clone());
        let (to, manner) = (place::of(&message), manner(&message));
        let answer = async move { command::answer(command, (&ctx, standing), &me, &message, &writer).await };
        self.notices.spawn(to, manner, answer);
    }

    async fn report(
        &self,
        message: &Message,
        writer: &Writer,
        (mut incoming, file): (Incoming, Option<Held>),
    ) -> Result<(), NotNow> {
        if incoming.text.is_empty() && file.is_none() {
            return Ok(()); // A service message: somebody joined, a title changed.
        }
        if let Some(file) = file {
            let attachment = files::with_content(&self.api, &self.ctx, &incoming, file).await;
            incoming.attachments.push(attachment);
        }
        match self.ctx.ingest(incoming).await {
            // Their code is the answer to the message.
            Ok(Ingested::Suppressed(_, Reason::NotPaired)) => Ok(()),
            Ok(Ingested::Suppressed(_, reason)) => {
                self.refuse(message, writer, reason);
                Ok(())
            }
            Ok(Ingested::New(_) | Ingested::Duplicate(_)) => Ok(()),
            Err(IngestError::Refused(refusal)) => {
                tracing::info!(user = writer.id, %refusal, "message refused");
                self.notices.send(place::of(message), format!("Not accepted: {refusal}."), manner(message));
                Ok(())
            }
            Err(IngestError::Unavailable(reason)) => Err(NotNow(reason)),
        }
    }

    fn incoming(
        &self,
        update_id: i64,
        message: &Message,
        (rules, writer): (&Rules, &Writer),
        (version, said): (Version, &Said),
    ) -> Incoming {
        let is_group = message.chat.kind != ChatKind::Private;
        let mut attributes = json!({"message_id": message.message_id});
        let mut text = said.text.clone();
        if let Some(file) = &said.file {
            attributes["file"] = file.reference();
        }
        if let Some(group) = &message.media_group_id {
            attributes["media_group"] = group.as_str().into();
        }
        if version == Version::Edited && !text.is_empty() {
            attributes["edited"] = true.into();
            text = format!("[Edited message] {text}");
        }
        Incoming {
            // Numbers of updates may begin anew at a random place after a quiet week, and are each bot's own.
            event_id: format!("{}/{update_id}/{}", self.me.id, message.message_id),
            sender: Sender {
                platform_user_id: writer.id.to_string(),
                username: writer.username.clone(),
                display_name: writer.display_name.clone(),
                metadata: writer.language.as_ref().map_or(Value::Null, |language| json!({"language": language})),
            },
            chat_id: place::chat_id(place::of(message), message.chat.kind),
            is_group,
            addressed: is_group.then(|| gate::speaks_to(message, &self.me)),
            claim: rules.claim(writer),
            urgent: gate::speaks_to(message, &self.me) || text.trim_end().ends_with('?'),
            text,
            attributes,
            ..Incoming::default()
        }
    }
}

/// An edit without words is a live location that moves, or a picture that was changed.
fn wants(rules: &Rules, message: &Message, version: Version) -> bool {
    let words = message.text.is_some() || message.caption.is_some();
    version == Version::First || (rules.edits == Edits::New && words)
}

/// In groups, what the bot says by itself replies to what it is about.
fn manner(message: &Message) -> Manner {
    let reply_to = (message.chat.kind != ChatKind::Private).then_some(message.message_id);
    Manner { reply_to, without_preview: true }
}

/// The chat whose order an update keeps; updates of several chats may be taken at once.
pub(crate) fn lane(update: &Value) -> i64 {
    ["message", "edited_message"].iter().find_map(|kind| update[kind]["chat"]["id"].as_i64()).unwrap_or_default()
}
