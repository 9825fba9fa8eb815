//! An operation for callers that speak JSON: its schemas, and its call.

use std::{future::Future, pin::Pin};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::{
    Caller, Code, Deps, Facts, Foreseen, Operation, OperationError, acting::as_json, perform, redaction::without_texts,
};

type Answered<'a, T> = Pin<Box<dyn Future<Output = Result<T, OperationError>> + Send + 'a>>;

/// A line of the table.
#[derive(Clone, Copy)]
pub struct Entry {
    pub facts: Facts,
    request: fn() -> Value,
    answer: fn() -> Value,
    call: for<'a> fn(&'a Deps, &'a Caller, Value) -> Answered<'a, Value>,
    foresee: for<'a> fn(&'a Deps, Value) -> Answered<'a, Foreseen>,
    canonical: fn(Value) -> Result<Value, OperationError>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Entry {
    pub(super) const fn of<O: Operation>() -> Self {
        Self {
            facts: O::FACTS,
            request: schema_of_request::<O::Request>,
            answer: schema_of_answer::<O::Answer>,
            call: call::<O>,
            foresee: foresee::<O>,
            canonical: canonical::<O>,
        }
    }

    pub fn request_schema(&self) -> Value {
        (self.request)()
    }

    pub fn answer_schema(&self) -> Value {
        (self.answer)()
    }

    /// Does it. Texts are left out unless the caller may read them.
    ///
    /// # Errors
    /// The caller may not, the request is wrong, or what the operation says itself.
    pub async fn call(&self, deps: &Deps, caller: &Caller, request: Value) -> Result<Value, OperationError> {
        let mut answer = (self.call)(deps, caller, request).await?;
        if !caller.contents {
            without_texts(&mut answer);
        }
        Ok(answer)
    }

    /// What it would do.
    pub(super) async fn foresee(&self, deps: &Deps, request: Value) -> Result<Foreseen, OperationError> {
        (self.foresee)(deps, request).await
    }

    /// The request as it is understood: the same for every way of writing it.
    pub(super) fn canonical(&self, request: Value) -> Result<Value, OperationError> {
        (self.canonical)(request)
    }
}

fn call<'a, O: Operation>(deps: &'a Deps, caller: &'a Caller, request: Value) -> Answered<'a, Value> {
    Box::pin(async move {
        // Who may not is not told what is wrong with their request, but is written down.
        let request: O::Request = match (caller.may(&O::FACTS), understood::<O>(request)) {
            (_, Ok(request)) => request,
            (Err(refused), Err(_)) => return Err(refused),
            (Ok(()), Err(wrong)) => return Err(wrong),
        };
        as_json(&perform::<O>(deps, caller, &request).await?)
    })
}

fn foresee<O: Operation>(deps: &Deps, request: Value) -> Answered<'_, Foreseen> {
    Box::pin(async move { O::foresee(deps, &understood::<O>(request)?).await })
}

fn canonical<O: Operation>(request: Value) -> Result<Value, OperationError> {
    as_json(&understood::<O>(request)?)
}

/// No request at all is an empty one.
fn understood<O: Operation>(request: Value) -> Result<O::Request, OperationError> {
    let request = if request.is_null() { Value::Object(Map::new()) } else { request };
    if has_nul(&request) {
        let message = format!("the request of {} is wrong: no text may have a NUL in it", O::FACTS.name);
        return Err(OperationError::new(Code::Usage, message));
    }
    serde_path_to_error::deserialize(request).map_err(|error| {
        let place = match error.path().to_string() {
            root if root == "." => String::new(),
            path => format!(" at {path}"),
        };
        OperationError::new(Code::Usage, format!("the request of {} is wrong{place}: {}", O::FACTS.name, error.inner()))
            .hint("GET /v1/operations has the schema of every request")
    })
}

/// PostgreSQL stores none, and no request means one.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, field)| key.contains('\0') || has_nul(field)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn schema_of_request<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

fn schema_of_answer<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().to_value()
}
