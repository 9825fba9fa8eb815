//! `broca replay`: shows what it would do, and does exactly that.

use std::{collections::BTreeSet, num::NonZeroU32};

use broca_admin::{
    dead_letters::Skipped,
    replay::{self, Draft, PreviewItem, ReplayError, Report, Selection, Today},
};
use broca_core::{MessageId, PlanId};
use broca_store::{ClosedLetters, PlanItem, Store};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::letters::{LetterArgs, actor, age, short};
use crate::{
    app::App,
    failure::{Code, Failure},
};

/// More ids than this want a look first.
const AT_ONCE: usize = 20;
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
    let store = app.store().await?;
    store.check_migrated().await?;
    if let Some(plan) = args.apply {
        let report = apply(app, &store, plan, args.rate).await?;
        return tell(app, &report, &[]);
    }
    let draft = draft(app, &store, &args.selection(&store).await?).await?;
    if args.dry_run {
        return app.output.result(&json!({"plan": null, "draft": draft}), || text(&draft, None));
    }
    if args.plan {
        return keep(app, &store, &draft).await;
    }
    if draft.items.is_empty() {
        return Err(nothing(&draft.left_out));
    }
    let plan = replay::keep(&store, &draft, &actor()).await?;
    let report = apply(app, &store, plan, args.rate).await?;
    tell(app, &report, &draft.left_out)
}

impl Args {
    fn check(&self) -> Result<(), Failure> {
        let usage = |message: &str, hint: &str| Err(Failure::new(Code::Usage, message).hint(hint));
        let by_name = !self.ids.is_empty() || self.edit.is_some() || self.apply.is_some();
        if by_name && !self.letters.is_empty() {
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
        if self.ids.len() > AT_ONCE && !self.plan && !self.dry_run {
            return usage("that are many messages for one go", "make a plan of them with --plan, look, and --apply it");
        }
        Ok(())
    }

    async fn selection(&self, store: &Store) -> Result<Selection, Failure> {
        Ok(match (&self.edit, &self.text) {
            (Some(id), Some(text)) => Selection::Edited { id: *id, text: text.clone() },
            _ if !self.ids.is_empty() => Selection::Messages { ids: self.ids.clone(), stage: self.letters.stage },
            _ => Selection::Letters(self.letters.filter(store, ClosedLetters::Without).await?),
        })
    }
}

async fn draft(app: &App, store: &Store, selection: &Selection) -> Result<Draft, Failure> {
    let settings = &app.config.settings;
    let agents: BTreeSet<String> = settings.agents.keys().cloned().collect();
    let today = Today { routes: &app.routes(), agents: &agents, limits: &settings.limits };
    Ok(replay::draft(store, &today, selection).await?)
}

/// `--plan`.
async fn keep(app: &App, store: &Store, draft: &Draft) -> Result<(), Failure> {
    if draft.items.is_empty() && !draft.left_out.is_empty() {
        return Err(nothing(&draft.left_out));
    }
    let plan = if draft.items.is_empty() { None } else { Some(replay::keep(store, draft, &actor()).await?) };
    app.output.result(&json!({"plan": plan, "draft": draft}), || text(draft, plan))?;
    if draft.left_out.is_empty() { Ok(()) } else { Err(Failure::said(Code::Partial as u8)) }
}

fn nothing(left_out: &[Skipped]) -> Failure {
    let known = left_out.iter().any(|skipped| skipped.reason != "there is no such message");
    let code = if known { Code::Conflict } else { Code::NotFound };
    let reasons: Vec<String> = left_out.iter().map(|s| format!("{}: {}", s.message_id, s.reason)).collect();
    Failure::new(code, format!("nothing to replay ({})", reasons.join("; ")))
        .hint("`broca message show ID` tells what became of a message")
}

async fn apply(app: &App, store: &Store, plan: PlanId, rate: NonZeroU32) -> Result<Report, Failure> {
    let items = store.plan(plan).await?.map_or(0, |plan| plan.items.iter().filter(|i| i.outcome.is_none()).count());
    // Draws nothing unless standard error is a terminal.
    let bar = ProgressBar::with_draw_target(u64::try_from(items).ok(), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    let (mut skipped, actor) = (0_u32, actor());
    let report = replay::apply(store, plan, &actor, rate, |item| {
        skipped += u32::from(item.reason.is_some());
        bar.set_message(format!("{skipped} skipped"));
        bar.inc(1);
    });
    let report = report.await;
    bar.finish_and_clear();
    if let Ok(Report { stopped: Some(error), .. }) = &report {
        app.note(&format!(
            "stopped: {error}\n  help: run `broca replay --apply {plan}` again; what is done stays done"
        ));
    }
    Ok(report?)
}

/// Prints what became of a plan; the exit code says whether all of it was done.
fn tell(app: &App, report: &Report, left_out: &[Skipped]) -> Result<(), Failure> {
    app.output.result(&json!({"report": report, "left_out": left_out}), || {
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

fn text(draft: &Draft, plan: Option<PlanId>) -> String {
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
    lines.extend(plan.map(|plan| format!("\nplan {plan}, good for 24 hours: broca replay --apply {plan}")));
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

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let code = match &error {
            ReplayError::NoPlan(_) => Code::NotFound,
            ReplayError::Expired { .. } | ReplayError::OfBacklog(_) => Code::Conflict,
            ReplayError::Text(_) => Code::Usage,
            ReplayError::Store(_) => Code::Failure,
        };
        match error {
            ReplayError::Store(error) => error.into(),
            error => Self::new(code, error.to_string()),
        }
    }
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
