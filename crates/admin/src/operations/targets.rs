use broca_core::{Instance, rights::Access};
use broca_store::{TargetCursor, TargetFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Code, Deps, Effect, Facts, Foreseen, Operation, OperationError, dead_letters::page_size};
use crate::targets::{self, Cleared, Targets};

/// Targets that a forecast names.
const NAMED: u32 = 10;

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichTargets {
    /// Only those of this plugin instance.
    pub instance: Option<Instance>,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<String>,
}

#[derive(Debug)]
pub struct ListTargets;

impl Operation for ListTargets {
    type Request = WhichTargets;
    type Answer = Targets;
    const FACTS: Facts = Facts {
        name: "targets.list",
        summary: "Chats and people that take no answers, because they blocked the bot or are gone, the latest first.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "targets list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichTargets) -> Result<Targets, OperationError> {
        let filter = TargetFilter { instance: request.instance.clone(), target: None };
        let cursor: Option<TargetCursor> =
            request.cursor.as_deref().map(str::parse).transpose().map_err(wrong_cursor)?;
        Ok(targets::list(act.store(), &filter, cursor.as_ref(), page_size(act, request.limit)?).await?)
    }
}

fn wrong_cursor(error: String) -> OperationError {
    OperationError::new(Code::Usage, error)
}

/// `targets`, or all of an `instance`, or `all`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichCleared {
    /// Names as the list has them, or <instance>/<the platform's id of a person>.
    pub targets: Vec<String>,
    /// All of this plugin instance, or only the named ones of it.
    pub instance: Option<Instance>,
    /// All there are.
    pub all: bool,
    /// Why, for the record.
    pub reason: Option<String>,
}

impl WhichCleared {
    fn filter(&self) -> Result<TargetFilter, OperationError> {
        let some = !self.targets.is_empty() || self.instance.is_some();
        if some == self.all {
            return Err(OperationError::new(Code::Usage, "say which: targets, an instance, or all of them")
                .hint("see what there is: `broca targets list`"));
        }
        Ok(TargetFilter { instance: self.instance.clone(), target: None })
    }
}

#[derive(Debug)]
pub struct ClearTargets;

impl Operation for ClearTargets {
    type Request = WhichCleared;
    type Answer = Cleared;
    const FACTS: Facts = Facts {
        name: "targets.clear",
        summary: "Forgets that chats and people take no answers: their next answers are tried again.",
        access: Access::Operate,
        effect: Effect::Destroys { again: true },
        reaches_people: true,
        cli: "targets clear",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichCleared) -> Result<Cleared, OperationError> {
        let filter = request.filter()?;
        request.targets.iter().for_each(|target| act.about(target));
        Ok(targets::clear(act.store(), &request.targets, &filter).await?)
    }

    async fn foresee(deps: &Deps, request: &WhichCleared) -> Result<Foreseen, OperationError> {
        let mut filter = request.filter()?;
        let (mut count, mut examples) = (0, Vec::new());
        let named = request.targets.iter().cloned().map(Some);
        let all = request.targets.is_empty().then_some(None);
        for target in named.chain(all) {
            filter.target = target;
            count += deps.store.count_dead_targets(&filter).await?;
            let found = deps.store.dead_targets(&filter, None, NAMED).await?;
            examples.extend(found.into_iter().map(|target| target.target));
        }
        examples.truncate(usize::try_from(NAMED).unwrap_or(usize::MAX));
        Ok(Foreseen { would: format!("forget of {count} chats and people that they take no answers"), count, examples })
    }
}
