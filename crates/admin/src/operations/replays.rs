use std::num::NonZeroU32;

use broca_core::{MessageId, PlanId, rights::Access};
use broca_store::{ClosedLetters, Stage, Via};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Code, Deps, Effect, Facts, Foreseen, Operation, OperationError, WhichLetters};
use crate::{
    dead_letters::Skipped,
    replay::{self, Draft, Report, Selection},
};

/// More ids than this want a look first.
const AT_ONCE: usize = 20;
/// Items that a call by HTTP or MCP deals with, unless it says less: nobody waits for an answer for hours.
const ITEMS_A_CALL: u32 = 100;
/// A second, unless another rate is given.
const RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// Items that a forecast names.
const NAMED: usize = 10;

/// One of `ids`, `edit` with `text`, and `filter`; without any, every dead letter.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichReplayed {
    /// Messages, dead letters or not.
    pub ids: Vec<MessageId>,
    /// With ids: from the agent on (turn), or only the delivery of the stored answer; from where each is stuck unless given.
    pub stage: Option<Stage>,
    pub filter: WhichLetters,
    /// One message that is to say something else; the original is kept.
    pub edit: Option<MessageId>,
    /// What it is to say.
    pub text: Option<String>,
    /// Why, for the record.
    pub reason: Option<String>,
    /// A second, when it is done at once; 10 unless given.
    pub rate: Option<NonZeroU32>,
}

impl WhichReplayed {
    fn by_name(&self) -> bool {
        !self.ids.is_empty() || self.edit.is_some()
    }

    fn check(&self) -> Result<(), OperationError> {
        let usage = |message: &str, hint: &str| Err(OperationError::new(Code::Usage, message).hint(hint));
        if self.by_name() && !self.filter.is_everything() {
            return usage("ids and filters do not go together", "give one of the two");
        }
        if self.edit.is_some() && !self.ids.is_empty() || self.edit.is_some() != self.text.is_some() {
            return usage("an edited message is one message and its text", "give edit and text, and no ids");
        }
        if self.edit.is_some() && self.stage.is_some() {
            return usage("stage is for ids", "an edited message starts at the agent");
        }
        Ok(())
    }

    async fn selection(&self, deps: &Deps) -> Result<Selection, OperationError> {
        self.check()?;
        Ok(match (&self.edit, &self.text) {
            (Some(id), Some(text)) => Selection::Edited { id: *id, text: text.clone() },
            _ if !self.ids.is_empty() => Selection::Messages { ids: self.ids.clone(), stage: self.stage },
            _ => {
                let filter = WhichLetters { stage: self.stage.or(self.filter.stage), ..self.filter.clone() };
                Selection::Letters(filter.filter(deps, ClosedLetters::Without).await?)
            }
        })
    }

    async fn draft(&self, deps: &Deps) -> Result<Draft, OperationError> {
        Ok(replay::draft(&deps.store, &deps.today(), &self.selection(deps).await?).await?)
    }
}

/// What a replay comes to, and the plan of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedReplay {
    /// Good for 24 hours; nothing when nothing is written down.
    pub plan: Option<PlanId>,
    pub draft: Draft,
}

#[derive(Debug)]
pub struct PreviewReplay;

impl Operation for PreviewReplay {
    type Request = WhichReplayed;
    type Answer = PlannedReplay;
    const FACTS: Facts = Facts {
        name: "replay.preview",
        summary: "What a replay would send out now, beside what went out then; writes nothing down.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "replay --dry-run",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichReplayed) -> Result<PlannedReplay, OperationError> {
        request.filter.allowed(act)?;
        Ok(PlannedReplay { plan: None, draft: request.draft(act.deps).await? })
    }
}

#[derive(Debug)]
pub struct PlanReplay;

impl Operation for PlanReplay {
    type Request = WhichReplayed;
    type Answer = PlannedReplay;
    const FACTS: Facts = Facts {
        name: "replay.plan",
        summary: "Writes down what a replay comes to now and shows it; nothing moves before the plan is applied.",
        access: Access::Operate,
        effect: Effect::Changes { again: false },
        reaches_people: false,
        cli: "replay --plan",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichReplayed) -> Result<PlannedReplay, OperationError> {
        request.filter.allowed(act)?;
        let draft = request.draft(act.deps).await?;
        if draft.items.is_empty() && !draft.left_out.is_empty() {
            return Err(nothing(&draft.left_out));
        }
        let plan = match draft.items.is_empty() {
            true => None,
            false => Some(replay::keep(act.store(), &draft, act.actor()).await?),
        };
        plan.iter().for_each(|plan| act.about(plan));
        Ok(PlannedReplay { plan, draft })
    }
}

fn nothing(left_out: &[Skipped]) -> OperationError {
    let known = left_out.iter().any(|skipped| skipped.reason != "there is no such message");
    let code = if known { Code::Conflict } else { Code::NotFound };
    let reasons: Vec<String> = left_out.iter().map(|s| format!("{}: {}", s.message_id, s.reason)).collect();
    let message = match reasons.is_empty() {
        true => "nothing to replay".to_owned(),
        false => format!("nothing to replay ({})", reasons.join("; ")),
    };
    OperationError::new(code, message).hint("`broca message show ID` tells what became of a message")
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichApplied {
    pub plan: PlanId,
    /// A second, at most; 10 unless given.
    #[serde(default)]
    pub rate: Option<NonZeroU32>,
    /// Items that this call deals with at most: 100 by HTTP and MCP, all of them on the command line, unless given. The
    /// same call again goes on.
    #[serde(default)]
    pub at_most: Option<NonZeroU32>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What became of a replay.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReplayedNow {
    pub report: Report,
    /// What was asked for by id and could not be replayed.
    pub left_out: Vec<Skipped>,
}

async fn apply(
    act: &Acting<'_>,
    plan: PlanId,
    rate: Option<NonZeroU32>,
    at_most: Option<NonZeroU32>,
) -> Result<Report, OperationError> {
    act.about(plan);
    let of_a_call = (act.caller.via != Via::Cli).then_some(ITEMS_A_CALL);
    let at_most = at_most.map(NonZeroU32::get).or(of_a_call);
    let seen = |item: &broca_store::PlanItem| {
        act.about(item.message_id);
        act.deps.seen(item);
    };
    Ok(replay::apply(act.store(), plan, act.actor(), rate.unwrap_or(RATE), at_most, seen).await?)
}

#[derive(Debug)]
pub struct ApplyReplay;

impl Operation for ApplyReplay {
    type Request = WhichApplied;
    type Answer = ReplayedNow;
    const FACTS: Facts = Facts {
        name: "replay.apply",
        summary: "Replays what a plan has, each item once; run it again until nothing is left.",
        access: Access::Operate,
        effect: Effect::Destroys { again: true },
        reaches_people: true,
        cli: "replay --apply",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichApplied) -> Result<ReplayedNow, OperationError> {
        let report = apply(act, request.plan, request.rate, request.at_most).await?;
        Ok(ReplayedNow { report, left_out: Vec::new() })
    }

    async fn foresee(deps: &Deps, request: &WhichApplied) -> Result<Foreseen, OperationError> {
        let plan = deps.store.plan(request.plan).await?;
        let plan = plan.ok_or(replay::ReplayError::NoPlan(request.plan))?;
        let open: Vec<_> = plan.items.iter().filter(|item| item.outcome.is_none()).collect();
        Ok(Foreseen {
            would: format!("replay what is left of plan {}: {} of {} items", plan.id, open.len(), plan.items.len()),
            count: u64::try_from(open.len()).unwrap_or(u64::MAX),
            examples: open.iter().take(NAMED).map(|item| item.message_id.to_string()).collect(),
        })
    }
}

#[derive(Debug)]
pub struct ReplayNow;

impl Operation for ReplayNow {
    type Request = WhichReplayed;
    type Answer = ReplayedNow;
    const FACTS: Facts = Facts {
        name: "replay.now",
        summary: "Replays a few messages by their ids, or one with another text, at once.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: true,
        cli: "replay",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichReplayed) -> Result<ReplayedNow, OperationError> {
        request.at_once()?;
        let draft = request.draft(act.deps).await?;
        if draft.items.is_empty() {
            return Err(nothing(&draft.left_out));
        }
        let plan = replay::keep(act.store(), &draft, act.actor()).await?;
        let report = apply(act, plan, request.rate, None).await?;
        Ok(ReplayedNow { report, left_out: draft.left_out })
    }

    async fn foresee(deps: &Deps, request: &WhichReplayed) -> Result<Foreseen, OperationError> {
        request.at_once()?;
        let draft = request.draft(deps).await?;
        if draft.items.is_empty() {
            return Err(nothing(&draft.left_out));
        }
        let warnings = draft.summary.warnings;
        Ok(Foreseen {
            would: format!("replay {} messages, {warnings} with warnings (replay.preview has them)", draft.items.len()),
            count: u64::try_from(draft.items.len()).unwrap_or(u64::MAX),
            examples: draft.items.iter().take(NAMED).map(|item| item.message_id.to_string()).collect(),
        })
    }
}

impl WhichReplayed {
    /// A filter is looked at first, and so are many ids.
    fn at_once(&self) -> Result<(), OperationError> {
        let usage = |message: &str, hint: &str| Err(OperationError::new(Code::Usage, message).hint(hint));
        if !self.by_name() {
            return usage("look before you replay by filter", "`broca replay --plan …` shows what it comes to");
        }
        if self.ids.len() > AT_ONCE {
            return usage("that are many messages for one go", "make a plan of them with --plan, look, and --apply it");
        }
        Ok(())
    }
}
