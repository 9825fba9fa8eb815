//! What destroys something takes two calls: the first is told what it would do, the second does it.

use std::sync::Arc;

use broca_admin::operations::{
    Caller, Deps, Effect, Entry, OperationError,
    confirm::{self, Proposal},
};
use serde_json::Value;

use super::to_its_end;

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing was done.
    Proposed(Proposal),
    Done(Value),
}

pub(crate) fn is_two_steps(entry: &Entry) -> bool {
    matches!(entry.facts.effect, Effect::Destroys { .. })
}

/// Does an operation, or says what it would do where that has to be confirmed and is not.
pub(crate) async fn step(
    entry: &'static Entry,
    deps: &Arc<Deps>,
    caller: &Caller,
    request: Value,
    confirm: Option<&str>,
) -> Result<Step, OperationError> {
    // Who may not is told so by the call itself, which writes it down.
    if is_two_steps(entry) && caller.may(&entry.facts).is_ok() {
        match confirm {
            None => return Ok(Step::Proposed(confirm::propose(entry, deps, caller, request).await?)),
            Some(confirm) => confirm::accept(entry, deps, caller, request.clone(), confirm).await?,
        }
    }
    to_its_end(entry, deps, caller, request).await.map(Step::Done)
}
