//! `broca retention`: how long things are kept, and the removal of what is over.

use broca_admin::{
    operations::{PlanRetention, RemovedNow, RunRetention, ShowRetention, WhichRemoved, WhichRetention},
    retention::{Planned, Shown},
};
use broca_store::Removed;

use super::letters::age;
use crate::{
    app::App,
    failure::{Code, Failure},
    output::pairs,
    progress::Progress,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// How long things are kept, and how much there is
    Show,
    /// Removes what is over for long enough, at once
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Changes nothing; says what would go
    #[arg(long)]
    dry_run: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::Show => {
            let shown = app.operate::<ShowRetention>(&deps, &WhichRetention {}).await?;
            app.output.result(&shown, || text(&shown))
        }
        Command::Run(RunArgs { dry_run: true, .. }) => {
            let planned = app.operate::<PlanRetention>(&deps, &WhichRetention {}).await?;
            app.output.result(&planned, || would_go(&planned))
        }
        Command::Run(RunArgs { dry_run: false, reason }) => {
            let working = Progress::of("removing what is over");
            let done = app.operate::<RunRetention>(&deps, &WhichRemoved { reason: reason.clone() }).await?;
            drop(working);
            let RemovedNow { removed, stopped, .. } = &done;
            app.output.result(&done, || gone(removed))?;
            match stopped {
                Some(error) => {
                    app.note(&format!("cut short: {error}\n  help: run it again: it goes on"));
                    Err(Failure::said(Code::Partial as u8))
                }
                None => Ok(()),
            }
        }
    }
}

fn text(shown: &Shown) -> String {
    let days = |days: Option<u64>| days.map_or_else(|| "for ever".to_owned(), |days| format!("{days} days"));
    let policy = &shown.policy;
    let oldest = shown
        .kept
        .oldest_message
        .map_or_else(String::new, |at| format!(", the oldest {} old", age(shown.now.since(at).as_secs())));
    pairs(&[
        ["messages".to_owned(), days(policy.messages_days)],
        ["dead letters, dealt with".to_owned(), days(policy.dead_letters_days)],
        ["dead letters, open".to_owned(), days(policy.open_dead_letters_days)],
        [
            "messages at most".to_owned(),
            policy.max_messages.map_or_else(|| "any number".to_owned(), |most| most.to_string()),
        ],
        [
            "steps of ended messages".to_owned(),
            policy.events_days.map_or_else(|| "as long as their message".to_owned(), |n| format!("{n} days")),
        ],
        ["plans, holds and codes".to_owned(), days(policy.records_days)],
        ["the audit log".to_owned(), days(policy.audit_days)],
        ["events are known for".to_owned(), days(Some(policy.dedupe_days))],
        ["there are".to_owned(), format!("{} messages{oldest}", shown.kept.messages)],
        [String::new(), format!("{} dead letters, open", shown.kept.open_dead_letters)],
        [String::new(), format!("{} steps", shown.kept.events)],
        [String::new(), format!("{} removed messages whose events are still known", shown.kept.marks)],
    ])
}

fn would_go(planned: &Planned) -> String {
    if *planned == Planned::default() {
        return "nothing would go".to_owned();
    }
    format!("would go: {}", planned.sentence())
}

fn gone(removed: &Removed) -> String {
    let rows: Vec<String> = removed
        .kinds()
        .into_iter()
        .filter(|(_, rows)| *rows > 0)
        .map(|(kind, rows)| format!("{rows} {}", kind.replace('_', " ")))
        .collect();
    if rows.is_empty() { "nothing was to go".to_owned() } else { format!("removed {}", rows.join(", ")) }
}
