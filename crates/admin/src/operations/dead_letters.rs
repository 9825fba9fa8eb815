use std::time::Duration;

use broca_core::{ConversationId, Instance, MessageId, rights::Access};
use broca_store::{ClosedLetters, LetterFilter, PageCursor, Stage, Via};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Acting, Code, Deps, Effect, Facts, Foreseen, Moment, Operation, OperationError, Span, error::unknown_message,
};
use crate::dead_letters::{self, AT_ONCE, Page, Purged, Resolved, Shown, Which, letter_of};

/// Ids that a forecast names.
const NAMED: usize = 10;
/// Copies are kept for so long after their letter was dealt with.
const COPIES_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// A page, unless another size is asked for.
const PAGE: u32 = 20;
/// A page of a machine's, at most: it reads all of it.
const MACHINE_PAGE: u32 = 100;

/// Which dead letters. Whatever is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichLetters {
    /// The platform, e.g. telegram.
    pub platform: Option<String>,
    /// The plugin instance.
    pub instance: Option<Instance>,
    /// The agent, by its name in the settings.
    pub agent: Option<String>,
    /// The person, by the platform's id.
    pub user: Option<String>,
    pub conversation: Option<ConversationId>,
    /// The class of failure, e.g. rejected, unavailable, blocked.
    pub class: Option<String>,
    /// Stuck at the agent (turn), or on its way to the platform (delivery).
    pub stage: Option<Stage>,
    /// Failed since then.
    pub since: Option<Moment>,
    /// Failed before then.
    pub until: Option<Moment>,
    /// Has this in the message or the answer, in any case. Needs a token that may read contents.
    pub contains: Option<String>,
}

impl WhichLetters {
    /// Whether nothing is given: every dead letter is meant.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    pub(super) async fn filter(&self, deps: &Deps, closed: ClosedLetters) -> Result<LetterFilter, OperationError> {
        let now = deps.store.now().await?;
        Ok(LetterFilter {
            instance: self.instance.clone(),
            platform: self.platform.clone(),
            agent: self.agent.clone(),
            user: self.user.clone(),
            conversation: self.conversation,
            class: self.class.clone(),
            stage: self.stage,
            since: self.since.map(|moment| moment.at(now)),
            until: self.until.map(|moment| moment.at(now)),
            contains: self.contains.clone(),
            closed,
        })
    }

    /// Whoever may not read texts may not find out by asking which message has what.
    pub(super) fn allowed(&self, act: &Acting<'_>) -> Result<(), OperationError> {
        match self.contains {
            Some(_) => act.caller.may_read_contents("a filter by text"),
            None => Ok(()),
        }
    }
}

/// Which letters that somebody has dealt with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhichClosed {
    /// None of them.
    #[default]
    Without,
    /// Only resolved ones.
    Only,
    /// All of them, too.
    With,
}

impl From<WhichClosed> for ClosedLetters {
    fn from(which: WhichClosed) -> Self {
        match which {
            WhichClosed::Without => Self::Without,
            WhichClosed::Only => Self::Only,
            WhichClosed::With => Self::With,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichPage {
    pub filter: WhichLetters,
    pub closed: WhichClosed,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<String>,
}

/// Where a page before ended.
pub(super) fn cursor(text: Option<&str>) -> Result<Option<PageCursor>, OperationError> {
    text.map(str::parse).transpose().map_err(|error: String| OperationError::new(Code::Usage, error))
}

/// How many lines a page has.
pub(super) fn page_size(act: &Acting<'_>, asked: Option<u32>) -> Result<u32, OperationError> {
    let most = if act.caller.via == Via::Mcp { MACHINE_PAGE } else { 10_000 };
    match asked.unwrap_or(PAGE) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(OperationError::new(Code::Usage, format!("a page of {limit} cannot be had: use 1 to {most}"))),
    }
}

#[derive(Debug)]
pub struct ListLetters;

impl Operation for ListLetters {
    type Request = WhichPage;
    type Answer = Page;
    const FACTS: Facts = Facts {
        name: "dlq.list",
        summary: "Dead letters: messages that failed and answers that could not be delivered, the newest first.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "dlq list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPage) -> Result<Page, OperationError> {
        request.filter.allowed(act)?;
        let cursor = cursor(request.cursor.as_deref())?;
        let limit = page_size(act, request.limit)?;
        let filter = request.filter.filter(act.deps, request.closed.into()).await?;
        Ok(dead_letters::list(act.store(), &filter, cursor, limit).await?)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichLetter {
    pub id: MessageId,
}

#[derive(Debug)]
pub struct ShowLetter;

impl Operation for ShowLetter {
    type Request = WhichLetter;
    type Answer = Shown;
    const FACTS: Facts = Facts {
        name: "dlq.show",
        summary: "One dead letter, with all attempts of its message.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "dlq show",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichLetter) -> Result<Shown, OperationError> {
        let shown = dead_letters::show(act.store(), request.id).await?;
        shown.ok_or_else(|| unknown_message(&request.id))
    }
}

/// One of `ids` and `filter`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichResolved {
    pub ids: Vec<MessageId>,
    /// Every open letter that it finds; an empty one is refused.
    pub filter: WhichLetters,
    /// Why, for whoever looks later.
    pub note: Option<String>,
}

impl WhichResolved {
    async fn which(&self, deps: &Deps) -> Result<Which, OperationError> {
        if self.ids.is_empty() == self.filter.is_everything() {
            return Err(OperationError::new(Code::Usage, "say which: either message ids, or a filter")
                .hint("see what there is: `broca dlq list`"));
        }
        Ok(if self.ids.is_empty() {
            Which::Letters(self.filter.filter(deps, ClosedLetters::Without).await?)
        } else {
            Which::Messages(self.ids.clone())
        })
    }
}

#[derive(Debug)]
pub struct ResolveLetters;

impl Operation for ResolveLetters {
    type Request = WhichResolved;
    type Answer = Resolved;
    const FACTS: Facts = Facts {
        name: "dlq.resolve",
        summary: "Says of dead letters that nothing more is to be done; they are listed no more, and can still be replayed.",
        access: Access::Operate,
        effect: Effect::Destroys { again: true },
        reaches_people: false,
        cli: "dlq resolve",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichResolved) -> Result<Resolved, OperationError> {
        request.filter.allowed(act)?;
        let which = request.which(act.deps).await?;
        let done = dead_letters::resolve(act.store(), &which, act.actor(), request.note.as_deref()).await?;
        done.resolved.iter().for_each(|id| act.about(id));
        Ok(done)
    }

    async fn foresee(deps: &Deps, request: &WhichResolved) -> Result<Foreseen, OperationError> {
        let ids: Vec<MessageId> = match request.which(deps).await? {
            Which::Letters(filter) => {
                dead_letters::all(&deps.store, &filter).await?.0.into_iter().map(|letter| letter.message_id).collect()
            }
            Which::Messages(asked) => {
                let mut ids = Vec::with_capacity(asked.len());
                for id in asked {
                    ids.extend(letter_of(&deps.store, id).await?.map(|letter| letter.message_id));
                }
                ids
            }
        };
        Ok(Foreseen {
            would: format!("say of {} dead letters that nothing more is to be done about them", ids.len()),
            count: u64::try_from(ids.len()).unwrap_or(u64::MAX),
            examples: ids.iter().take(NAMED).map(ToString::to_string).collect(),
        })
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichCopies {
    /// Only of letters that were resolved or replayed at least this long ago; 7d unless given.
    pub older_than: Option<Span>,
    /// Why, for the record.
    pub reason: Option<String>,
}

impl WhichCopies {
    fn min_age(&self) -> Duration {
        self.older_than.map_or(COPIES_KEPT, |span| span.0)
    }
}

#[derive(Debug)]
pub struct PurgeLetters;

impl Operation for PurgeLetters {
    type Request = WhichCopies;
    type Answer = Purged;
    const FACTS: Facts = Facts {
        name: "dlq.purge",
        summary: "Drops the broker's copies of dead letters that were resolved or replayed; the rows stay.",
        access: Access::Operate,
        effect: Effect::Destroys { again: true },
        reaches_people: false,
        cli: "dlq purge",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichCopies) -> Result<Purged, OperationError> {
        Ok(dead_letters::purge(act.store(), act.deps.bus().await?, request.min_age()).await?)
    }

    async fn foresee(deps: &Deps, request: &WhichCopies) -> Result<Foreseen, OperationError> {
        let most = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        let copies = deps.store.copies_of_closed_letters(request.min_age(), most).await?.len();
        let would = format!("drop the broker's copies of {copies} dead letters that are dealt with");
        Ok(Foreseen { would, count: u64::try_from(copies).unwrap_or(u64::MAX), examples: Vec::new() })
    }
}
