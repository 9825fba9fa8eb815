//! `broca backlog`: what waits to be answered, and what is to become of it.

use std::{num::NonZeroU32, time::Duration};

use broca_admin::{
    backlog::{Draft, Report},
    operations::{
        AnswerBacklog, ApplyBacklog, CatchUpBacklog, Deps, Fate, LetGoBacklog, PlannedBacklog, PreviewBacklog,
        ShowBacklog, SkipBacklog, Span, WhichFate, WhichPaced, WhichPlan, WhichSkipped, WhichWaiting,
    },
};
use broca_core::{ConversationId, Instance, PlanId, Timestamp};
use broca_store::{Backlog, BacklogAct, BacklogGroup};

use super::{letters::age, replay::rate, send::duration};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::table,
    progress::Progress,
};

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  broca backlog                                  what waits, and how long\n  \
    broca backlog answer --rate 5 --agent support  a plan: five conversations a second\n  \
    broca backlog catch-up                         a plan: one turn for each conversation\n  \
    broca backlog skip --older-than 2h --notice \"Sorry, we were away. Please ask again.\"\n  \
    broca backlog apply PLAN                       exactly that; twice is harmless\n\n\
    answer, catch-up and skip write a plan down and show what it comes to; apply carries it out."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Plans to answer all of it, so many conversations a second
    Answer(PacedArgs),
    /// Plans to answer each conversation with one turn for all that waits in it
    CatchUp(PacedArgs),
    /// Plans to end what waits for too long without an answer; it can be replayed
    Skip(SkipArgs),
    /// Carries a plan out
    Apply(ApplyArgs),
    /// Ends the pace of a plan: what it still keeps back goes on at once
    LetGo(ApplyArgs),
}

/// Whatever is given must hold.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which")]
pub(super) struct Which {
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
    /// Waits for at least this long, e.g. 2h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    older_than: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct PacedArgs {
    /// Conversations a second; each is then answered as ever, its messages in their order
    #[arg(long, default_value = "10", value_parser = rate, value_name = "N")]
    rate: NonZeroU32,
    #[command(flatten)]
    plan: PlanArgs,
}

#[derive(Debug, clap::Args)]
struct SkipArgs {
    /// What the people are told, once for each chat [default: nothing]
    #[arg(long, value_name = "TEXT")]
    notice: Option<String>,
    /// Why; kept with each message [default: that it waited too long]
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    plan: PlanArgs,
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// Shows what it comes to, and writes no plan
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    #[arg(value_name = "PLAN")]
    plan: PlanId,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Which {
    pub(super) fn waiting(&self) -> WhichWaiting {
        let Self { platform, instance, agent, route, user, conversation, older_than } = self;
        WhichWaiting {
            instance: instance.clone(),
            platform: platform.clone(),
            agent: agent.clone(),
            route: route.clone(),
            user: user.clone(),
            conversation: *conversation,
            older_than: older_than.map(Span),
        }
    }
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let deps = app.deps().await?;
    let planned = match &args.command {
        None => {
            let now = app.operate::<ShowBacklog>(&deps, &args.which.waiting()).await?;
            return app.output.result(&now, || text(&now.backlog));
        }
        Some(Command::Apply(args)) => return apply(app, &deps, &args.plan()).await,
        Some(Command::LetGo(args)) => {
            let gone = app.operate::<LetGoBacklog>(&deps, &args.plan()).await?;
            return app.output.result(&gone, || format!("{} conversations go on at once", gone.conversations));
        }
        Some(Command::Answer(args)) if args.plan.dry_run => preview(app, &deps, args.fate(Fate::Answer)).await?,
        Some(Command::CatchUp(args)) if args.plan.dry_run => preview(app, &deps, args.fate(Fate::CatchUp)).await?,
        Some(Command::Skip(args)) if args.plan.dry_run => {
            let SkipArgs { notice, reason, plan } = args;
            let (filter, notice, reason) = (plan.which.waiting(), notice.clone(), reason.clone());
            preview(app, &deps, WhichFate { fate: Fate::Skip, filter, rate: None, notice, reason }).await?
        }
        Some(Command::Answer(args)) => app.operate::<AnswerBacklog>(&deps, &args.paced()).await?,
        Some(Command::CatchUp(args)) => app.operate::<CatchUpBacklog>(&deps, &args.paced()).await?,
        Some(Command::Skip(args)) => {
            let SkipArgs { notice, reason, plan } = args;
            let filter = plan.which.waiting();
            let request = WhichSkipped { filter, notice: notice.clone(), reason: reason.clone() };
            app.operate::<SkipBacklog>(&deps, &request).await?
        }
    };
    app.output.result(&planned, || plan_text(app, &planned.draft, planned.plan))
}

async fn preview(app: &App, deps: &Deps, request: WhichFate) -> Result<PlannedBacklog, Failure> {
    app.operate::<PreviewBacklog>(deps, &request).await
}

impl PacedArgs {
    fn paced(&self) -> WhichPaced {
        WhichPaced { filter: self.plan.which.waiting(), rate: Some(self.rate) }
    }

    fn fate(&self, fate: Fate) -> WhichFate {
        WhichFate { fate, filter: self.plan.which.waiting(), rate: Some(self.rate), notice: None, reason: None }
    }
}

impl ApplyArgs {
    fn plan(&self) -> WhichPlan {
        WhichPlan { plan: self.plan, reason: self.reason.clone() }
    }
}

fn text(backlog: &Backlog) -> String {
    let Some(oldest) = backlog.oldest() else { return "nothing waits".to_owned() };
    let header = [
        "instance",
        "agent",
        "route",
        "is",
        "messages",
        "conversations",
        "oldest",
        "<1m",
        "<10m",
        "<1h",
        "<6h",
        "<1d",
        "older",
    ];
    let row = |group: &BacklogGroup| {
        let [a, b, c, d, e, f] = group.ages.map(|count| if count == 0 { "-".to_owned() } else { count.to_string() });
        let since = |at: Timestamp| age(backlog.now.since(at).as_secs());
        [
            group.instance.to_string(),
            group.agent.clone(),
            group.route.clone(),
            group.stand.to_string(),
            group.messages.to_string(),
            group.conversations.to_string(),
            since(group.oldest),
            a,
            b,
            c,
            d,
            e,
            f,
        ]
    };
    let (messages, conversations) = (backlog.messages(), backlog.conversations);
    let all =
        format!("{messages} messages in {conversations} conversations wait, the oldest for {}", age(oldest.as_secs()));
    format!("{all}\n\n{}", table(header, backlog.groups.iter().map(row)))
}

fn plan_text(app: &App, draft: &Draft, plan: Option<PlanId>) -> String {
    if draft.is_empty() {
        return "nothing waits that nobody has begun".to_owned();
    }
    let what = match &draft.act {
        BacklogAct::Answer { per_second } => format!("are answered, {per_second} conversations a second"),
        BacklogAct::CatchUp { per_second } => {
            format!("are answered by one turn for each conversation, {per_second} a second")
        }
        BacklogAct::Skip { notice: None, .. } => "are passed over, and nobody is told".to_owned(),
        BacklogAct::Skip { notice: Some(_), .. } => {
            "are passed over, and the people are told, once for each chat".to_owned()
        }
    };
    let ages = match (draft.youngest_s, draft.oldest_s) {
        (Some(young), Some(old)) => format!("; waiting for {} to {}", age(young), age(old)),
        _ => String::new(),
    };
    let takes = draft.takes_s.map(|seconds| format!("; the last one's turn comes after {}", age(seconds)));
    let mut lines = vec![format!(
        "{} messages in {} conversations {what}{ages}{}",
        draft.messages,
        draft.conversations,
        takes.unwrap_or_default()
    )];
    if draft.more {
        lines.push("there is more: apply this, and make another plan".to_owned());
    }
    lines.extend(draft.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(plan.map(|plan| {
        let apply = app.command(&format!("backlog apply {plan}"));
        format!("\nplan {plan}, good for 24 hours: {apply}")
    }));
    lines.join("\n")
}

async fn apply(app: &App, deps: &Deps, request: &WhichPlan) -> Result<(), Failure> {
    let working = Progress::of("carrying the plan out");
    let report = app.operate::<ApplyBacklog>(deps, request).await?;
    drop(working);
    app.output.result(&report, || applied(&report))?;
    if report.skipped.is_empty() { Ok(()) } else { Err(Failure::said(Code::Partial as u8)) }
}

fn applied(report: &Report) -> String {
    let before = if report.done_before > 0 { format!(" ({} before)", report.done_before) } else { String::new() };
    let mut lines = vec![format!("done {}{before}, skipped {}", report.done, report.skipped.len())];
    let reason = |item: &broca_store::PlanItem| item.reason.clone().unwrap_or_default();
    lines.extend(report.skipped.iter().map(|item| format!("  {}: {}", item.message_id, reason(item))));
    lines.push("`broca status` shows what is left of a pace, `broca backlog` what waits".to_owned());
    lines.join("\n")
}
