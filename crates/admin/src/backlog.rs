//! What waits, and what is to become of it: looked at first, written down as a plan, and then done exactly so.

use std::num::NonZeroU32;

use broca_core::PlanId;
use broca_store::{
    Backlog, BacklogAct, BacklogFilter, BacklogStep, HoldSubject, NewPlan, NewPlanItem, PlanItem, Stage, Store,
    StoreError,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::replay::PLAN_LIFE;

/// Items of one plan; with more waiting, make another one after it.
pub const AT_ONCE: u32 = 50_000;

#[derive(Debug, thiserror::Error)]
pub enum BacklogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no plan {0}: `broca backlog answer`, `catch-up` and `skip` make one")]
    NoPlan(PlanId),
    #[error("plan {0} has expired: make a new one and look at it")]
    Expired(PlanId),
    #[error("plan {0} is one of replays: `broca replay --apply {0}` carries it out")]
    Replays(PlanId),
}

/// What waits, by where, for what and how long.
pub async fn show(store: &Store, filter: &BacklogFilter) -> Result<Backlog, StoreError> {
    store.backlog(filter).await
}

/// What an act would deal with, before anything moves.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Draft {
    #[serde(flatten)]
    pub act: BacklogAct,
    pub messages: i64,
    pub conversations: usize,
    pub oldest_s: Option<u64>,
    pub youngest_s: Option<u64>,
    /// How long it takes at its pace, until the last conversation's turn comes.
    pub takes_s: Option<u64>,
    /// There is more than fits into one plan: the oldest are in this one.
    pub more: bool,
    pub warnings: Vec<String>,
    #[serde(skip)]
    new: Vec<NewPlanItem>,
    #[serde(skip)]
    asked: Value,
}

impl Draft {
    pub fn is_empty(&self) -> bool {
        self.new.is_empty()
    }
}

/// Looks at what an act comes to. Nothing is written.
pub async fn draft(store: &Store, filter: &BacklogFilter, act: BacklogAct) -> Result<Draft, StoreError> {
    match act {
        BacklogAct::Answer { per_second } | BacklogAct::CatchUp { per_second } => {
            each_conversation(store, filter, act, per_second).await
        }
        BacklogAct::Skip { .. } => each_message(store, filter, act).await,
    }
}

async fn each_conversation(
    store: &Store,
    filter: &BacklogFilter,
    act: BacklogAct,
    per_second: NonZeroU32,
) -> Result<Draft, StoreError> {
    let now = store.now().await?;
    let (waiting, more) = cut(store.waiting_conversations(filter, AT_ONCE + 1).await?);
    let age = |at| now.since(at).as_secs();
    let item = |message, replays| NewPlanItem { message, response: None, stage: Stage::Turn, replays, text: None };
    let last = u64::try_from(waiting.len().saturating_sub(1)).unwrap_or(u64::MAX);
    Ok(Draft {
        asked: json!({"backlog": filter}),
        messages: waiting.iter().map(|one| one.messages).sum(),
        conversations: waiting.len(),
        oldest_s: waiting.first().map(|one| age(one.since)),
        youngest_s: waiting.last().map(|one| age(one.since)),
        takes_s: Some(last / u64::from(per_second.get())),
        warnings: warnings(store, waiting.iter().map(|one| one.agent.as_str()).collect()).await?,
        new: waiting.iter().map(|one| item(one.message_id, one.replays)).collect(),
        more,
        act,
    })
}

async fn each_message(store: &Store, filter: &BacklogFilter, act: BacklogAct) -> Result<Draft, StoreError> {
    let now = store.now().await?;
    let (waiting, more) = cut(store.waiting_messages(filter, AT_ONCE + 1).await?);
    let age = |at| now.since(at).as_secs();
    let mut conversations: Vec<_> = waiting.iter().map(|one| one.conversation_id).collect();
    conversations.sort();
    conversations.dedup();
    let item = |message, replays| NewPlanItem { message, response: None, stage: Stage::Turn, replays, text: None };
    Ok(Draft {
        asked: json!({"backlog": filter}),
        messages: i64::try_from(waiting.len()).unwrap_or(i64::MAX),
        conversations: conversations.len(),
        oldest_s: waiting.first().map(|one| age(one.since)),
        youngest_s: waiting.last().map(|one| age(one.since)),
        takes_s: None,
        warnings: Vec::new(),
        new: waiting.iter().map(|one| item(one.message_id, one.replays)).collect(),
        more,
        act,
    })
}

fn cut<T>(mut found: Vec<T>) -> (Vec<T>, bool) {
    let most = AT_ONCE as usize;
    let more = found.len() > most;
    found.truncate(most);
    (found, more)
}

/// What makes a pace that begins now a bad idea.
async fn warnings(store: &Store, mut agents: Vec<&str>) -> Result<Vec<String>, StoreError> {
    agents.sort_unstable();
    agents.dedup();
    let pace = store.pace().await?;
    let endpoints = pace.endpoints.iter().filter(|endpoint| endpoint.breaker.opened_at.is_some());
    let mut warnings: Vec<String> = endpoints
        .map(|endpoint| {
            format!("the endpoint {} is away: the pace begins when the plan is applied, wait for it", endpoint.endpoint)
        })
        .collect();
    for agent in agents {
        let hold = store.open_hold(&HoldSubject::Agent(agent.to_owned())).await?;
        warnings.extend(hold.map(|hold| {
            format!("agent {agent} is on hold: after applying the plan, `broca hold release {}`", hold.id)
        }));
    }
    Ok(warnings)
}

/// Writes the draft down as a plan, good for [`PLAN_LIFE`].
pub async fn keep(store: &Store, draft: &Draft, actor: &str) -> Result<PlanId, StoreError> {
    let plan = NewPlan {
        actor: actor.to_owned(),
        asked: draft.asked.clone(),
        life: PLAN_LIFE,
        act: Some(draft.act.clone()),
        items: draft.new.clone(),
    };
    store.make_plan(plan).await
}

/// What became of a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    pub plan: PlanId,
    pub items: usize,
    /// By this run.
    pub done: usize,
    /// By an earlier run.
    pub done_before: usize,
    /// By any run.
    pub skipped: Vec<PlanItem>,
    /// Nothing of the plan is left; otherwise run it again.
    pub over: bool,
}

/// Carries a plan out, no new step after `until`, and tells `seen` how many items each step dealt with. A run that is cut off
/// anywhere is gone on with by running the plan again.
///
/// # Errors
/// No such plan, one of replays, or an expired one with items left; the database does not answer.
pub async fn apply(
    store: &Store,
    plan: PlanId,
    actor: &str,
    until: Option<Instant>,
    mut seen: impl FnMut(usize),
) -> Result<Report, BacklogError> {
    let items = store.plan(plan).await?.ok_or(BacklogError::NoPlan(plan))?.items;
    let mut report = Report {
        plan,
        items: items.len(),
        done: 0,
        done_before: items.iter().filter(|item| item.outcome.as_deref() == Some("done")).count(),
        skipped: items.iter().filter(|item| item.reason.is_some()).cloned().collect(),
        over: false,
    };
    loop {
        match store.backlog_next(plan, actor).await? {
            BacklogStep::Items(items) => {
                seen(items.len());
                let (skipped, done): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.reason.is_some());
                report.done += done.len();
                report.skipped.extend(skipped);
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(report);
                }
            }
            BacklogStep::Over => return Ok(Report { over: true, ..report }),
            BacklogStep::Expired { .. } => return Err(BacklogError::Expired(plan)),
            BacklogStep::Replays => return Err(BacklogError::Replays(plan)),
            BacklogStep::Unknown => return Err(BacklogError::NoPlan(plan)),
        }
    }
}

/// Ends the pace of a plan that is being carried out; says how many conversations go on at once.
pub async fn let_go(store: &Store, plan: PlanId, actor: &str) -> Result<u64, BacklogError> {
    if store.plan(plan).await?.is_none() {
        return Err(BacklogError::NoPlan(plan));
    }
    Ok(store.backlog_let_go(plan, actor).await?)
}
