//! `broca targets`: chats and people that take no answers.

use broca_admin::{
    operations::{ClearTargets, ListTargets, WhichCleared, WhichTargets},
    targets::{Cleared, Targets},
};
use broca_core::{Instance, Timestamp};
use broca_store::{DeadTarget, TargetCursor};

use super::letters::{age, short};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::{paged, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Those that blocked the bot or are gone, the latest first
    List(ListArgs),
    /// Forgets that some are dead: their next answers are tried again
    Clear(ClearArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only those of this plugin instance
    #[arg(long)]
    instance: Option<Instance>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<TargetCursor>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ClearArgs {
    /// Names as `broca targets list` shows them, or <instance>/<the platform's id of a person>
    #[arg(value_name = "TARGET", required_unless_present_any = ["instance", "all"])]
    targets: Vec<String>,
    /// All of this plugin instance, or only the named ones of it
    #[arg(long)]
    instance: Option<Instance>,
    /// All there are
    #[arg(long, conflicts_with_all = ["targets", "instance"])]
    all: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl ClearArgs {
    fn which(&self) -> WhichCleared {
        let Self { targets, instance, all, reason } = self;
        WhichCleared { targets: targets.clone(), instance: instance.clone(), all: *all, reason: reason.clone() }
    }
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::List(args) => {
            let (instance, cursor) = (args.instance.clone(), args.cursor.as_ref().map(ToString::to_string));
            let request = WhichTargets { instance, limit: Some(args.limit), cursor };
            let found = app.operate::<ListTargets>(&deps, &request).await?;
            let now = deps.store.now().await?;
            app.output.result(&found, || rows(&found, now))
        }
        Command::Clear(args) => {
            let done = app.operate::<ClearTargets>(&deps, &args.which()).await?;
            app.output.result(&done, || text(&done))?;
            match (done.cleared, done.unknown.is_empty()) {
                (_, true) => Ok(()),
                (0, false) => Err(Failure::said(Code::NotFound as u8)),
                (_, false) => Err(Failure::said(Code::Partial as u8)),
            }
        }
    }
}

fn rows(found: &Targets, now: Timestamp) -> String {
    if found.items.is_empty() {
        return "every chat takes answers".to_owned();
    }
    let row = |target: &DeadTarget| {
        let probe = now.micros() < target.probe_at.micros();
        [
            target.target.clone(),
            target.platform_user_id.clone(),
            age(now.since(target.since).as_secs()),
            target.class.clone(),
            target.failures.to_string(),
            if probe { format!("in {}", age(target.probe_at.since(now).as_secs())) } else { "next answer".to_owned() },
            short(&target.reason, 60),
        ]
    };
    let header = ["target", "person", "dead for", "class", "refusals", "tried again", "reason"];
    paged(table(header, found.items.iter().map(row)), found.next_cursor.as_ref())
}

fn text(done: &Cleared) -> String {
    let mut lines = vec![format!("cleared {}", done.cleared)];
    lines.extend(done.unknown.iter().map(|name| format!("not dead: {name}; see `broca targets list`")));
    lines.join("\n")
}
