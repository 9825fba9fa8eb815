//! `broca message`: one message, all that happened to it, and its end before its time.

use std::time::Duration;

use broca_admin::{
    journey::{self, Follower},
    operations::{CancelMessage, ListMessages, ListedMessages, ShowMessage, WhichCancelled, WhichMessages, WhichShown},
};
use broca_core::{ConversationId, Instance, MessageId, MessageState};
use broca_store::{Cancelled, ListedMessage, Store};

use super::{
    letters::short,
    moment::{Moment, moment, relative},
    timeline::{self, Timeline},
    which::Which,
};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::{more, state, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Messages, the newest first: by state, person, place, time, or what is in them
    #[command(visible_alias = "search")]
    List(ListArgs),
    /// Its text, its state, its answers, and its journey: every step from its acceptance on
    Show(ShowArgs),
    /// Ends it if it waits for its turn, stops the turn that it has, or keeps its answer from being delivered
    Cancel(CancelArgs),
}

/// Whatever is given must hold.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: broca message list --state failed --since 2h --contains refund")]
pub(crate) struct ListArgs {
    /// received, processing, completed, stored, suppressed, failed, cancelled or held
    #[arg(long)]
    state: Option<MessageState>,
    /// The platform, e.g. telegram
    #[arg(long)]
    platform: Option<String>,
    /// The plugin instance
    #[arg(long)]
    instance: Option<Instance>,
    /// The agent, by its name in the settings
    #[arg(long)]
    agent: Option<String>,
    /// The route, by its name in the settings
    #[arg(long)]
    route: Option<String>,
    /// The person, by the platform's id
    #[arg(long)]
    user: Option<String>,
    #[arg(long, value_name = "ID")]
    conversation: Option<ConversationId>,
    /// The class of failure or refusal, e.g. rejected, rate_limited
    #[arg(long)]
    class: Option<String>,
    /// Accepted since then: 2h, 7d, or 2026-11-23T08:00:00Z
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<Moment>,
    /// Accepted before then
    #[arg(long, value_parser = moment, value_name = "TIME")]
    until: Option<Moment>,
    /// Has this in the message or the answer, in any case
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<MessageId>,
}

impl ListArgs {
    fn request(&self) -> WhichMessages {
        WhichMessages {
            state: self.state,
            platform: self.platform.clone(),
            instance: self.instance.clone(),
            agent: self.agent.clone(),
            route: self.route.clone(),
            user: self.user.clone(),
            conversation: self.conversation,
            class: self.class.clone(),
            since: self.since,
            until: self.until,
            contains: self.contains.clone(),
            limit: Some(self.limit),
            cursor: self.cursor,
        }
    }
}

fn rows(page: &ListedMessages) -> String {
    if page.items.is_empty() {
        return "no messages".to_owned();
    }
    let row = |message: &ListedMessage| {
        let said = message.answer.as_ref().or(message.reason.as_ref());
        [
            message.id.to_string(),
            state(message.state.as_str()),
            relative(message.received_at),
            format!("{} on {}", message.platform_user_id, message.instance),
            short(&message.text, 40),
            short(said.map(String::as_str).unwrap_or_default(), 60),
        ]
    };
    more(
        table(["message", "state", "accepted", "who", "text", "answer or reason"], page.items.iter().map(row)),
        page.next_cursor.as_ref(),
    )
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
        Command::List(args) => {
            let page = app.operate::<ListMessages>(&app.deps().await?, &args.request()).await?;
            app.output.result(&page, || rows(&page))
        }
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
