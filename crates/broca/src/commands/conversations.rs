//! `broca conversations`: what is said with whom, and what waits there.

use broca_admin::operations::{
    BusyNow, ListAllConversations, ListBusy, ListedConversations, ShowConversation, ShownTalk, WhichBusy,
    WhichConversations, WhichTalk,
};
use broca_core::{ConversationId, MessageId, format::rfc3339};
use broca_store::{BusyConversation, ListedConversation, TalkLine};

use super::{letters::short, moment::relative};
use crate::{
    app::App,
    failure::Failure,
    output::{more, pairs, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Conversations, the latest first
    List(ListArgs),
    /// Those with work: how much waits, since when and for what, and who holds it
    Busy(BusyArgs),
    /// One of them, with what was said in it last
    #[command(visible_alias = "get")]
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// The agent, by its name in the settings
    #[arg(long)]
    agent: Option<String>,
    /// In which this person wrote: our id of the person, or PLATFORM/ID
    #[arg(long, value_name = "WHO")]
    user: Option<String>,
    /// Only those in which something waits
    #[arg(long)]
    waiting: bool,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<MessageId>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BusyArgs {
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    id: ConversationId,
    /// So many of its latest messages
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long, allow_hyphen_values = true)]
    cursor: Option<i64>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::List(ListArgs { agent, user, waiting, limit, cursor }) => {
            let request = WhichConversations {
                agent: agent.clone(),
                who: user.clone(),
                waiting: *waiting,
                limit: Some(*limit),
                cursor: *cursor,
            };
            let page = app.operate::<ListAllConversations>(&deps, &request).await?;
            app.output.result(&page, || rows(&page))
        }
        Command::Busy(args) => {
            let now = app.operate::<ListBusy>(&deps, &WhichBusy { limit: Some(args.limit) }).await?;
            app.output.result(&now, || busy(&now))
        }
        Command::Show(ShowArgs { id, limit, cursor }) => {
            let request = WhichTalk { id: *id, limit: Some(*limit), cursor: *cursor };
            let shown = app.operate::<ShowConversation>(&deps, &request).await?;
            app.output.result(&shown, || talk(&shown))
        }
    }
}

fn rows(page: &ListedConversations) -> String {
    if page.items.is_empty() {
        return "no conversations".to_owned();
    }
    let row = |one: &ListedConversation| {
        [
            one.id.to_string(),
            one.agent.clone(),
            one.scope.clone(),
            one.messages.to_string(),
            one.waiting.to_string(),
            relative(one.last_message_at),
            now(one),
        ]
    };
    let header = ["conversation", "agent", "scope", "messages", "waiting", "last message", "now"];
    more(table(header, page.items.iter().map(row)), page.next_cursor.as_ref())
}

/// What happens in it.
fn now(one: &ListedConversation) -> String {
    match (&one.worker, one.parked_until) {
        (Some(worker), _) => format!("{worker} works on it"),
        (None, Some(until)) => format!("parked, goes on {}", relative(until)),
        (None, None) => String::new(),
    }
}

fn busy(busy: &BusyNow) -> String {
    if busy.items.is_empty() {
        return "no conversation has work".to_owned();
    }
    let row = |BusyConversation { conversation, first }: &BusyConversation| {
        let stands = match (&conversation.owner, &conversation.parked) {
            (Some(owner), _) => format!("held by {owner}"),
            (None, Some(what_for)) => format!("parked: {what_for}"),
            (None, None) if conversation.not_before.is_some() => "parked".to_owned(),
            (None, None) => "waits".to_owned(),
        };
        let since = first.as_ref().map(|first| relative(first.since)).unwrap_or_default();
        let message = first.as_ref().map(|first| first.message_id.to_string()).unwrap_or_default();
        let waiting = conversation.waiting.to_string();
        [conversation.id.to_string(), conversation.agent.clone(), waiting, stands, since, message]
    };
    table(["conversation", "agent", "waiting", "state", "since", "first message"], busy.items.iter().map(row))
}

fn talk(shown: &ShownTalk) -> String {
    let conversation = &shown.conversation;
    let held = conversation.owner.clone().unwrap_or_else(|| "nobody".to_owned());
    let mut text = pairs(
        &[
            ["conversation", &conversation.id.to_string()],
            ["agent", &conversation.agent],
            ["scope", &conversation.scope],
            ["held by", &held],
            ["waiting", &conversation.waiting.to_string()],
        ]
        .map(|row| row.map(str::to_owned)),
    );
    for line in shown.items.iter().rev() {
        text.push_str(&said(line));
    }
    if let Some(cursor) = shown.next_cursor {
        text.push_str(&format!("\n\nthere are earlier ones: --cursor {cursor}"));
    }
    text
}

fn said(line: &TalkLine) -> String {
    let name = line.display_name.as_deref().unwrap_or(&line.platform_user_id);
    let (at, id) = (rfc3339(line.received_at), line.message_id);
    let mut text = format!("\n\n{at} {name}, {} ({id})\n  {}", line.state, short(&line.text, 400));
    for answer in &line.answers {
        let why = answer.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        text.push_str(&format!("\n  {} {}{why}\n    {}", answer.kind.as_str(), answer.state, short(&answer.text, 400)));
    }
    text
}
