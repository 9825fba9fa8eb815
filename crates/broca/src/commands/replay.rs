//! `broca replay`: shows what it would do, and does exactly that.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use broca_admin::{
    operations::{
        ApplyReplay, Deps, PlanReplay, PlannedReplay, PreviewReplay, ReplayNow, ReplayedNow, WhichApplied,
        WhichReplayed,
    },
    replay::PreviewItem,
};
use broca_core::{MessageId, PlanId};
use broca_store::PlanItem;

use super::letters::{LetterArgs, age, short};
use crate::{
    app::App,
    failure::{Code, Failure},
    progress::Progress,
};

/// Items that a person is shown.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  broca replay ID                                  one message, at once\n  \
    broca replay --plan --class unavailable --since 2h   what would happen; gives a plan id\n  \
    broca replay --apply PLAN --rate 5                 exactly that, 5 a second\n  \
    broca replay --edit ID --text \"…\"                  with another text; the original is kept\n\n\
    By id, --stage says where to start. Running a plan twice is harmless.\n\
    Exit code 7: some were skipped; the list says why.")]
pub(crate) struct Args {
    /// Messages, dead letters or not
    #[arg(value_name = "ID", conflicts_with_all = ["apply", "edit"])]
    ids: Vec<MessageId>,
    /// Writes down what the ids or filters come to now, and shows it; without either, every dead letter
    #[arg(long, conflicts_with_all = ["apply", "edit"])]
    plan: bool,
    /// Runs a plan
    #[arg(long, value_name = "PLAN")]
    apply: Option<PlanId>,
    /// Replays one message with another text
    #[arg(long, value_name = "ID", requires = "text")]
    edit: Option<MessageId>,
    #[arg(long, requires = "edit")]
    text: Option<String>,
    /// Shows what would happen, and writes nothing
    #[arg(long, conflicts_with = "apply")]
    dry_run: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// At most this many a second
    #[arg(long, default_value = "10", value_parser = rate, value_name = "N")]
    rate: NonZeroU32,
    #[command(flatten)]
    letters: LetterArgs,
}

pub(super) fn rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().map_err(|_| format!("'{text}' is no rate: use e.g. 5 or 5/s"))
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    args.check()?;
    let (deps, which) = (app.deps().await?, args.which());
    if let Some(plan) = args.apply {
        let request = WhichApplied { plan, rate: Some(args.rate), at_most: None, reason: args.reason.clone() };
        let items = deps.store.plan(plan).await?.map(|plan| plan.items).unwrap_or_default();
        let (deps, bar) = watched(deps, items.iter().filter(|item| item.outcome.is_none()).count());
        let done = app.operate::<ApplyReplay>(&deps, &request).await;
        drop(bar);
        return tell(app, &done?);
    }
    if args.dry_run {
        let draft = app.operate::<PreviewReplay>(&deps, &which).await?;
        return app.output.result(&draft, || text(app, &draft));
    }
    if args.plan {
        let planned = app.operate::<PlanReplay>(&deps, &which).await?;
        app.output.result(&planned, || text(app, &planned))?;
        return if planned.draft.left_out.is_empty() { Ok(()) } else { Err(Failure::said(Code::Partial as u8)) };
    }
    let (deps, bar) = watched(deps, which.ids.len());
    let done = app.operate::<ReplayNow>(&deps, &which).await;
    drop(bar);
    tell(app, &done?)
}

/// Shows how far it is.
fn watched(deps: Deps, items: usize) -> (Deps, Progress) {
    let progress = Progress::steps(items);
    let (skipped, drawn) = (AtomicU32::new(0), progress.bar());
    let deps = deps.watched(move |item| {
        let one = u32::from(item.reason.is_some());
        let skipped = skipped.fetch_add(one, Ordering::Relaxed) + one;
        drawn.set_message(format!("{skipped} skipped"));
        drawn.inc(1);
    });
    (deps, progress)
}

impl Args {
    fn check(&self) -> Result<(), Failure> {
        let usage = |message: &str, hint: &str| Err(Failure::new(Code::Usage, message).hint(hint));
        let by_name = !self.ids.is_empty() || self.edit.is_some() || self.apply.is_some();
        if by_name && !self.letters.which().is_everything() {
            return usage("ids and filters do not go together", "give one of the two");
        }
        if (self.apply.is_some() || self.edit.is_some()) && self.letters.stage.is_some() {
            return usage(
                "--stage is for ids and --plan",
                "a plan knows its stages; an edited message starts at the agent",
            );
        }
        if !by_name && !self.plan && !self.dry_run {
            return usage("look before you replay by filter", "`broca replay --plan …` shows what it comes to");
        }
        Ok(())
    }

    fn which(&self) -> WhichReplayed {
        WhichReplayed {
            ids: self.ids.clone(),
            stage: self.letters.stage,
            filter: self.letters.which(),
            edit: self.edit,
            text: self.text.clone(),
            reason: self.reason.clone(),
            rate: Some(self.rate),
        }
    }
}

/// Prints what became of a plan; the exit code says whether all of it was done.
fn tell(app: &App, done: &ReplayedNow) -> Result<(), Failure> {
    let ReplayedNow { report, left_out } = done;
    if let Some(error) = &report.stopped {
        let plan = report.plan;
        app.note(&format!(
            "stopped: {error}\n  help: run `broca replay --apply {plan}` again; what is done stays done"
        ));
    }
    app.output.result(done, || {
        let before =
            if report.replayed_before > 0 { format!(" ({} before)", report.replayed_before) } else { String::new() };
        let mut lines =
            vec![format!("replayed {}{before}, skipped {}", report.replayed, report.skipped.len() + left_out.len())];
        let reason = |item: &PlanItem| item.reason.clone().unwrap_or_default();
        lines.extend(
            report.skipped.iter().map(|item| format!("  {} {}: {}", item.message_id, item.stage, reason(item))),
        );
        lines.extend(left_out.iter().map(|skipped| format!("  {}: {}", skipped.message_id, skipped.reason)));
        if report.left > 0 {
            lines.push(format!("{} are left", report.left));
        }
        lines.join("\n")
    })?;
    if report.stopped.is_some() {
        return Err(Failure::said(Code::Unavailable as u8));
    }
    if report.skipped.is_empty() && left_out.is_empty() { Ok(()) } else { Err(Failure::said(Code::Partial as u8)) }
}

fn text(app: &App, PlannedReplay { plan, draft }: &PlannedReplay) -> String {
    let summary = &draft.summary;
    if draft.items.is_empty() && draft.left_out.is_empty() {
        return "nothing to replay".to_owned();
    }
    let stages: Vec<String> = summary.stages.iter().map(|(stage, n)| format!("{n} at stage {stage}")).collect();
    let ages = match (summary.youngest_s, summary.oldest_s) {
        (Some(young), Some(old)) => format!("; {} to {} old", age(young), age(old)),
        _ => String::new(),
    };
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut lines = vec![format!(
        "{} in {}: {}{ages}; {} with warnings",
        count(summary.messages, "message"),
        count(summary.conversations, "conversation"),
        stages.join(", "),
        summary.warnings
    )];
    if summary.more {
        lines.push("there are more: replay these, and make another plan".to_owned());
    }
    lines.extend(draft.items.iter().take(SHOWN).flat_map(item));
    if draft.items.len() > SHOWN {
        lines.push(format!("… and {} more; --json has all of them", draft.items.len() - SHOWN));
    }
    lines.extend(draft.left_out.iter().map(|skipped| format!("not {}: {}", skipped.message_id, skipped.reason)));
    lines.extend(plan.map(|plan| {
        let apply = app.command(&format!("replay --apply {plan}"));
        format!("\nplan {plan}, good for 24 hours: {apply}")
    }));
    lines.join("\n")
}

fn item(item: &PreviewItem) -> Vec<String> {
    let why = item.class.as_deref().map(|class| format!(", {class}")).unwrap_or_default();
    let mode = item.now.mode.map(|mode| format!(", {}", format!("{mode:?}").to_lowercase())).unwrap_or_default();
    let mut lines = vec![
        format!(
            "\n{}. {} at stage {}: {} on {}, {} old, {}{why}",
            item.n,
            item.message_id,
            item.stage,
            item.platform_user_id,
            item.instance,
            age(item.age_s),
            item.state
        ),
        format!("   then ({}, agent {}): {}", item.then.route, item.then.agent, short(&item.then.line, 100)),
        format!("   now  ({}, agent {}{mode}): {}", item.now.route, item.now.agent, short(&item.now.line, 100)),
    ];
    lines.extend(item.warnings.iter().map(|warning| format!("   warning: {warning}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_a_second() {
        assert_eq!(rate("5/s").map(NonZeroU32::get), Ok(5));
        assert_eq!(rate("7").map(NonZeroU32::get), Ok(7));
        for bad in ["0", "-1", "5/m", ""] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
