use broca_core::rights::Access;
use broca_store::{Pace, TurnUnderWay};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Effect, Facts, Operation, OperationError, dead_letters::page_size};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichWorkers {
    /// Turns, at most: 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
}

/// Who works on what.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WorkersNow {
    #[serde(flatten)]
    pub pace: Pace,
    /// The turns under way with their leases, the oldest first.
    pub turns: Vec<TurnUnderWay>,
}

#[derive(Debug)]
pub struct ListWorkers;

impl Operation for ListWorkers {
    type Request = WhichWorkers;
    type Answer = WorkersNow;
    const FACTS: Facts = Facts {
        name: "worker.list",
        summary: "The worker processes, the turns that they have under way with their leases, and what keeps messages waiting.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "workers",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichWorkers) -> Result<WorkersNow, OperationError> {
        let limit = page_size(act, request.limit)?;
        let (pace, turns) = tokio::try_join!(act.store().pace(), act.store().turns_now(limit))?;
        Ok(WorkersNow { pace, turns })
    }
}
