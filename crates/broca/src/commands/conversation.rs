//! `broca conversation`: those with work, and what was said in one.

use broca_admin::operations::{BusyNow, ListBusy, ShowConversation, ShownTalk, WhichBusy, WhichTalk};
use broca_core::{ConversationId, format::rfc3339};
use broca_store::{BusyConversation, TalkLine};

use super::letters::short;
use crate::{
    app::App,
    failure::Failure,
    output::{pairs, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Those with work: how much waits, since when and for what, and who holds it
    List(ListArgs),
    /// Who holds it, and its messages with their answers
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    id: ConversationId,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long, allow_hyphen_values = true)]
    cursor: Option<i64>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::List(args) => {
            let busy = app.operate::<ListBusy>(&deps, &WhichBusy { limit: Some(args.limit) }).await?;
            app.output.result(&busy, || listed(&busy))
        }
        Command::Show(ShowArgs { id, limit, cursor }) => {
            let request = WhichTalk { id: *id, limit: Some(*limit), cursor: *cursor };
            let shown = app.operate::<ShowConversation>(&deps, &request).await?;
            app.output.result(&shown, || talk(&shown))
        }
    }
}

fn listed(busy: &BusyNow) -> String {
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
        let since = first.as_ref().map(|first| rfc3339(first.since)).unwrap_or_default();
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
