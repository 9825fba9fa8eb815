//! `broca queue`: what waits to be answered, message by message, and its end on somebody's word.

use broca_admin::{
    operations::{
        Deps, FlushQueue, ListQueue, ListedQueue, Operation, QueueStats, ShowQueueStats, WhichFlushed, WhichQueue,
        WhichQueueStats, age,
    },
    queue::Flushed,
};
use broca_core::MessageId;
use broca_store::{PageCursor, QueueItem, Stand};

use super::{backlog::Which, letters::short, moment::relative};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::{more, pairs, state, table},
    progress::Progress,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// What waits and what is under way, the oldest first
    List(ListArgs),
    /// How many messages there are in each state, and what they wait for
    Stats,
    /// Ends messages that wait, with a reason; their rows stay, and a replay brings them back
    #[command(visible_alias = "delete")]
    Flush(FlushArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// received (waits for a worker), parked (for a time), held (for the end of a hold) or processing
    #[arg(long, value_name = "STATE")]
    state: Option<Stand>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<PageCursor>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  broca queue flush --all --dry-run\n  \
    broca queue flush --instance telegram --older-than 1d --reason \"nobody needs these any more\"\n  \
    broca queue flush --id 01a20a75-2634-75f9-aaa5-72502bdb0e44 --yes\n\n\
    What an agent works on goes on: `broca message cancel` stops that. Nobody is told; `broca backlog skip` tells them.\n\
    Exit code 7: some of it could not be ended.")]
pub(crate) struct FlushArgs {
    /// These messages; may be repeated
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<MessageId>,
    /// Whatever waits
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Why; kept with each message
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Says what it comes to, and does nothing
    #[arg(long)]
    dry_run: bool,
    /// Does it without asking
    #[arg(long, short, conflicts_with = "dry_run")]
    yes: bool,
    #[command(flatten)]
    which: Which,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::List(args) => {
            let ListArgs { which, state, limit, cursor } = args;
            let cursor = cursor.map(|cursor| cursor.to_string());
            let request = WhichQueue { filter: which.waiting(), stand: *state, limit: Some(*limit), cursor };
            let page = app.operate::<ListQueue>(&deps, &request).await?;
            app.output.result(&page, || rows(&page))
        }
        Command::Stats => {
            let stats = app.operate::<ShowQueueStats>(&deps, &WhichQueueStats {}).await?;
            app.output.result(&stats, || stats_text(&stats))
        }
        Command::Flush(args) => flush(app, &deps, args).await,
    }
}

async fn flush(app: &App, deps: &Deps, args: &FlushArgs) -> Result<(), Failure> {
    let FlushArgs { ids, all, reason, dry_run, yes, which } = args;
    let request = WhichFlushed { ids: ids.clone(), filter: which.waiting(), all: *all, reason: reason.clone() };
    let foreseen = FlushQueue::foresee(deps, &request).await?;
    if *dry_run {
        return app.output.result(&foreseen, || format!("it would {}", foreseen.would));
    }
    app.confirmed(*yes, &foreseen.would)?;
    let working = Progress::of("ending what waits");
    let done = app.operate::<FlushQueue>(deps, &request).await?;
    drop(working);
    app.output.result(&done, || flushed(&done))?;
    match (done.flushed, done.skipped.is_empty()) {
        (_, true) => Ok(()),
        (0, false) => Err(Failure::said(Code::Conflict as u8)),
        (_, false) => Err(Failure::said(Code::Partial as u8)),
    }
}

fn flushed(done: &Flushed) -> String {
    let mut lines = vec![format!("flushed {}", done.flushed)];
    lines.extend(done.skipped.iter().map(|skipped| format!("not {}: {}", skipped.message_id, skipped.reason)));
    if done.more {
        lines.push("there is more: run it again".to_owned());
    }
    lines.join("\n")
}

fn rows(page: &ListedQueue) -> String {
    if page.items.is_empty() {
        return "nothing waits".to_owned();
    }
    let row = |item: &QueueItem| {
        [
            item.id.to_string(),
            state(&item.stand.to_string()),
            relative(item.since),
            format!("{} on {}", item.platform_user_id, item.instance),
            item.agent.clone(),
            item.attempts.to_string(),
            short(&item.text, 40),
        ]
    };
    let header = ["message", "state", "since", "who", "agent", "attempts", "text"];
    more(table(header, page.items.iter().map(row)), page.next_cursor.as_ref())
}

fn stats_text(stats: &QueueStats) -> String {
    let counts = |name: &str, counts: &std::collections::BTreeMap<String, i64>| {
        let parts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {}", state(name))).collect();
        [name.to_owned(), if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }]
    };
    let oldest = stats.oldest_s.map_or_else(|| "none".to_owned(), |seconds| format!("waits for {}", age(seconds)));
    pairs(&[
        counts("waiting", &stats.waiting),
        ["oldest".to_owned(), oldest],
        counts("messages", &stats.messages),
        counts("answers", &stats.answers),
        ["conversations".to_owned(), format!("{} ({} with work)", stats.conversations, stats.waiting_conversations)],
    ])
}
