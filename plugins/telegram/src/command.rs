//! Commands, which the bot answers by itself.

use std::time::Duration;

use broca_core::{Clock, MessageState, SystemClock, access::Standing, chat_command};
use broca_plugin::{Cancelled, Context, HistoryEntry, IngestError};

use crate::{
    api::wire::{ChatKind, Message, User},
    gate::Writer,
    place,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Start,
    Help,
    WhoAmI,
    Status,
    Cancel,
    /// One that the pipeline takes, as it takes a message.
    Pipeline,
    /// It names another bot.
    ForOthers,
}

/// The menu that Telegram shows.
pub(crate) const MENU: [(&str, &str); 4] = [
    ("help", "what this bot does"),
    ("status", "what waits for an answer"),
    ("cancel", "take back what waits"),
    ("whoami", "your id and this chat's"),
];

/// How far back somebody's messages are looked through.
const LOOK_BACK: u32 = 100;

/// The command that a message is. What begins like one but is none of ours is a message, unless it names another bot.
pub(crate) fn of(message: &Message, me: &User) -> Option<Command> {
    let text = message.text.as_deref()?;
    let entity = message.entities.iter().find(|entity| entity.kind == "bot_command" && entity.offset == 0)?;
    let word = entity.of(text)?.strip_prefix('/')?.to_lowercase();
    let (name, bot) = word.split_once('@').map_or((word.as_str(), None), |(name, bot)| (name, Some(bot)));
    let ours = bot.is_none_or(|bot| me.username.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(bot)));
    if !ours {
        return Some(Command::ForOthers);
    }
    match name {
        "start" => Some(Command::Start),
        "help" => Some(Command::Help),
        "whoami" => Some(Command::WhoAmI),
        "status" => Some(Command::Status),
        "cancel" => Some(Command::Cancel),
        _ if chat_command::is_named(text) => Some(Command::Pipeline),
        _ => None,
    }
}

/// What the bot says to a command.
pub(crate) async fn answer(
    command: Command,
    (ctx, standing): (&Context, Option<Standing>),
    me: &User,
    message: &Message,
    writer: &Writer,
) -> String {
    let answered = match command {
        Command::Start => {
            Ok(format!("Hello! What you write here goes to an agent, and its answer comes back.\n\n{HELP}"))
        }
        Command::Help => Ok(format!(
            "What you write here goes to an agent, and its answer comes back.{}\n\n{HELP}",
            hint(me, message)
        )),
        Command::WhoAmI => Ok(who(message, writer, standing)),
        // Whether they may ask is not known.
        _ if standing.is_none() => Err(IngestError::Unavailable("the rules cannot be read".to_owned())),
        Command::Status => status(ctx, writer).await,
        Command::Cancel => cancel(ctx, writer).await,
        Command::Pipeline | Command::ForOthers => Ok(String::new()),
    };
    answered.unwrap_or_else(|error| {
        tracing::warn!(%error, "a command could not be answered");
        "This cannot be found out at the moment; try again later.".to_owned()
    })
}

const HELP: &str =
    "/status: what waits for an answer\n/cancel: take back what waits\n/whoami: your id and this chat's\n/help: this";

fn hint(me: &User, message: &Message) -> String {
    match (message.chat.kind, &me.username) {
        (ChatKind::Private, _) | (_, None) => String::new(),
        (_, Some(name)) => format!(" In a group, name me (@{name}) or reply to me."),
    }
}

fn who(message: &Message, writer: &Writer, standing: Option<Standing>) -> String {
    let standing = match standing {
        Some(Standing::Owner) => "\nYou are this bot's owner.",
        Some(Standing::Admin) => "\nYou are an admin of this bot.",
        Some(Standing::User | Standing::Blocked(_)) | None => "",
    };
    let name = writer.username.as_ref().map(|name| format!(" (@{name})")).unwrap_or_default();
    let at = place::of(message);
    let topic = at.thread.map(|thread| format!(", topic {thread}")).unwrap_or_default();
    format!("Your id: {}{name}\nThis chat: {}{topic}{standing}", writer.id, at.chat)
}

async fn own(ctx: &Context, writer: &Writer) -> Result<Vec<HistoryEntry>, IngestError> {
    ctx.history(&writer.id.to_string(), LOOK_BACK).await
}

fn waits(entry: &HistoryEntry) -> bool {
    matches!(entry.state, MessageState::Received | MessageState::Held)
}

async fn status(ctx: &Context, writer: &Writer) -> Result<String, IngestError> {
    let messages = own(ctx, writer).await?;
    let waiting: Vec<&HistoryEntry> = messages.iter().filter(|entry| waits(entry)).collect();
    let at_work = messages.iter().filter(|entry| entry.state == MessageState::Processing).count();
    let mut lines = Vec::new();
    if at_work > 0 {
        lines.push(format!("With the agent: {at_work}."));
    }
    if let Some(oldest) = waiting.iter().map(|entry| entry.received_at).min() {
        let micros = SystemClock.now().micros().saturating_sub(oldest.micros());
        let age = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
        lines.push(format!("Waiting: {}, the oldest for {}.", waiting.len(), spoken(age)));
    }
    if lines.is_empty() {
        lines.push("Nothing of yours waits.".to_owned());
    }
    let last = messages.iter().rev().find(|entry| entry.state.is_terminal());
    if let Some(end) = last.and_then(|entry| ending(entry.state)) {
        lines.push(format!("Your last message that is done with {end}."));
    }
    Ok(lines.join("\n"))
}

fn ending(state: MessageState) -> Option<&'static str> {
    match state {
        MessageState::Completed => Some("was answered"),
        MessageState::Stored => Some("was stored without an answer"),
        MessageState::Suppressed => Some("was not let through"),
        MessageState::Failed => Some("failed; whoever runs this bot can have it tried again"),
        MessageState::Cancelled => Some("was cancelled"),
        _ => None,
    }
}

fn spoken(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

async fn cancel(ctx: &Context, writer: &Writer) -> Result<String, IngestError> {
    let (mut done, mut running) = (0, 0);
    for entry in own(ctx, writer).await?.iter().filter(|entry| !entry.state.is_terminal()) {
        match ctx.cancel(entry.message_id, "by its sender").await? {
            Cancelled::Done => done += 1,
            Cancelled::Running => running += 1,
            Cancelled::Over => {}
        }
    }
    let taken = match done {
        0 => "Nothing of yours waits.".to_owned(),
        1 => "One message is taken back.".to_owned(),
        done => format!("{done} messages are taken back."),
    };
    Ok(if running > 0 {
        format!("{taken} The agent is asked to stop what it works on; there will be no answer to it.")
    } else {
        taken
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn command(text: &str) -> Option<Command> {
        let length = text.split_whitespace().next().unwrap().len();
        let message = json!({
            "message_id": 1, "chat": {"id": 5, "type": "private"}, "text": text,
            "entities": [{"type": "bot_command", "offset": 0, "length": length}],
        });
        let me = serde_json::from_value(json!({"id": 9, "is_bot": true, "username": "Broca_Bot"})).unwrap();
        of(&serde_json::from_value(message).unwrap(), &me)
    }

    #[test]
    fn commands_are_told_from_messages() {
        assert_eq!(command("/start deep-link"), Some(Command::Start));
        assert_eq!(command("/STATUS@broca_bot"), Some(Command::Status));
        assert_eq!(command("/status@other_bot"), Some(Command::ForOthers));
        assert_eq!(command("/weather in Rome"), None, "a message for the agent");
        assert_eq!(command("/link@broca_bot ABCD2345"), Some(Command::Pipeline));
    }

    #[test]
    fn ages_are_spoken_in_one_unit() {
        assert_eq!([5, 119, 120, 7_200].map(|s| spoken(Duration::from_secs(s))), ["5 s", "119 s", "2 min", "2 h"]);
    }
}
