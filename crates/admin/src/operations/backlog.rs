use std::{num::NonZeroU32, time::Duration};

use broca_core::{ConversationId, Instance, PlanId, rights::Access};
use broca_store::{Backlog, BacklogAct, BacklogFilter, Via};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Acting, Code, Deps, Effect, Facts, Foreseen, Operation, OperationError, Span, age};
use crate::backlog::{self, BacklogError, Draft, Report};

/// A call by HTTP or MCP works for so long at most; the same call again goes on.
const LONGEST: Duration = Duration::from_secs(20);
/// Conversations a second, unless another rate is given.
const RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// Items that a forecast names.
const NAMED: usize = 10;

/// Whatever is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichWaiting {
    /// The platform, e.g. telegram.
    pub platform: Option<String>,
    /// The plugin instance.
    pub instance: Option<Instance>,
    /// The agent, by its name in the settings.
    pub agent: Option<String>,
    /// The route, by its name in the settings.
    pub route: Option<String>,
    /// The person, by the platform's id.
    pub user: Option<String>,
    pub conversation: Option<ConversationId>,
    /// Waits for at least this long.
    pub older_than: Option<Span>,
}

impl WhichWaiting {
    /// Whether nothing is given: all that waits is meant.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn filter(&self) -> BacklogFilter {
        let Self { platform, instance, agent, route, user, conversation, older_than } = self.clone();
        let older_than = older_than.map(|span| span.0);
        BacklogFilter { instance, platform, agent, route, user, conversation, older_than }
    }
}

/// What waits to be answered.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WaitingNow {
    pub messages: i64,
    /// How long the oldest waits; nothing when nothing waits.
    pub oldest_s: Option<u64>,
    pub backlog: Backlog,
}

#[derive(Debug)]
pub struct ShowBacklog;

impl Operation for ShowBacklog {
    type Request = WhichWaiting;
    type Answer = WaitingNow;
    const FACTS: Facts = Facts {
        name: "backlog.show",
        summary: "What waits to be answered, where, for what and how long. Reads all of it.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "backlog",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichWaiting) -> Result<WaitingNow, OperationError> {
        let backlog = backlog::show(act.store(), &request.filter()).await?;
        let oldest_s = backlog.oldest().map(|age| age.as_secs());
        Ok(WaitingNow { messages: backlog.messages(), oldest_s, backlog })
    }
}

/// What is to become of what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is answered as ever, so many conversations a second.
    Answer,
    /// Each conversation is answered with one turn for all that waits in it; likewise.
    CatchUp,
    /// It ends without an answer.
    Skip,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichFate {
    pub fate: Fate,
    #[serde(default)]
    pub filter: WhichWaiting,
    /// Conversations a second, when they are answered; 10 unless given.
    #[serde(default)]
    pub rate: Option<NonZeroU32>,
    /// What the people are told, when it is skipped.
    #[serde(default)]
    pub notice: Option<String>,
    /// Why it is skipped.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What waits, and how fast it is to be answered.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichPaced {
    pub filter: WhichWaiting,
    /// Conversations a second; 10 unless given.
    pub rate: Option<NonZeroU32>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichSkipped {
    /// `older_than` must be in it.
    pub filter: WhichWaiting,
    /// What the people are told, once for each chat; nothing unless given.
    pub notice: Option<String>,
    /// Why; kept with each message. That it waited too long, unless given.
    pub reason: Option<String>,
}

impl WhichSkipped {
    /// A plan without an age would end whatever came a moment ago, too.
    fn act(&self) -> Result<BacklogAct, OperationError> {
        let Some(older_than) = self.filter.older_than else {
            return Err(OperationError::new(Code::Usage, "say how old is too old")
                .hint("`broca backlog` shows the ages; e.g. `broca backlog skip --older-than 2h`"));
        };
        let usual = || format!("passed over: it had waited for more than {}", age(older_than.0.as_secs()));
        let reason = self.reason.clone().unwrap_or_else(usual);
        let notice = self.notice.as_deref().map(str::trim).map(str::to_owned);
        if notice.as_deref() == Some("") {
            return Err(OperationError::new(Code::Usage, "the notice has no text").hint("leave it out to say nothing"));
        }
        Ok(BacklogAct::Skip { reason, notice })
    }
}

/// What an act comes to, and the plan of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedBacklog {
    /// Good for 24 hours; nothing when nothing is written down.
    pub plan: Option<PlanId>,
    pub draft: Draft,
}

#[derive(Debug)]
pub struct PreviewBacklog;

impl Operation for PreviewBacklog {
    type Request = WhichFate;
    type Answer = PlannedBacklog;
    const FACTS: Facts = Facts {
        name: "backlog.preview",
        summary: "What it comes to to answer, catch up with or skip what waits; writes nothing down.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "backlog answer --dry-run",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichFate) -> Result<PlannedBacklog, OperationError> {
        let WhichFate { fate, filter, rate, notice, reason } = request.clone();
        let per_second = rate.unwrap_or(RATE);
        let wanted = match fate {
            Fate::Answer => BacklogAct::Answer { per_second },
            Fate::CatchUp => BacklogAct::CatchUp { per_second },
            Fate::Skip => WhichSkipped { filter, notice, reason }.act()?,
        };
        Ok(PlannedBacklog { plan: None, draft: backlog::draft(act.store(), &request.filter.filter(), wanted).await? })
    }
}

async fn plan(act: &Acting<'_>, filter: &WhichWaiting, wanted: BacklogAct) -> Result<PlannedBacklog, OperationError> {
    let draft = backlog::draft(act.store(), &filter.filter(), wanted).await?;
    let plan = match draft.is_empty() {
        true => None,
        false => Some(backlog::keep(act.store(), &draft, act.actor()).await?),
    };
    plan.iter().for_each(|plan| act.about(plan));
    Ok(PlannedBacklog { plan, draft })
}

#[derive(Debug)]
pub struct AnswerBacklog;

impl Operation for AnswerBacklog {
    type Request = WhichPaced;
    type Answer = PlannedBacklog;
    const FACTS: Facts = Facts {
        name: "backlog.answer",
        summary: "Writes down a plan to answer all that waits, so many conversations a second; nothing moves before it is applied.",
        access: Access::Operate,
        effect: Effect::Changes { again: false },
        reaches_people: false,
        cli: "backlog answer",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPaced) -> Result<PlannedBacklog, OperationError> {
        plan(act, &request.filter, BacklogAct::Answer { per_second: request.rate.unwrap_or(RATE) }).await
    }
}

#[derive(Debug)]
pub struct CatchUpBacklog;

impl Operation for CatchUpBacklog {
    type Request = WhichPaced;
    type Answer = PlannedBacklog;
    const FACTS: Facts = Facts {
        name: "backlog.catch_up",
        summary: "Writes down a plan to answer each conversation with one turn for all that waits in it; nothing moves before it is applied.",
        access: Access::Operate,
        effect: Effect::Changes { again: false },
        reaches_people: false,
        cli: "backlog catch-up",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPaced) -> Result<PlannedBacklog, OperationError> {
        plan(act, &request.filter, BacklogAct::CatchUp { per_second: request.rate.unwrap_or(RATE) }).await
    }
}

#[derive(Debug)]
pub struct SkipBacklog;

impl Operation for SkipBacklog {
    type Request = WhichSkipped;
    type Answer = PlannedBacklog;
    const FACTS: Facts = Facts {
        name: "backlog.skip",
        summary: "Writes down a plan to end what waits for too long without an answer; nothing moves before it is applied.",
        access: Access::Operate,
        effect: Effect::Changes { again: false },
        reaches_people: false,
        cli: "backlog skip",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichSkipped) -> Result<PlannedBacklog, OperationError> {
        plan(act, &request.filter, request.act()?).await
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichPlan {
    pub plan: PlanId,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug)]
pub struct ApplyBacklog;

impl Operation for ApplyBacklog {
    type Request = WhichPlan;
    type Answer = Report;
    const FACTS: Facts = Facts {
        name: "backlog.apply",
        summary: "Carries a plan for what waits out, each item once; run it again until it is over.",
        access: Access::Operate,
        effect: Effect::Destroys { again: true },
        reaches_people: true,
        cli: "backlog apply",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPlan) -> Result<Report, OperationError> {
        let plan = request.plan;
        act.about(plan);
        let until = (act.caller.via != Via::Cli).then(|| Instant::now() + LONGEST);
        let mut done = 0;
        let report = backlog::apply(act.store(), plan, act.actor(), until, |items| done += items).await;
        report.map_err(|error| match error {
            BacklogError::Store(error) if done > 0 => OperationError::from(error)
                .hint(format!("{done} items are done; run `broca backlog apply {plan}` again for the rest")),
            error => error.into(),
        })
    }

    async fn foresee(deps: &Deps, request: &WhichPlan) -> Result<Foreseen, OperationError> {
        let plan = deps.store.plan(request.plan).await?.ok_or(BacklogError::NoPlan(request.plan))?;
        let open: Vec<_> = plan.items.iter().filter(|item| item.outcome.is_none()).collect();
        Ok(Foreseen {
            would: format!("carry out what is left of plan {}: {} of {} items", plan.id, open.len(), plan.items.len()),
            count: u64::try_from(open.len()).unwrap_or(u64::MAX),
            examples: open.iter().take(NAMED).map(|item| item.message_id.to_string()).collect(),
        })
    }
}

/// What goes on without a pace.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LetGo {
    pub plan: PlanId,
    pub conversations: u64,
}

#[derive(Debug)]
pub struct LetGoBacklog;

impl Operation for LetGoBacklog {
    type Request = WhichPlan;
    type Answer = LetGo;
    const FACTS: Facts = Facts {
        name: "backlog.let_go",
        summary: "Ends the pace of a plan: what it still keeps back goes on at once.",
        access: Access::Operate,
        effect: Effect::Changes { again: true },
        reaches_people: true,
        cli: "backlog let-go",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPlan) -> Result<LetGo, OperationError> {
        act.about(request.plan);
        let conversations = backlog::let_go(act.store(), request.plan, act.actor()).await?;
        Ok(LetGo { plan: request.plan, conversations })
    }
}
