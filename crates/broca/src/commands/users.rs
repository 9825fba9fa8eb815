//! `broca users`: who wrote, and the deletion of all that is kept of one person.

use broca_admin::{
    operations::{
        ActivateUser, DeactivateUser, Deps, ListConversations, ListUsers, Renaming, ShowUser, UpdateUser, WhichPeople,
        WhichPerson,
    },
    users::{Conversations, Page, Shown},
};
use broca_core::{Timestamp, UserId, format::rfc3339};
use broca_store::{User, UserConversation};

use super::{active, forget, letters::age, link, person, preferences};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::table,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// People, the newest first
    List(ListArgs),
    /// One of them, with their accounts and how much they wrote
    Get(WhoArgs),
    /// Changes what we call them; what a platform calls them is its own
    Update(UpdateArgs),
    /// The conversations that they wrote in, the latest first
    Conversations(WhoArgs),
    /// Lets a deactivated person's messages in again
    Activate(active::Args),
    /// Keeps a person's messages out, on all platforms and whatever the rules say
    Deactivate(active::Args),
    /// Says what an agent is to bear in mind of a person
    Set(person::Args),
    /// What is kept of a person for whoever asks
    #[command(subcommand)]
    Preferences(preferences::Command),
    /// Makes two people one: the second one's accounts become the first one's
    Link(link::LinkArgs),
    /// Makes an account a person of its own again
    Unlink(link::UnlinkArgs),
    /// Deletes all that is kept of a person
    Forget(forget::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Those who have an account there, e.g. telegram
    #[arg(long)]
    platform: Option<String>,
    /// Has this in a name, in any case; or is the platform's id
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<UserId>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WhoArgs {
    /// Our id of the person, or PLATFORM/ID
    who: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    /// Our id of the person, or PLATFORM/ID
    who: String,
    #[arg(long, value_name = "NAME")]
    display_name: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::List(args) => list(app, &deps, args).await,
        Command::Get(WhoArgs { who }) => {
            let shown = app.operate::<ShowUser>(&deps, &WhichPerson { who: who.clone() }).await?;
            app.output.result(&shown, || text(&shown))
        }
        Command::Update(UpdateArgs { who, display_name, reason }) => {
            let (who, display_name, reason) = (who.clone(), display_name.clone(), reason.clone());
            let shown = app.operate::<UpdateUser>(&deps, &Renaming { who, display_name, reason }).await?;
            app.output.result(&shown, || text(&shown))
        }
        Command::Conversations(WhoArgs { who }) => {
            let found = app.operate::<ListConversations>(&deps, &WhichPerson { who: who.clone() }).await?;
            app.output.result(&found, || conversation_rows(&found))
        }
        Command::Activate(args) => active::set::<ActivateUser>(app, &deps, args).await,
        Command::Deactivate(args) => active::set::<DeactivateUser>(app, &deps, args).await,
        Command::Set(args) => person::set(app, &deps, args).await,
        Command::Preferences(command) => preferences::run(app, &deps, command).await,
        Command::Link(args) => link::link(app, &deps, args).await,
        Command::Unlink(args) => link::unlink(app, &deps, args).await,
        Command::Forget(args) => forget::run(app, &deps.store, args).await,
    }
}

async fn list(app: &App, deps: &Deps, args: &ListArgs) -> Result<(), Failure> {
    let ListArgs { platform, name, limit, cursor } = args;
    let request = WhichPeople { platform: platform.clone(), name: name.clone(), limit: Some(*limit), cursor: *cursor };
    let page = app.operate::<ListUsers>(deps, &request).await?;
    let now = deps.store.now().await?;
    app.output.result(&page, || rows(&page, now))
}

fn rows(page: &Page, now: Timestamp) -> String {
    if page.items.is_empty() {
        return "nobody".to_owned();
    }
    let row = |user: &User| {
        [
            user.id.to_string(),
            user.display_name.clone().unwrap_or_default(),
            accounts(user),
            user.last_active.map(|at| age(now.since(at).as_secs())).unwrap_or_default(),
        ]
    };
    let mut text = table(["user", "name", "accounts", "last wrote"], page.items.iter().map(row));
    if let Some(cursor) = &page.next_cursor {
        text.push_str(&format!("\nthere are more: --cursor {cursor}"));
    }
    text
}

fn accounts(user: &User) -> String {
    let accounts = user.profiles.iter().map(|profile| format!("{}/{}", profile.platform, profile.platform_user_id));
    accounts.collect::<Vec<_>>().join(", ")
}

pub(super) fn nobody(who: &str) -> Failure {
    Failure::new(Code::NotFound, format!("nobody is known as '{who}'"))
        .hint("`broca users list` has everybody who ever wrote and was not forgotten")
}

fn text(Shown { user, messages, conversations }: &Shown) -> String {
    let mut lines = vec![
        format!("user           {}", user.id),
        format!("name           {}", user.display_name.as_deref().unwrap_or("-")),
        format!("since          {}", rfc3339(user.created_at)),
    ];
    for profile in &user.profiles {
        let names = [profile.username.as_ref().map(|name| format!("@{name}")), profile.display_name.clone()];
        let names: Vec<String> = names.into_iter().flatten().collect();
        let (account, last) = (format!("{}/{}", profile.platform, profile.platform_user_id), profile.last_active);
        lines.push(format!("account        {account} {} last wrote {}", names.join(" "), rfc3339(last)));
    }
    let states: Vec<String> = messages.iter().map(|(state, count)| format!("{count} {state}")).collect();
    lines.push(format!("messages       {}", if states.is_empty() { "none".to_owned() } else { states.join(", ") }));
    lines.push(format!("conversations  {conversations}"));
    lines.join("\n")
}

fn conversation_rows(found: &Conversations) -> String {
    if found.items.is_empty() {
        return "no message of theirs is kept".to_owned();
    }
    let row = |conversation: &UserConversation| {
        [
            conversation.id.to_string(),
            conversation.agent.clone(),
            conversation.scope.clone(),
            conversation.messages.to_string(),
            conversation.answers.to_string(),
            conversation.pending.to_string(),
            rfc3339(conversation.last_message_at),
            conversation.agent_conversation.clone().unwrap_or_default(),
        ]
    };
    let header = ["conversation", "agent", "scope", "messages", "answers", "pending", "last", "at the agent"];
    table(header, found.items.iter().map(row))
}
