use broca_core::{ActId, rights::Access};
use broca_store::{Act, ActFilter, ActOutcome, Via};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Effect, Facts, Moment, Operation, OperationError, dead_letters::page_size};
use crate::page::{and_one_more, cut};

/// Which acts. Whatever is given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichActs {
    /// Who: cli:<user>, http:<token>, mcp:<token> or dashboard:<token>.
    pub actor: Option<String>,
    /// Which way they came.
    pub via: Option<Via>,
    /// What they did, e.g. hold.add.
    pub operation: Option<String>,
    pub outcome: Option<ActOutcome>,
    /// The id of something that it was about.
    pub subject: Option<String>,
    pub since: Option<Moment>,
    pub until: Option<Moment>,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<ActId>,
}

/// The newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedActs {
    pub items: Vec<Act>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<ActId>,
}

#[derive(Debug)]
pub struct ListActs;

impl Operation for ListActs {
    type Request = WhichActs;
    type Answer = ListedActs;
    const FACTS: Facts = Facts {
        name: "audit.list",
        summary: "What operators did: who, what, why, and what came of it, the newest first.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "audit list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichActs) -> Result<ListedActs, OperationError> {
        let (limit, now) = (page_size(act, request.limit)?, act.store().now().await?);
        let filter = ActFilter {
            actor: request.actor.clone(),
            via: request.via,
            operation: request.operation.clone(),
            outcome: request.outcome,
            subject: request.subject.clone(),
            since: request.since.map(|moment| moment.at(now)),
            until: request.until.map(|moment| moment.at(now)),
        };
        let acts = act.store().acts(&filter, request.cursor, and_one_more(limit)).await?;
        let (items, next_cursor) = cut(acts, limit, |act| act.id);
        Ok(ListedActs { items, next_cursor })
    }
}
