//! One call of an operation: may it, is it written down, and how it ended.

use std::sync::{Mutex, PoisonError};

use broca_core::ActId;
use broca_store::{ActEnd, ActOutcome, NewAct, Store};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Caller, Code, Deps, Operation, OperationError, redaction};

/// An answer that is longer than this, as JSON, is not kept in the audit log.
const KEPT_BYTES: usize = 4_096;

/// What an operation works with while it runs.
#[derive(Debug)]
pub struct Acting<'a> {
    pub deps: &'a Deps,
    pub caller: &'a Caller,
    record: Mutex<Record>,
}

/// What the audit log is told besides the request and the answer.
#[derive(Debug, Default)]
struct Record {
    before: Option<Value>,
    subjects: Vec<String>,
}

impl<'a> Acting<'a> {
    fn new(deps: &'a Deps, caller: &'a Caller) -> Self {
        Self { deps, caller, record: Mutex::default() }
    }

    pub fn store(&self) -> &'a Store {
        &self.deps.store
    }

    /// Who acts, for the record.
    pub fn actor(&self) -> &'a str {
        &self.caller.name
    }

    fn with_record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        // Nothing panics while it is held.
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The id of something that the act is about.
    pub fn about(&self, id: impl ToString) {
        self.with_record(|record| record.subjects.push(id.to_string()));
    }

    /// How it was before.
    pub fn before(&self, value: Value) {
        self.with_record(|record| record.before = Some(value));
    }
}

/// Does an operation for a caller, if they may, and writes down what changes something.
///
/// # Errors
/// The caller may not; the audit log cannot be written, and then nothing was done; or what the operation says itself.
pub async fn perform<O: Operation>(
    deps: &Deps,
    caller: &Caller,
    request: &O::Request,
) -> Result<O::Answer, OperationError> {
    let act = Acting::new(deps, caller);
    if !O::FACTS.changes() {
        caller.may(&O::FACTS)?;
        return O::run(&act, request).await;
    }
    let allowed = caller.may(&O::FACTS);
    let id = begin::<O>(deps, caller, request, &allowed).await?;
    allowed?;
    let result = O::run(&act, request).await;
    end(&act, id, &result).await;
    result
}

async fn begin<O: Operation>(
    deps: &Deps,
    caller: &Caller,
    request: &O::Request,
    allowed: &Result<(), OperationError>,
) -> Result<ActId, OperationError> {
    let mut request = as_json(request)?;
    redaction::for_the_record(&mut request);
    let words = ["reason", "note"].iter().find_map(|key| request.get(key)?.as_str().map(str::to_owned));
    let id = ActId::new();
    let act = NewAct {
        id,
        actor: caller.name.clone(),
        via: caller.via,
        operation: O::FACTS.name.to_owned(),
        request,
        reason: words,
        outcome: if allowed.is_ok() { ActOutcome::Begun } else { ActOutcome::Refused },
        error: allowed.as_ref().err().map(ToString::to_string),
    };
    deps.store.begin_act(act).await?;
    Ok(id)
}

/// What was done is done: when its end cannot be written, the row stays `begun`, which says that it was begun.
async fn end<T: Serialize>(act: &Acting<'_>, id: ActId, result: &Result<T, OperationError>) {
    let after = result.as_ref().ok().and_then(|answer| as_json(answer).ok()).map(kept);
    let record = act.with_record(std::mem::take);
    let before = record.before.map(|mut value| {
        redaction::for_the_record(&mut value);
        value
    });
    let end = ActEnd {
        id,
        outcome: if result.is_ok() { ActOutcome::Done } else { ActOutcome::Failed },
        error: result.as_ref().err().map(ToString::to_string),
        before,
        after,
        subjects: record.subjects,
    };
    if let Err(error) = act.store().end_act(end).await {
        tracing::warn!(act = %id, %error, "the end of an act was not written into the audit log");
    }
}

fn kept(mut answer: Value) -> Value {
    redaction::for_the_record(&mut answer);
    let bytes = answer.to_string().len();
    if bytes > KEPT_BYTES { json!({"left_out_bytes": bytes}) } else { answer }
}

pub(super) fn as_json<T: Serialize>(value: &T) -> Result<Value, OperationError> {
    serde_json::to_value(value).map_err(|error| OperationError::new(Code::Failure, error.to_string()))
}
