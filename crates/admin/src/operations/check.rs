use std::time::Duration;

use broca_core::rights::Access;
use broca_store::AuditLimits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Effect, Facts, Operation, OperationError, Span};
use crate::check::{Check, check};

/// What should have happened by itself is overdue after this.
const OVERDUE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichCheck {
    /// What should have happened by itself is overdue after this long; 60s unless given.
    pub overdue: Option<Span>,
    /// A message may be under way for this long; as the settings say unless given.
    pub max_age: Option<Span>,
}

#[derive(Debug)]
pub struct CheckAll;

impl Operation for CheckAll {
    type Request = WhichCheck;
    type Answer = Check;
    const FACTS: Facts = Facts {
        name: "check.run",
        summary: "Is every accepted message over or on its way? Rows that contradict each other, and what is overdue.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "check",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichCheck) -> Result<Check, OperationError> {
        let overdue = request.overdue.map_or(OVERDUE, |span| span.0);
        // Its last attempt may begin just before its age is over.
        let longest = act.deps.configured.max_age.map(|max_age| max_age.saturating_add(overdue));
        let max_age = request.max_age.map(|span| span.0).or(longest);
        Ok(check(act.store(), &AuditLimits { overdue, max_age }).await?)
    }
}
