//! `broca dlq`: what failed, and what is to be done about it.

use std::time::Duration;

use broca_admin::{
    dead_letters::{Page, Resolved, Shown},
    operations::{
        ListLetters, PurgeLetters, ResolveLetters, ShowLetter, Span, WhichClosed, WhichCopies, WhichLetter, WhichPage,
        WhichResolved,
    },
};
use broca_core::MessageId;
use broca_store::{Letter, PageCursor};

use super::{
    letters::{LetterArgs, short},
    moment::relative,
    send::duration,
    timeline,
};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::{more, table},
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
    cursor: Option<PageCursor>,
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
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
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
    let closed = match (args.resolved, args.all) {
        (true, _) => WhichClosed::Only,
        (_, true) => WhichClosed::With,
        (false, false) => WhichClosed::Without,
    };
    let request = WhichPage {
        filter: args.letters.with_stage(),
        closed,
        limit: Some(args.limit),
        cursor: args.cursor.map(|cursor| cursor.to_string()),
    };
    let page = app.operate::<ListLetters>(&app.deps().await?, &request).await?;
    app.output.result(&page, || rows(&page))
}

fn rows(page: &Page) -> String {
    if page.items.is_empty() {
        return "no dead letters".to_owned();
    }
    let row = |letter: &Letter| {
        [
            letter.message_id.to_string(),
            letter.stage.to_string(),
            letter.failed_at.map(relative).unwrap_or_default(),
            format!("{} on {}", letter.platform_user_id, letter.instance),
            letter.class.clone().unwrap_or_else(|| letter.state.clone()),
            letter.attempts.to_string(),
            short(letter.reason.as_deref().unwrap_or_default(), 60),
            letter.closed.as_ref().map(|closed| closed.how.clone()).unwrap_or_default(),
        ]
    };
    let header = ["message", "stage", "failed", "who", "class", "attempts", "reason", ""];
    more(table(header, page.items.iter().map(row)), page.next_cursor.as_ref())
}

async fn show(app: &App, args: &ShowArgs) -> Result<(), Failure> {
    let shown = app.operate::<ShowLetter>(&app.deps().await?, &WhichLetter { id: args.id }).await?;
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
    let request = WhichResolved { ids: args.ids.clone(), filter: args.letters.with_stage(), note: args.note.clone() };
    let done = app.operate::<ResolveLetters>(&app.deps().await?, &request).await?;
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
    let request = WhichCopies { older_than: Some(Span(args.older_than)), reason: args.reason.clone() };
    let purged = app.operate::<PurgeLetters>(&app.deps().await?, &request).await?;
    app.output.result(&purged, || {
        format!("{} dead letters have no copy in the broker any more; {} dropped", purged.letters, purged.copies)
    })
}
