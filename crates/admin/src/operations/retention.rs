use std::time::Duration;

use broca_core::rights::Access;
use broca_store::{Removed, Via};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Deps, Effect, Facts, Foreseen, Operation, OperationError};
use crate::retention::{self, Planned, Remover, Shown};

/// A call by HTTP or MCP works for so long at most; the same call again goes on.
const LONGEST: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichRetention {}

#[derive(Debug)]
pub struct ShowRetention;

impl Operation for ShowRetention {
    type Request = WhichRetention;
    type Answer = Shown;
    const FACTS: Facts = Facts {
        name: "retention.show",
        summary: "How long things are kept, and how much there is.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "retention show",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichRetention) -> Result<Shown, OperationError> {
        Ok(retention::show(act.store(), &act.deps.configured.retention).await?)
    }
}

#[derive(Debug)]
pub struct PlanRetention;

impl Operation for PlanRetention {
    type Request = WhichRetention;
    type Answer = Planned;
    const FACTS: Facts = Facts {
        name: "retention.plan",
        summary: "What is over for long enough and would go now. Looks at everything.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "retention run --dry-run",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichRetention) -> Result<Planned, OperationError> {
        Ok(retention::plan(act.store(), &act.deps.configured.retention).await?)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichRemoved {
    /// Why, for the record.
    pub reason: Option<String>,
}

/// What a run removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RemovedNow {
    #[serde(flatten)]
    pub removed: Removed,
    /// Nothing is left to be removed now.
    pub over: bool,
    /// Why the run ended early; run it again.
    pub stopped: Option<String>,
}

#[derive(Debug)]
pub struct RunRetention;

impl Operation for RunRetention {
    type Request = WhichRemoved;
    type Answer = RemovedNow;
    const FACTS: Facts = Facts {
        name: "retention.run",
        summary: "Removes what is over for long enough, at once instead of when a worker comes to it; run it again until it is over.",
        access: Access::Admin,
        effect: Effect::Destroys { again: true },
        reaches_people: false,
        cli: "retention run",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichRemoved) -> Result<RemovedNow, OperationError> {
        let (policy, mut removed) = (act.deps.configured.retention, Removed::default());
        let ended = match act.caller.via {
            Via::Cli => retention::run(act.store(), policy, &mut removed).await.map(|()| true),
            Via::Http | Via::Mcp | Via::Chat => Remover::new(policy).round(act.store(), LONGEST, &mut removed).await,
        };
        match ended {
            Ok(over) => Ok(RemovedNow { removed, over, stopped: None }),
            Err(error) if !removed.is_nothing() => {
                Ok(RemovedNow { removed, over: false, stopped: Some(error.to_string()) })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn foresee(deps: &Deps, _request: &WhichRemoved) -> Result<Foreseen, OperationError> {
        let planned = retention::plan(&deps.store, &deps.configured.retention).await?;
        let would = format!("remove for good {}", planned.sentence());
        Ok(Foreseen { would, count: planned.rows(), examples: Vec::new() })
    }
}
