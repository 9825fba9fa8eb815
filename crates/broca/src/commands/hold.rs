//! `broca hold`: keeps something back for a while, and lets it go on.

use std::time::Duration;

use broca_admin::{
    holds::Released,
    operations::{AddHold, Deps, HoldOn, ListHolds, NewHold, ReleaseHolds, Span, WhichHolds, WhichReleased},
};
use broca_core::{ConversationId, HoldId, Instance, format::rfc3339};
use broca_store::{Hold, HoldState};

use super::{letters::short, moment::relative, send::duration};
use crate::{
    app::App,
    failure::Failure,
    output::{paged, state, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Keeps a conversation, a person, a plugin instance, an agent or a route back
    Add(AddArgs),
    /// What is on hold, since when and why
    List(ListArgs),
    /// Ends a hold; what it kept back goes on, in its order
    Release(ReleaseArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  broca hold add --agent support --reason \"model upgrade\" --for 2h\n  \
    broca hold add --user telegram/7 --reason \"asked us to stop\"\n\n\
    Messages are still accepted, and wait. A turn that is under way goes to its end. A hold on an instance also keeps\n\
    the answers back that go out through it. Exit code 4: it is on hold already.")]
pub(crate) struct AddArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Why; everybody who looks sees it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// It ends by itself after this long, e.g. 30m, 2h, 1d [default: when it is released]
    #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
    life: Option<Duration>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct SubjectArgs {
    #[arg(long, value_name = "ID")]
    conversation: Option<ConversationId>,
    /// A person, on all platforms: the platform's id, e.g. 7 or telegram/7, or the id of the user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// A plugin instance: its messages, and the answers that go out through it
    #[arg(long, value_name = "NAME")]
    instance: Option<Instance>,
    /// An agent, by its name in the settings: all its conversations
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// A route, by its name in the settings: the messages that it claimed
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Also those that are over, newest first
    #[arg(long)]
    all: bool,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<HoldId>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReleaseArgs {
    #[arg(required = true, value_name = "ID")]
    ids: Vec<HoldId>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::Add(args) => add(app, &deps, args).await,
        Command::List(args) => list(app, &deps, args).await,
        Command::Release(args) => release(app, &deps, args).await,
    }
}

async fn add(app: &App, deps: &Deps, args: &AddArgs) -> Result<(), Failure> {
    let request = NewHold { on: args.subject.on(), reason: args.reason.clone(), life: args.life.map(Span) };
    let hold = app.operate::<AddHold>(deps, &request).await?;
    app.output.result(&hold, || {
        let until = hold.expires_at.map_or_else(String::new, |at| format!(" until {}", rfc3339(at)));
        format!("{} is on hold{until}: broca hold release {}", hold.subject, hold.id)
    })
}

impl SubjectArgs {
    fn on(&self) -> HoldOn {
        let Self { conversation, user, instance, agent, route } = self;
        let one = [
            conversation.map(HoldOn::Conversation),
            user.clone().map(HoldOn::User),
            instance.clone().map(HoldOn::Instance),
            agent.clone().map(HoldOn::Agent),
        ];
        // The only one left, because one of them is required.
        one.into_iter().flatten().next().unwrap_or_else(|| HoldOn::Route(route.clone().unwrap_or_default()))
    }
}

async fn list(app: &App, deps: &Deps, args: &ListArgs) -> Result<(), Failure> {
    let request = WhichHolds { all: args.all, limit: Some(args.limit), cursor: args.cursor };
    let holds = app.operate::<ListHolds>(deps, &request).await?;
    app.output.result(&holds, || {
        if holds.items.is_empty() {
            return "nothing is on hold".to_owned();
        }
        let header = ["hold", "what", "state", "since", "until", "messages", "by", "reason"];
        paged(table(header, holds.items.iter().map(line)), holds.next_cursor.as_ref())
    })
}

fn line(hold: &Hold) -> [String; 8] {
    let until = match hold.state {
        HoldState::Active => hold.expires_at,
        HoldState::Ending | HoldState::Over => hold.released_at.or(hold.expires_at),
    };
    [
        hold.id.to_string(),
        hold.subject.to_string(),
        state(&hold.state.to_string()),
        relative(hold.created_at),
        until.map_or_else(|| "released".to_owned(), relative),
        hold.messages.to_string(),
        hold.actor.clone(),
        short(&hold.reason, 60),
    ]
}

async fn release(app: &App, deps: &Deps, args: &ReleaseArgs) -> Result<(), Failure> {
    let request = WhichReleased { ids: args.ids.clone(), reason: args.reason.clone() };
    let released = app.operate::<ReleaseHolds>(deps, &request).await?;
    app.output.result(&released, || {
        let line = |released: &Released| {
            let hold = &released.hold;
            let rest = match hold.state {
                HoldState::Ending => format!("; {} more come back by the workers", hold.messages),
                HoldState::Active | HoldState::Over => String::new(),
            };
            format!("{} goes on, {} messages are back in their queues{rest}", hold.subject, released.returned)
        };
        released.items.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}
