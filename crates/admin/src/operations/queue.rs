use std::{collections::BTreeMap, time::Duration};

use broca_core::{MessageId, rights::Access};
use broca_store::{BacklogAct, QueueItem, Stand, Via};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    Acting, Code, Deps, Effect, Facts, Foreseen, Operation, OperationError, WhichWaiting,
    dead_letters::{cursor, page_size},
};
use crate::{
    backlog,
    queue::{self, Flush, Flushed},
};

/// A call by HTTP or MCP works for so long at most; the same call again goes on.
const LONGEST: Duration = Duration::from_secs(20);

/// Which of the queue. Whatever is given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichQueue {
    pub filter: WhichWaiting,
    /// What it waits for: a worker (received), a time (parked), the end of a hold (held); or processing.
    pub stand: Option<Stand>,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedQueue {
    /// The oldest first.
    pub items: Vec<QueueItem>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<String>,
}

#[derive(Debug)]
pub struct ListQueue;

impl Operation for ListQueue {
    type Request = WhichQueue;
    type Answer = ListedQueue;
    const FACTS: Facts = Facts {
        name: "queue.list",
        summary: "What waits to be answered and what is under way, message by message, the oldest first. Reads all of it.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "queue list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichQueue) -> Result<ListedQueue, OperationError> {
        let WhichQueue { filter, stand, limit, cursor: after } = request;
        let (limit, after) = (page_size(act, *limit)?, cursor(after.as_deref())?);
        let mut items = act.store().queue(&filter.filter(), *stand, after, limit.saturating_add(1)).await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.cursor().to_string());
        Ok(ListedQueue { items, next_cursor })
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichQueueStats {}

/// How much of everything there is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QueueStats {
    /// What waits and what is under way, by what it waits for.
    pub waiting: BTreeMap<String, i64>,
    /// How long the oldest of it waits.
    pub oldest_s: Option<u64>,
    /// All messages by their states.
    pub messages: BTreeMap<String, i64>,
    /// All answers by theirs.
    pub answers: BTreeMap<String, i64>,
    pub conversations: i64,
    /// Those in which something waits.
    pub waiting_conversations: i64,
}

#[derive(Debug)]
pub struct ShowQueueStats;

impl Operation for ShowQueueStats {
    type Request = WhichQueueStats;
    type Answer = QueueStats;
    const FACTS: Facts = Facts {
        name: "queue.stats",
        summary: "How many messages there are in each state, and what those wait for that are not over. Reads all of them.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "queue stats",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichQueueStats) -> Result<QueueStats, OperationError> {
        let backlog = backlog::show(act.store(), &WhichWaiting::default().filter()).await?;
        let counts = act.store().counts().await?;
        let mut waiting = BTreeMap::new();
        for group in &backlog.groups {
            *waiting.entry(group.stand.to_string()).or_default() += group.messages;
        }
        Ok(QueueStats {
            waiting,
            oldest_s: backlog.oldest().map(|age| age.as_secs()),
            messages: counts.messages,
            answers: counts.responses,
            conversations: counts.conversations,
            waiting_conversations: backlog.conversations,
        })
    }
}

/// Which messages are to end: some by their ids, those that a filter chooses, or all.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichFlushed {
    pub ids: Vec<MessageId>,
    pub filter: WhichWaiting,
    /// Whatever waits; needed where there are neither ids nor a filter.
    pub all: bool,
    /// Why; kept with each message.
    pub reason: Option<String>,
}

impl WhichFlushed {
    fn check(&self) -> Result<(), OperationError> {
        let usage = |message: &str, hint: &str| Err(OperationError::new(Code::Usage, message).hint(hint));
        let (by_id, by_filter) = (!self.ids.is_empty(), !self.filter.is_everything());
        match (by_id, by_filter, self.all) {
            (false, false, false) => usage("which messages?", "give ids or a filter, or say all"),
            (true, true, _) | (true, _, true) => usage("ids go with no filter", "give ids, or a filter"),
            _ => Ok(()),
        }
    }

    fn reason(&self, actor: &str) -> String {
        let why = self.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("flushed by {actor}{why}")
    }
}

#[derive(Debug)]
pub struct FlushQueue;

impl Operation for FlushQueue {
    type Request = WhichFlushed;
    type Answer = Flushed;
    const FACTS: Facts = Facts {
        name: "queue.flush",
        summary: "Ends messages that wait and that nobody has begun, with a reason; their rows stay, and a replay brings them back.",
        access: Access::Operate,
        effect: Effect::Destroys { again: true },
        reaches_people: false,
        cli: "queue flush",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichFlushed) -> Result<Flushed, OperationError> {
        request.check()?;
        request.ids.iter().for_each(|id| act.about(id));
        let filter = request.filter.filter();
        let which = if request.ids.is_empty() { Flush::All(&filter) } else { Flush::Ids(&request.ids) };
        let until = (act.caller.via != Via::Cli).then(|| Instant::now() + LONGEST);
        let done = queue::flush(act.store(), which, act.actor(), &request.reason(act.actor()), until).await?;
        done.plan.iter().for_each(|plan| act.about(plan));
        Ok(done)
    }

    async fn foresee(deps: &Deps, request: &WhichFlushed) -> Result<Foreseen, OperationError> {
        request.check()?;
        if !request.ids.is_empty() {
            let count = u64::try_from(request.ids.len()).unwrap_or(u64::MAX);
            let examples = request.ids.iter().take(10).map(ToString::to_string).collect();
            return Ok(Foreseen { would: format!("end {count} messages, those that still wait"), count, examples });
        }
        let act = BacklogAct::Skip { reason: String::new(), notice: None };
        let draft = backlog::draft(&deps.store, &request.filter.filter(), act).await?;
        let would = match (draft.messages, draft.conversations) {
            (1, _) => "end the one message that waits and that nobody has begun, without an answer".to_owned(),
            (messages, 1) => {
                format!("end {messages} messages in one conversation that nobody has begun, without an answer")
            }
            (messages, conversations) => {
                format!(
                    "end {messages} messages in {conversations} conversations that nobody has begun, without an answer"
                )
            }
        };
        Ok(Foreseen { would, count: draft.messages.unsigned_abs(), examples: Vec::new() })
    }
}
