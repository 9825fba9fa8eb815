//! `broca hold`: keeps something back for a while, and lets it go on.

use std::{collections::BTreeSet, time::Duration};

use broca_admin::holds::{self, HoldError, Released};
use broca_core::{ConversationId, HoldId, Instance, format::rfc3339};
use broca_store::{Hold, HoldState, HoldSubject, NewHold, Store};
use serde_json::json;

use super::{
    letters::{actor, short},
    send::duration,
};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::table,
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
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReleaseArgs {
    #[arg(required = true, value_name = "ID")]
    ids: Vec<HoldId>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    match command {
        Command::Add(args) => add(app, &store, args).await,
        Command::List(args) => list(app, &store, args).await,
        Command::Release(args) => release(app, &store, args).await,
    }
}

async fn add(app: &App, store: &Store, args: &AddArgs) -> Result<(), Failure> {
    let subject = args.subject.subject(app, store).await?;
    let new = NewHold { subject, reason: args.reason.clone(), actor: actor(), life: args.life };
    let hold = holds::put(store, new).await?;
    app.output.result(&hold, || {
        let until = hold.expires_at.map_or_else(String::new, |at| format!(" until {}", rfc3339(at)));
        format!("{} is on hold{until}: broca hold release {}", hold.subject, hold.id)
    })
}

impl SubjectArgs {
    async fn subject(&self, app: &App, store: &Store) -> Result<HoldSubject, Failure> {
        let settings = &app.config.settings;
        if let Some(id) = self.conversation {
            return Ok(holds::conversation(store, id).await?);
        }
        if let Some(name) = &self.user {
            return Ok(HoldSubject::User(holds::person(store, name).await?));
        }
        if let Some(instance) = &self.instance {
            known("instance", instance.as_str(), settings.plugins.keys().map(ToString::to_string))?;
            return Ok(HoldSubject::Instance(instance.clone()));
        }
        let routes = app.routes();
        if let Some(name) = &self.agent {
            known("agent", name, routes.agents().map(str::to_owned).chain(settings.agents.keys().cloned()))?;
            return Ok(HoldSubject::Agent(name.clone()));
        }
        // The only one left, because one of them is required.
        let name = self.route.clone().unwrap_or_default();
        known("route", &name, routes.names().map(str::to_owned))?;
        Ok(HoldSubject::Route(name))
    }
}

/// A name that the settings do not have is a slip of the pen, and would keep nothing back.
fn known(what: &str, name: &str, names: impl Iterator<Item = String>) -> Result<(), Failure> {
    let names: BTreeSet<String> = names.collect();
    if names.contains(name) {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().collect();
    Err(Failure::new(Code::NotFound, format!("the settings have no {what} '{name}'"))
        .hint(format!("they have: {}", names.join(", "))))
}

async fn list(app: &App, store: &Store, args: &ListArgs) -> Result<(), Failure> {
    let holds = holds::list(store, args.all).await?;
    app.output.result(&json!({"items": holds}), || {
        if holds.is_empty() {
            return "nothing is on hold".to_owned();
        }
        let header = ["hold", "what", "state", "since", "until", "messages", "by", "reason"];
        table(header, holds.iter().map(line))
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
        hold.state.to_string(),
        rfc3339(hold.created_at),
        until.map_or_else(|| "released".to_owned(), rfc3339),
        hold.messages.to_string(),
        hold.actor.clone(),
        short(&hold.reason, 60),
    ]
}

async fn release(app: &App, store: &Store, args: &ReleaseArgs) -> Result<(), Failure> {
    let mut released = Vec::with_capacity(args.ids.len());
    for id in &args.ids {
        released.push(holds::release(store, *id, &actor()).await?);
    }
    app.output.result(&json!({"items": released}), || {
        let line = |released: &Released| {
            let hold = &released.hold;
            let rest = match hold.state {
                HoldState::Ending => format!("; {} more come back by the workers", hold.messages),
                HoldState::Active | HoldState::Over => String::new(),
            };
            format!("{} goes on, {} messages are back in their queues{rest}", hold.subject, released.returned)
        };
        released.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

impl From<HoldError> for Failure {
    fn from(error: HoldError) -> Self {
        let (code, hint) = match &error {
            HoldError::Store(_) => (Code::Failure, None),
            HoldError::Already(hold) => (Code::Conflict, Some(format!("`broca hold release {}` ends it", hold.id))),
            HoldError::Unknown(_) => (Code::NotFound, Some("`broca hold list --all` has them all".to_owned())),
            HoldError::NoConversation(_) => (Code::NotFound, Some("`broca message show ID` names it".to_owned())),
            HoldError::Nobody(_) => (Code::NotFound, Some("they must have written at least once".to_owned())),
            HoldError::Several(..) => (Code::Conflict, Some("say which: PLATFORM/ID".to_owned())),
        };
        match (error, hint) {
            (HoldError::Store(error), _) => error.into(),
            (error, Some(hint)) => Self::new(code, error.to_string()).hint(hint),
            (error, None) => Self::new(code, error.to_string()),
        }
    }
}
