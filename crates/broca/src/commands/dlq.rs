//! `broca dlq`: what failed, and what is to be done about it.

use std::time::Duration;

use broca_admin::dead_letters::{self, Page, PurgeError, Resolved, Shown, Which};
use broca_core::{MessageId, Timestamp};
use broca_store::{ClosedLetters, Letter, LetterCursor};

use super::{
    letters::{LetterArgs, actor, age, short},
    message,
    send::duration,
    timeline,
};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::table,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Messages and answers that failed, the newest first
    List(ListArgs),
    /// One of them, with all that happened to its message
    Show(ShowArgs),
    /// Says that nothing more is to be done about some; they are listed no more, and can still be replayed
    Resolve(ResolveArgs),
    /// Drops the broker's copies of those that were resolved or replayed; the rows stay
    Purge(PurgeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    letters: LetterArgs,
    /// Only resolved ones
    #[arg(long, conflicts_with = "all")]
    resolved: bool,
    /// Resolved and purged ones too
    #[arg(long)]
    all: bool,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<LetterCursor>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    id: MessageId,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ResolveArgs {
    /// Messages; without any, all that the filters find
    #[arg(value_name = "ID")]
    ids: Vec<MessageId>,
    /// Why, for whoever looks later
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    letters: LetterArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PurgeArgs {
    /// Only those that were resolved or replayed at least this long ago
    #[arg(long, default_value = "7d", value_parser = duration, value_name = "TIME")]
    older_than: Duration,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(app, args).await,
        Command::Show(args) => show(app, args).await,
        Command::Resolve(args) => resolve(app, args).await,
        Command::Purge(args) => purge(app, args).await,
    }
}

async fn list(app: &App, args: &ListArgs) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    let closed = match (args.resolved, args.all) {
        (true, _) => ClosedLetters::Only,
        (_, true) => ClosedLetters::With,
        (false, false) => ClosedLetters::Without,
    };
    let filter = args.letters.filter(&store, closed).await?;
    let page = dead_letters::list(&store, &filter, args.cursor, args.limit).await?;
    let now = store.now().await?;
    app.output.result(&page, || rows(&page, now))
}

fn rows(page: &Page, now: Timestamp) -> String {
    if page.items.is_empty() {
        return "no dead letters".to_owned();
    }
    let row = |letter: &Letter| {
        [
            letter.message_id.to_string(),
            letter.stage.to_string(),
            age(now.since(letter.failed_at.unwrap_or(now)).as_secs()),
            format!("{} on {}", letter.platform_user_id, letter.instance),
            letter.class.clone().unwrap_or_else(|| letter.state.clone()),
            letter.attempts.to_string(),
            short(letter.reason.as_deref().unwrap_or_default(), 60),
            letter.closed.as_ref().map(|closed| closed.how.clone()).unwrap_or_default(),
        ]
    };
    let header = ["message", "stage", "failed", "who", "class", "attempts", "reason", ""];
    let mut text = table(header, page.items.iter().map(row));
    if let Some(cursor) = &page.next_cursor {
        text.push_str(&format!("\nthere are more: --cursor {cursor}"));
    }
    text
}

async fn show(app: &App, args: &ShowArgs) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    let shown = dead_letters::show(&store, args.id).await?.ok_or_else(|| message::unknown(&args.id))?;
    app.output.result(&shown, || text(&shown))
}

fn text(shown: &Shown) -> String {
    let letter = match &shown.letter {
        None => "dead letter   no".to_owned(),
        Some(letter) => {
            let end = match &letter.closed {
                None => format!("open; bring it back with `broca replay {}`", letter.message_id),
                Some(closed) => {
                    let note = closed.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
                    let at = broca_core::format::rfc3339(closed.at);
                    format!("{} {at} by {}{note}", closed.how, closed.actor)
                }
            };
            format!("dead letter   stage {}, {end}", letter.stage)
        }
    };
    format!("{letter}\n{}", timeline::text(&shown.message))
}

async fn resolve(app: &App, args: &ResolveArgs) -> Result<(), Failure> {
    let filtered = !args.letters.is_empty() || args.letters.stage.is_some();
    if args.ids.is_empty() != filtered {
        return Err(Failure::new(Code::Usage, "say which: either message ids, or a filter")
            .hint("see what there is: `broca dlq list`"));
    }
    let store = app.store().await?;
    store.check_migrated().await?;
    let which = if args.ids.is_empty() {
        Which::Letters(args.letters.filter(&store, ClosedLetters::Without).await?)
    } else {
        Which::Messages(args.ids.clone())
    };
    let done = dead_letters::resolve(&store, &which, &actor(), args.note.as_deref()).await?;
    app.output.result(&done, || resolved(&done))?;
    match (done.resolved.is_empty(), done.skipped.is_empty()) {
        (_, true) => Ok(()),
        (true, false) => Err(Failure::said(Code::NotFound as u8)),
        (false, false) => Err(Failure::said(Code::Partial as u8)),
    }
}

fn resolved(done: &Resolved) -> String {
    let mut lines = vec![format!("resolved {}", done.resolved.len())];
    lines.extend(done.skipped.iter().map(|skipped| format!("not {}: {}", skipped.message_id, skipped.reason)));
    if done.more {
        lines.push("there are more: run it again".to_owned());
    }
    lines.join("\n")
}

async fn purge(app: &App, args: &PurgeArgs) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    let bus = app.bus("admin").await?;
    let purged = dead_letters::purge(&store, &bus, args.older_than).await?;
    app.output.result(&purged, || {
        format!("{} dead letters have no copy in the broker any more; {} dropped", purged.letters, purged.copies)
    })
}

impl From<PurgeError> for Failure {
    fn from(error: PurgeError) -> Self {
        match error {
            PurgeError::Store(error) => error.into(),
            PurgeError::Bus(error) => error.into(),
        }
    }
}
