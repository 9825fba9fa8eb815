//! `broca conversations`: what is said with whom, and what waits there.

use broca_admin::operations::{
    ListAllConversations, ListedConversations, ShowConversation, ShownConversation, WhichConversation,
    WhichConversations,
};
use broca_core::{ConversationId, format::rfc3339};
use broca_store::{ListedConversation, ListedMessage, PageCursor};

use super::moment::relative;
use crate::{
    app::App,
    failure::Failure,
    output::{more, pairs, state, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Conversations, the latest first
    List(ListArgs),
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
    cursor: Option<PageCursor>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    id: ConversationId,
    /// So many of its latest messages
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
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
                cursor: cursor.map(|cursor| cursor.to_string()),
            };
            let page = app.operate::<ListAllConversations>(&deps, &request).await?;
            app.output.result(&page, || rows(&page))
        }
        Command::Show(ShowArgs { id, limit }) => {
            let request = WhichConversation { id: *id, limit: Some(*limit) };
            let shown = app.operate::<ShowConversation>(&deps, &request).await?;
            app.output.result(&shown, || text(&shown))
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

fn text(ShownConversation { conversation: one, messages }: &ShownConversation) -> String {
    let mut facts = vec![
        ["conversation".to_owned(), one.id.to_string()],
        ["agent".to_owned(), one.agent.clone()],
        ["scope".to_owned(), one.scope.clone()],
        ["at the agent".to_owned(), one.agent_conversation.clone().unwrap_or_else(|| "-".to_owned())],
        ["messages".to_owned(), format!("{}, {} of them waiting", one.messages, one.waiting)],
        ["since".to_owned(), rfc3339(one.created_at)],
    ];
    let happens = now(one);
    if !happens.is_empty() {
        facts.push(["now".to_owned(), happens]);
    }
    let said: Vec<String> = messages.iter().flat_map(lines).collect();
    format!("{}\n\n{}", pairs(&facts), said.join("\n"))
}

/// What a person said, and what the agent did.
fn lines(message: &ListedMessage) -> Vec<String> {
    let person = message.username.as_ref().map_or_else(|| message.platform_user_id.clone(), |name| format!("@{name}"));
    let mut lines = vec![format!("{}  {person}: {}", rfc3339(message.received_at), message.text)];
    lines.push(match (&message.answer, &message.answer_state) {
        (Some(answer), Some(how)) => format!("{:20}  {} ({}): {answer}", "", message.agent, state(how)),
        _ => {
            let why = message.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("{:20}  {}{why}", "", state(message.state.as_str()))
        }
    });
    lines
}
