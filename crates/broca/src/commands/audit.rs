//! `broca audit`: what operators did.

use broca_admin::operations::{ListActs, WhichActs};
use broca_core::ActId;
use broca_store::{Act, ActOutcome, Via};

use super::{
    letters::short,
    moment::{Moment, moment, relative},
};
use crate::{
    app::App,
    failure::Failure,
    output::{more, state, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Who did what, why, and what came of it, the newest first
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "An act that stays 'begun' is one whose process died in the middle. --json has requests, answers and ids."
)]
pub(crate) struct ListArgs {
    /// Who: cli:<user>, http:<token>, mcp:<token> or dashboard:<token>
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// cli, http, mcp or chat
    #[arg(long)]
    via: Option<Via>,
    /// What, e.g. hold.add
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// begun, done, failed or refused
    #[arg(long)]
    outcome: Option<ActOutcome>,
    /// The id of something that it was about: a message, a hold, a plan
    #[arg(long, value_name = "ID")]
    about: Option<String>,
    /// Since then: 2h, 7d, or 2026-11-23T08:00:00Z
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<Moment>,
    /// Before then
    #[arg(long, value_parser = moment, value_name = "TIME")]
    until: Option<Moment>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<ActId>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let Command::List(args) = command;
    let request = WhichActs {
        actor: args.by.clone(),
        via: args.via,
        operation: args.operation.clone(),
        outcome: args.outcome,
        subject: args.about.clone(),
        since: args.since,
        until: args.until,
        limit: Some(args.limit),
        cursor: args.cursor,
    };
    let acts = app.operate::<ListActs>(&app.deps().await?, &request).await?;
    app.output.result(&acts, || {
        if acts.items.is_empty() {
            return "nothing was done".to_owned();
        }
        let header = ["when", "who", "what", "outcome", "about", "why"];
        more(table(header, acts.items.iter().map(line)), acts.next_cursor.as_ref())
    })
}

fn line(act: &Act) -> [String; 6] {
    let about = match act.subjects.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [one, others @ ..] => format!("{one} and {} more", others.len()),
    };
    let why = act.error.as_ref().or(act.reason.as_ref()).map(|why| short(why, 60)).unwrap_or_default();
    let outcome = state(act.outcome.as_str());
    [relative(act.at), act.actor.clone(), act.operation.clone(), outcome, about, why]
}
