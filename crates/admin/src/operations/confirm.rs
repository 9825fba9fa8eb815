//! Two steps for callers that are machines: first what it would do, then, with the word that was given for exactly that,
//! doing it.

use std::time::Duration;

use broca_core::Timestamp;
use broca_store::Confirmation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Caller, Code, Deps, Entry, OperationError, tokens};

/// What was shown may not be so any more afterwards.
const LIFE: Duration = Duration::from_secs(600);
/// No confirmation is given for more rows than this.
pub const CEILING: u64 = 1_000;
const PREFIX: &str = "yes_";

/// What a call would do. Nothing was done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    pub would: String,
    /// Rows that it would touch.
    pub count: u64,
    /// Some of their ids.
    pub examples: Vec<String>,
    /// Call again with the same arguments and this, to have it done. Good once.
    pub confirm: String,
    /// It is refused when it has come to touch more rows than this by then.
    pub ceiling: u64,
    pub expires_at: Timestamp,
}

/// Says what a request would do, and gives the word for doing it.
///
/// # Errors
/// The caller may not, the request is wrong, or it touches more rows than [`CEILING`].
pub async fn propose(entry: &Entry, deps: &Deps, caller: &Caller, request: Value) -> Result<Proposal, OperationError> {
    caller.may(&entry.facts)?;
    let request = entry.canonical(request)?;
    may_ask(caller, &request)?;
    let foreseen = entry.foresee(deps, request.clone()).await?;
    if foreseen.count > CEILING {
        let message = format!("it would touch {} rows, and {CEILING} can be confirmed at once", foreseen.count);
        return Err(OperationError::new(Code::Conflict, message).hint("narrow it down, or use the command line"));
    }
    let confirm = tokens::secret(PREFIX)?;
    let ceiling = i64::try_from(foreseen.count).unwrap_or(i64::MAX);
    let given = confirmation(entry, caller, &confirm, &request);
    let expires_at = deps.store.offer_confirmation(given, ceiling, LIFE).await?;
    let super::Foreseen { would, count, examples } = foreseen;
    Ok(Proposal { would, count, examples, confirm, ceiling: count, expires_at })
}

/// Takes the word for a request; it is used up then, whatever comes of the request.
///
/// # Errors
/// It was not given to this caller for this request, is over or was used; or the request has come to touch more rows.
pub async fn accept(
    entry: &Entry,
    deps: &Deps,
    caller: &Caller,
    request: Value,
    confirm: &str,
) -> Result<(), OperationError> {
    caller.may(&entry.facts)?;
    let request = entry.canonical(request)?;
    let given = confirmation(entry, caller, confirm, &request);
    let ceiling = deps.store.take_confirmation(given).await?.ok_or_else(|| {
        let message = "this confirmation is not for this request, or it is over or was used";
        OperationError::new(Code::Conflict, message)
            .hint("call without it to be told what would be done, and for a new one")
    })?;
    let count = i64::try_from(entry.foresee(deps, request).await?.count).unwrap_or(i64::MAX);
    if count > ceiling {
        let message = format!("it was confirmed for {ceiling} rows and would touch {count} by now: nothing was done");
        return Err(OperationError::new(Code::Conflict, message).hint("call without the confirmation and look again"));
    }
    Ok(())
}

fn confirmation(entry: &Entry, caller: &Caller, confirm: &str, request: &Value) -> Confirmation {
    Confirmation {
        hash: tokens::hash(confirm.as_bytes()),
        actor: caller.name.clone(),
        operation: entry.facts.name.to_owned(),
        // The keys of a JSON value are in order, so one request is one text.
        request: tokens::hash(json!([entry.facts.name, request]).to_string().as_bytes()),
    }
}

/// Counting what has some text tells of texts.
fn may_ask(caller: &Caller, request: &Value) -> Result<(), OperationError> {
    match request.pointer("/filter/contains") {
        Some(Value::String(_)) => caller.may_read_contents("a filter by text"),
        _ => Ok(()),
    }
}
