//! `broca message`: looking for messages; one of them, all that happened to it, and its end before its time.

mod list;

use std::time::Duration;

use broca_admin::{
    journey::{self, Follower},
    operations::{CancelMessage, ShowMessage, WhichCancelled, WhichShown},
};
use broca_core::MessageId;
use broca_store::{Cancelled, Store};

use super::{
    moment::{Moment, moment},
    timeline::{self, Timeline},
    which::Which,
};
use crate::{
    app::App,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Looks for messages, the newest first
    #[command(visible_alias = "search")]
    List(list::Args),
    /// Its text, its state, its answers, and its journey: every step from its acceptance on
    Show(ShowArgs),
    /// Ends it if it waits for its turn, stops the turn that it has, or keeps its answer from being delivered
    Cancel(CancelArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Its id, or the first digits of it
    #[arg(value_name = "ID")]
    which: Which,
    /// Goes on printing its steps as they happen, until it is over; with --json one object a line
    #[arg(long, conflicts_with = "at")]
    watch: bool,
    /// As it stood then: -5m, 2h (ago), or 2026-11-23T08:00:00Z
    #[arg(long, value_parser = moment, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<Moment>,
}

/// How often a message that is watched is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A turn that runs is asked to stop; whatever it comes to, no answer is delivered. Exit code 4: it is over, or a plugin is at its answer. A cancelled message can be replayed."
)]
pub(crate) struct CancelArgs {
    id: MessageId,
    /// Why; kept with the message
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list::run(app, args).await,
        Command::Show(args) => show(app, args).await,
        Command::Cancel(args) => end(app, args).await,
    }
}

async fn end(app: &App, CancelArgs { id, reason }: &CancelArgs) -> Result<(), Failure> {
    let request = WhichCancelled { id: *id, reason: reason.clone() };
    let report = app.operate::<CancelMessage>(&app.deps().await?, &request).await?;
    app.output.result(&report, || match &report.cancelled {
        Cancelled::Answers { suppressed } => {
            let answers: Vec<_> = suppressed.iter().map(ToString::to_string).collect();
            format!("{id} was answered; the answer is not delivered: {}", answers.join(", "))
        }
        Cancelled::Stopping => {
            format!("{id} is with the agent: it is asked to stop, and no answer is delivered; `broca message show {id}` tells")
        }
        _ => format!("cancelled {id}"),
    })
}

async fn show(app: &App, ShowArgs { which, watch, at }: &ShowArgs) -> Result<(), Failure> {
    let deps = app.deps().await?;
    if *watch {
        return follow(app, &deps.store, which.find(&deps.store).await?).await;
    }
    let shown = app.operate::<ShowMessage>(&deps, &WhichShown { id: which.clone(), at: *at }).await?;
    app.output.result(&shown, || timeline::shown(&shown))
}

async fn follow(app: &App, store: &Store, id: MessageId) -> Result<(), Failure> {
    let (mut follower, mut timeline) = (Follower::default(), Timeline::of(id));
    let mut timer = tokio::time::interval(LOOK_EVERY);
    loop {
        timer.tick().await;
        let standing = store.standing(id).await?.ok_or_else(|| unknown(&id))?;
        let over = journey::is_over(&standing);
        for event in follower.news(standing.journey.events) {
            if app.output.is_json() {
                app.output.json_line(&event)?;
            } else {
                app.output.text(&timeline.line(&event))?;
            }
        }
        if over {
            return Ok(());
        }
    }
}

pub(super) fn unknown(id: &impl std::fmt::Display) -> Failure {
    Failure::new(Code::NotFound, format!("there is no message {id}"))
        .hint("is this the right database? `broca config show` prints which one is asked")
}
