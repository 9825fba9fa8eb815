use broca_core::rights::Access;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Effect, Facts, Operation, OperationError, Running};
use crate::status::{Process, Status, status};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichStatus {}

/// What waits and what runs, everywhere and on this machine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Whole {
    pub status: Status,
    /// The processes of a `broca up` on the machine that was asked.
    pub processes: Vec<Process>,
    /// Where it shows its metrics.
    pub metrics: Option<String>,
}

#[derive(Debug)]
pub struct ShowStatus;

impl Operation for ShowStatus {
    type Request = WhichStatus;
    type Answer = Whole;
    const FACTS: Facts = Facts {
        name: "status.show",
        summary: "What waits, what runs and what failed: counts, workers, endpoints in trouble, the broker's consumers.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "status",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichStatus) -> Result<Whole, OperationError> {
        let status = status(act.store(), act.deps.bus().await?, &act.deps.configured.enabled).await?;
        let Running { processes, metrics } = act.deps.running()?;
        Ok(Whole { status, processes, metrics })
    }
}
