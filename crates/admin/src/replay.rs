//! Replay: first what it would do, then exactly that.
//!
//! A draft is what a selection comes to now. Kept, it is a plan: its items run one by one, in its order, each at
//! most once. The order is each conversation's own; between conversations the items take turns, so that a long one
//! keeps nobody waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

use broca_core::{ConversationId, Limits, MessageId, MessageState, PlanId, Refusal, Timestamp, format::sanitize};
use broca_store::{Letter, LetterFilter, NewPlan, NewPlanItem, PlanItem, Replayed, Stage, Store, StoreError};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::dead_letters::{Skipped, all, stuck_at};
use crate::preview::preview;
pub use crate::preview::{PreviewItem, Sent, Today};

/// A plan may be applied for this long: what it showed may not be so any more afterwards.
pub const PLAN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What is to be replayed.
#[derive(Clone, Debug)]
pub enum Selection {
    /// Open dead letters.
    Letters(LetterFilter),
    /// These messages, dead letters or not, from a stage on; without one, from where they are stuck.
    Messages { ids: Vec<MessageId>, stage: Option<Stage> },
    /// One message, with another text. The original is kept.
    Edited { id: MessageId, text: String },
}

impl Selection {
    fn asked(&self) -> Value {
        match self {
            Self::Letters(filter) => json!({"letters": filter}),
            Self::Messages { ids, stage } => json!({"messages": ids, "stage": stage}),
            Self::Edited { id, .. } => json!({"edited": id}),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no plan {0}: `broca replay --plan` makes one")]
    NoPlan(PlanId),
    #[error("plan {0} replays nothing: `broca backlog apply {0}` carries it out")]
    OfBacklog(PlanId),
    #[error("plan {plan} has expired: make a new one with `broca replay --plan` and look at it")]
    Expired { plan: PlanId },
    #[error("the new text cannot be used: {0}")]
    Text(#[from] Refusal),
}

/// What a selection comes to, before anything moves.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Draft {
    pub summary: Summary,
    pub items: Vec<PreviewItem>,
    /// What was asked for by id and cannot be replayed.
    pub left_out: Vec<Skipped>,
    #[serde(skip)]
    new: Vec<NewPlanItem>,
    #[serde(skip)]
    asked: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Summary {
    pub messages: usize,
    pub conversations: usize,
    pub stages: BTreeMap<Stage, usize>,
    pub youngest_s: Option<u64>,
    pub oldest_s: Option<u64>,
    /// How many items have one.
    pub warnings: usize,
    /// The selection has more than fit into one plan: the newest are in this one.
    pub more: bool,
}

/// Looks at what a selection comes to. Nothing is written.
pub async fn draft(store: &Store, today: &Today<'_>, selection: &Selection) -> Result<Draft, ReplayError> {
    let mut left_out = Vec::new();
    let (letters, text, more) = match selection {
        Selection::Letters(filter) => {
            let (letters, more) = all(store, filter).await?;
            (letters, None, more)
        }
        Selection::Messages { ids, stage } => {
            let mut letters = Vec::with_capacity(ids.len());
            for id in ids.iter().copied().collect::<BTreeSet<_>>() {
                match start_of(&store.stages_of(id).await?, *stage) {
                    Ok(letter) => letters.push(letter),
                    Err(reason) => left_out.push(Skipped { message_id: id, reason }),
                }
            }
            (letters, None, false)
        }
        Selection::Edited { id, text } => match start_of(&store.stages_of(*id).await?, Some(Stage::Turn)) {
            Ok(letter) => (vec![letter], Some(checked(text, today.limits)?), false),
            Err(reason) => {
                left_out.push(Skipped { message_id: *id, reason });
                (Vec::new(), None, false)
            }
        },
    };
    let (letters, now) = (in_turns(letters), store.now().await?);
    let items: Vec<PreviewItem> = (1..)
        .zip(&letters)
        .map(|(n, letter)| PreviewItem { n, ..preview(today, letter, text.as_deref(), now) })
        .collect();
    let new = letters.iter().map(|letter| new_item(letter, text.clone())).collect();
    Ok(Draft { summary: summary(&items, more), items, left_out, new, asked: selection.asked() })
}

/// An edited text obeys the rules of an accepted one.
fn checked(text: &str, limits: &Limits) -> Result<String, Refusal> {
    if text.len() > limits.max_text_bytes {
        return Err(Refusal::TooLong { bytes: text.len(), limit: limits.max_text_bytes });
    }
    Some(sanitize(text)).filter(|text| !text.is_empty()).ok_or(Refusal::Empty)
}

/// Where a message asked for by id starts.
fn start_of(stages: &[Letter], stage: Option<Stage>) -> Result<Letter, String> {
    let at = |stage: Stage| stages.iter().find(|letter| letter.stage == stage);
    let Some(turn) = at(Stage::Turn) else { return Err("there is no such message".to_owned()) };
    let state: MessageState = turn.state.parse().map_err(|error: broca_core::state::UnknownState| error.to_string())?;
    match (stage, stuck_at(stages)) {
        (Some(Stage::Delivery), _) => {
            at(Stage::Delivery).cloned().ok_or_else(|| "it has no answer to deliver".to_owned())
        }
        _ if !state.is_terminal() => Err(format!("it is {state}: only what has ended is replayed")),
        (Some(Stage::Turn), _) => Ok(turn.clone()),
        (None, Some(stuck)) => Ok(stuck.clone()),
        (None, None) if state == MessageState::Completed => {
            Err("it is completed: to have the agent asked again, add --stage turn".to_owned())
        }
        (None, None) => Ok(turn.clone()),
    }
}

fn new_item(letter: &Letter, text: Option<String>) -> NewPlanItem {
    NewPlanItem {
        message: letter.message_id,
        response: letter.response_id,
        stage: letter.stage,
        replays: letter.replays,
        text,
    }
}

/// First the first of each conversation, the oldest first, then the second of each, and so on.
fn in_turns(letters: Vec<Letter>) -> Vec<Letter> {
    let mut conversations: BTreeMap<ConversationId, Vec<Letter>> = BTreeMap::new();
    for letter in letters {
        conversations.entry(letter.conversation_id).or_default().push(letter);
    }
    let mut ranked: Vec<(usize, Timestamp, Letter)> = Vec::new();
    for mut letters in conversations.into_values() {
        letters.sort_by_key(|letter| letter.seq);
        ranked.extend((0..).zip(letters).map(|(rank, letter)| (rank, letter.received_at, letter)));
    }
    ranked.sort_by_key(|(rank, received_at, letter)| (*rank, *received_at, letter.message_id));
    ranked.into_iter().map(|(_, _, letter)| letter).collect()
}

fn summary(items: &[PreviewItem], more: bool) -> Summary {
    let mut stages = BTreeMap::new();
    for item in items {
        *stages.entry(item.stage).or_default() += 1;
    }
    Summary {
        messages: items.len(),
        conversations: items.iter().map(|item| item.conversation_id).collect::<BTreeSet<_>>().len(),
        stages,
        youngest_s: items.iter().map(|item| item.age_s).min(),
        oldest_s: items.iter().map(|item| item.age_s).max(),
        warnings: items.iter().filter(|item| !item.warnings.is_empty()).count(),
        more,
    }
}

/// Writes the draft down as a plan, good for [`PLAN_LIFE`].
pub async fn keep(store: &Store, draft: &Draft, actor: &str) -> Result<PlanId, ReplayError> {
    let (actor, asked) = (actor.to_owned(), draft.asked.clone());
    Ok(store.make_plan(NewPlan { actor, asked, life: PLAN_LIFE, act: None, items: draft.new.clone() }).await?)
}

/// What became of a plan.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Report {
    pub plan: PlanId,
    pub items: usize,
    /// By this run.
    pub replayed: usize,
    /// By an earlier run.
    pub replayed_before: usize,
    /// By any run.
    pub skipped: Vec<PlanItem>,
    /// Not yet dealt with.
    pub left: usize,
    /// Why the run ended early; run the plan again.
    pub stopped: Option<String>,
}

/// Runs a plan, `per_second` items at most and `at_most` of them in this run, and tells `seen` of each item that it dealt with. A run that is cut off
/// anywhere is gone on with by running the plan again.
///
/// # Errors
/// No such plan, or an expired one with items left. A database that goes away in the middle is [`Report::stopped`].
pub async fn apply(
    store: &Store,
    plan: PlanId,
    actor: &str,
    per_second: NonZeroU32,
    at_most: Option<u32>,
    mut seen: impl FnMut(&PlanItem),
) -> Result<Report, ReplayError> {
    let items = store.plan(plan).await?.ok_or(ReplayError::NoPlan(plan))?.items;
    let before = |outcome: &str| items.iter().filter(|item| item.outcome.as_deref() == Some(outcome)).count();
    let mut report = Report {
        plan,
        items: items.len(),
        replayed: 0,
        replayed_before: before("replayed"),
        skipped: items.iter().filter(|item| item.outcome.as_deref() == Some("skipped")).cloned().collect(),
        left: 0,
        stopped: None,
    };
    let mut pace = interval(Duration::from_secs(1) / per_second.get());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..at_most.unwrap_or(u32::MAX) {
        pace.tick().await;
        match store.replay_next(plan, actor).await {
            Ok(Replayed::Item(item)) => {
                seen(&item);
                if item.reason.is_some() {
                    report.skipped.push(item);
                } else {
                    report.replayed += 1;
                }
            }
            Ok(Replayed::Over) => break,
            Ok(Replayed::Expired { .. }) => return Err(ReplayError::Expired { plan }),
            Ok(Replayed::OfBacklog) => return Err(ReplayError::OfBacklog(plan)),
            Ok(Replayed::Unknown) => return Err(ReplayError::NoPlan(plan)),
            Err(error) => {
                report.stopped = Some(error.to_string());
                break;
            }
        }
    }
    let dealt_with = report.replayed + report.replayed_before + report.skipped.len();
    report.left = report.items.saturating_sub(dealt_with);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use broca_core::Timestamp;

    use super::*;

    fn letter(conversation: &str, seq: i64, received_at: i64) -> Letter {
        Letter {
            message_id: MessageId::new(),
            stage: Stage::Turn,
            response_id: None,
            state: "failed".to_owned(),
            class: None,
            reason: None,
            attempts: 1,
            replays: 0,
            failed_at: None,
            received_at: Timestamp(received_at),
            conversation_id: ConversationId::of("default", conversation),
            seq,
            agent: "default".to_owned(),
            route: "default".to_owned(),
            instance: "cli".parse().unwrap(),
            platform: "cli".to_owned(),
            platform_user_id: conversation.to_owned(),
            username: None,
            chat_id: None,
            is_group: false,
            text: String::new(),
            answer: None,
            closed: None,
        }
    }

    #[test]
    fn conversations_take_turns_and_keep_their_order() {
        let letters = vec![letter("a", 9, 3), letter("b", 1, 2), letter("a", 2, 4), letter("a", 5, 1)];
        let order: Vec<_> = in_turns(letters).into_iter().map(|l| (l.platform_user_id, l.seq)).collect();
        assert_eq!(order, [("b".to_owned(), 1), ("a".to_owned(), 2), ("a".to_owned(), 5), ("a".to_owned(), 9)]);
    }

    #[test]
    fn a_message_starts_where_it_is_stuck() {
        let turn = |state: &str| Letter { state: state.to_owned(), ..letter("a", 1, 1) };
        let answer = |state: &str| Letter { stage: Stage::Delivery, ..turn(state) };
        let stage = |stages: &[Letter], stage| start_of(stages, stage).map(|letter| letter.stage);
        assert_eq!(stage(&[turn("failed")], None), Ok(Stage::Turn));
        assert_eq!(stage(&[turn("stored")], None), Ok(Stage::Turn));
        assert_eq!(stage(&[turn("completed"), answer("dead")], None), Ok(Stage::Delivery));
        assert_eq!(stage(&[turn("completed"), answer("dead")], Some(Stage::Turn)), Ok(Stage::Turn));
        // An older answer that failed does not matter once a newer one arrived.
        for refused in [
            start_of(&[], None),
            start_of(&[turn("processing")], None),
            start_of(&[turn("held")], Some(Stage::Turn)),
            start_of(&[turn("completed"), answer("delivered"), answer("dead")], None),
            start_of(&[turn("failed")], Some(Stage::Delivery)),
        ] {
            assert!(refused.is_err(), "{refused:?}");
        }
    }

    #[test]
    fn an_edited_text_is_checked_like_any() {
        let limits = Limits { max_text_bytes: 5, ..Limits::default() };
        assert_eq!(checked(" a\0b ", &limits), Ok("ab".to_owned()));
        assert_eq!(checked(" ", &limits), Err(Refusal::Empty));
        assert!(matches!(checked("123456", &limits), Err(Refusal::TooLong { .. })));
    }
}
