//! `broca users`: who wrote, and the deletion of all that is kept of one person.

use broca_admin::{
    operations::{
        ActivateUser, DeactivateUser, Deps, ListConversations, ListUsers, Renaming, ShowUser, UpdateUser, WhichPeople,
        WhichPerson,
    },
    users::{Conversations, Page, Shown},
};
use broca_core::{UserId, format::rfc3339};
use broca_store::{User, UserConversation};

use super::{active, forget, link, moment::relative, person, preferences};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::{more, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// People, the newest first
    List(ListArgs),
    /// One of them, with their accounts and how much they wrote
    Get(WhoArgs),
    /// Changes what we call them (what a platform calls them is its own), or whether they may write
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

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Activity {
    Active,
    Inactive,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    /// Our id of the person, or PLATFORM/ID
    who: String,
    /// active or inactive; the same as `activate` and `deactivate`
    #[arg(value_enum, required_unless_present = "display_name")]
    state: Option<Activity>,
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
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
        Command::Update(args) => update(app, &deps, args).await,
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

async fn update(app: &App, deps: &Deps, args: &UpdateArgs) -> Result<(), Failure> {
    let UpdateArgs { who, state, display_name, reason } = args;
    let of = active::Args::of(who, reason.as_deref());
    match state {
        Some(Activity::Active) => drop(active::switch::<ActivateUser>(app, deps, &of).await?),
        Some(Activity::Inactive) => drop(active::switch::<DeactivateUser>(app, deps, &of).await?),
        None => {}
    }
    if let Some(display_name) = display_name.clone() {
        let request = Renaming { who: who.clone(), display_name, reason: reason.clone() };
        app.operate::<UpdateUser>(deps, &request).await?;
    }
    let shown = app.operate::<ShowUser>(deps, &WhichPerson { who: who.clone() }).await?;
    app.output.result(&shown, || text(&shown))
}

async fn list(app: &App, deps: &Deps, args: &ListArgs) -> Result<(), Failure> {
    let ListArgs { platform, name, limit, cursor } = args;
    let request = WhichPeople { platform: platform.clone(), name: name.clone(), limit: Some(*limit), cursor: *cursor };
    let page = app.operate::<ListUsers>(deps, &request).await?;
    app.output.result(&page, || rows(&page))
}

fn rows(page: &Page) -> String {
    if page.items.is_empty() {
        return "nobody".to_owned();
    }
    let row = |user: &User| {
        [
            user.id.to_string(),
            user.display_name.clone().unwrap_or_default(),
            accounts(user),
            user.last_active.map(relative).unwrap_or_default(),
        ]
    };
    let rows = page.items.iter().map(row);
    more(table(["user", "name", "accounts", "last wrote"], rows), page.next_cursor.as_ref())
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
        format!("may write      {}", if user.is_active { "yes" } else { "no: deactivated" }),
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
            relative(conversation.last_message_at),
            conversation.agent_conversation.clone().unwrap_or_default(),
        ]
    };
    let header = ["conversation", "agent", "scope", "messages", "answers", "pending", "last", "at the agent"];
    table(header, found.items.iter().map(row))
}
