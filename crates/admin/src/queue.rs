//! What waits to be answered, one by one, and its end on somebody's word.

use broca_core::{MessageId, MessageState, PlanId};
use broca_store::{BacklogAct, BacklogFilter, Cancelled, Store, StoreError};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use crate::backlog::{self, BacklogError};

/// Which of what waits is to end.
#[derive(Clone, Debug)]
pub enum Flush<'a> {
    Ids(&'a [MessageId]),
    All(&'a BacklogFilter),
}

/// What was ended, and what was not.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Flushed {
    pub flushed: usize,
    /// What `flushed` is about, where it was chosen by a filter.
    pub plan: Option<PlanId>,
    pub skipped: Vec<NotFlushed>,
    /// There is more, or time was up: run it again.
    pub more: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NotFlushed {
    pub message_id: MessageId,
    pub reason: String,
}

/// Ends messages that nobody has begun, each with `reason`; they can be replayed. By a filter, no new step is begun after
/// `until`.
///
/// # Errors
/// The database does not answer; what is done stays done.
pub async fn flush(
    store: &Store,
    which: Flush<'_>,
    actor: &str,
    reason: &str,
    until: Option<Instant>,
) -> Result<Flushed, BacklogError> {
    match which {
        Flush::Ids(ids) => Ok(each(store, ids, reason).await?),
        Flush::All(filter) => {
            let act = BacklogAct::Skip { reason: reason.to_owned(), notice: None };
            let draft = backlog::draft(store, filter, act).await?;
            if draft.is_empty() {
                return Ok(Flushed::default());
            }
            let plan = backlog::keep(store, &draft, actor).await?;
            let report = backlog::apply(store, plan, actor, until, |_| {}).await?;
            let skipped = report
                .skipped
                .into_iter()
                .map(|item| NotFlushed { message_id: item.message_id, reason: item.reason.unwrap_or_default() });
            let more = draft.more || !report.over;
            Ok(Flushed { flushed: report.done, plan: Some(plan), skipped: skipped.collect(), more })
        }
    }
}

async fn each(store: &Store, ids: &[MessageId], reason: &str) -> Result<Flushed, StoreError> {
    let mut done = Flushed::default();
    for id in ids {
        match one(store, *id, reason).await? {
            None => done.flushed += 1,
            Some(reason) => done.skipped.push(NotFlushed { message_id: *id, reason }),
        }
    }
    Ok(done)
}

/// Why it was not ended.
async fn one(store: &Store, id: MessageId, reason: &str) -> Result<Option<String>, StoreError> {
    let Some(message) = store.message(id).await? else { return Ok(Some("there is no such message".to_owned())) };
    if !matches!(message.state, MessageState::Received | MessageState::Held) {
        return Ok(Some(not_waiting(message.state)));
    }
    Ok(match store.cancel(id, reason).await? {
        Cancelled::Message => None,
        // A worker was quicker.
        Cancelled::Stopping => Some("an agent had begun with it: its turn is asked to stop".to_owned()),
        Cancelled::Answers { .. } => Some("it was answered; the answer is not delivered".to_owned()),
        Cancelled::Over { state } => Some(not_waiting(state)),
        Cancelled::Unknown => Some("there is no such message".to_owned()),
    })
}

fn not_waiting(state: MessageState) -> String {
    match state {
        MessageState::Processing => "an agent works on it: `broca message cancel` stops that".to_owned(),
        state => format!("it does not wait, it is {state}"),
    }
}
