//! A tool for each operation.

use std::sync::Arc;

use broca_admin::operations::{Caller, Code, Deps, Effect, Entry, Facts, OperationError, confirm::Proposal, table};
use broca_store::Via;
use rmcp::{
    ErrorData,
    model::{CallToolRequestParams, CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations},
};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::resources;
use crate::serving::two_steps::{self, Step, is_two_steps};

/// Lists are cut after this many.
const LIST_CUT: usize = 100;
/// Messages that a result links to.
const LINKS: usize = 5;

/// The tools that this caller may use.
pub(super) fn of(caller: &Caller) -> Vec<Tool> {
    table::ALL.iter().filter(|entry| caller.may(&entry.facts).is_ok()).map(tool).collect()
}

fn name(facts: &Facts) -> String {
    facts.name.replace('.', "_")
}

fn tool(entry: &Entry) -> Tool {
    let facts = &entry.facts;
    let annotations = ToolAnnotations::new()
        .read_only(!facts.changes())
        .destructive(matches!(facts.effect, Effect::Destroys { .. }))
        .idempotent(facts.effect.is_idempotent())
        .open_world(facts.reaches_people);
    let two_steps = match facts.effect {
        Effect::Destroys { .. } => {
            " The first call says what it would do; repeat it with the confirmation that it gives to have it done."
        }
        Effect::Reads | Effect::Changes { .. } => "",
    };
    Tool::new(name(facts), format!("{}{two_steps}", facts.summary), Arc::new(input(entry)))
        .with_raw_output_schema(Arc::new(output(entry)))
        .with_annotations(annotations)
}

fn input(entry: &Entry) -> JsonObject {
    let mut schema = object(entry.request_schema());
    if is_two_steps(entry) {
        let confirm = json!({
            "type": "string",
            "description": "What the first call gave, to have it done. Leave it out to be told what would be done.",
        });
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("confirm".to_owned(), confirm);
        }
    }
    schema
}

/// Either the answer, or what a call would do.
fn output(entry: &Entry) -> JsonObject {
    let answer = object(entry.answer_schema());
    if !is_two_steps(entry) {
        return answer;
    }
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut either = [object(settings.into_generator().into_root_schema_for::<Proposal>().to_value()), answer];
    let mut definitions = Map::new();
    for schema in &mut either {
        if let Some(Value::Object(own)) = schema.remove("$defs") {
            definitions.extend(own);
        }
        schema.remove("$schema");
    }
    let mut schema = object(json!({"type": "object", "anyOf": either}));
    schema.insert("$defs".to_owned(), Value::Object(definitions));
    schema
}

/// Every schema of the table is an object's; a test sees to that.
fn object(schema: Value) -> JsonObject {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
    };
    schema.entry("type").or_insert_with(|| json!("object"));
    schema
}

/// An error of the operation is the tool's answer: the model reads it and does something else.
pub(super) async fn call(
    deps: &Arc<Deps>,
    caller: &Caller,
    request: CallToolRequestParams,
) -> Result<CallToolResult, ErrorData> {
    let unknown = || ErrorData::invalid_params(format!("there is no tool '{}'", request.name), None);
    let entry: &'static Entry =
        table::ALL.iter().find(|entry| name(&entry.facts) == request.name).ok_or_else(unknown)?;
    if entry.facts.why_not(Via::Mcp).is_some() {
        return Err(unknown());
    }
    Ok(match answer(entry, deps, caller, request.arguments.unwrap_or_default()).await {
        Ok(answer) => told(answer),
        Err(error) => CallToolResult::structured_error(error.json()),
    })
}

async fn answer(
    entry: &'static Entry,
    deps: &Arc<Deps>,
    caller: &Caller,
    mut arguments: JsonObject,
) -> Result<Value, OperationError> {
    let confirm = match is_two_steps(entry).then(|| arguments.remove("confirm")).flatten() {
        None | Some(Value::Null) => None,
        Some(Value::String(confirm)) => Some(confirm),
        Some(_) if caller.may(&entry.facts).is_err() => None,
        Some(_) => return Err(OperationError::new(Code::Usage, "confirm is the text that the first call gave")),
    };
    match two_steps::step(entry, deps, caller, Value::Object(arguments), confirm.as_deref()).await? {
        Step::Done(answer) => Ok(answer),
        Step::Proposed(proposal) => {
            serde_json::to_value(proposal).map_err(|error| OperationError::new(Code::Failure, error.to_string()))
        }
    }
}

fn told(mut answer: Value) -> CallToolResult {
    let mut cut = Vec::new();
    shorten(&mut answer, String::new(), &mut cut);
    let links = links(&answer);
    let mut result = CallToolResult::structured(answer);
    result.content.extend(cut.into_iter().map(ContentBlock::text));
    result.content.extend(links.into_iter().map(|id| ContentBlock::resource_link(resources::message(&id))));
    result
}

/// Cuts lists, and says of which.
fn shorten(value: &mut Value, place: String, cut: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            if items.len() > LIST_CUT {
                cut.push(format!("{place} has {} entries; these are the first {LIST_CUT}", items.len()));
                items.truncate(LIST_CUT);
            }
            items.iter_mut().for_each(|item| shorten(item, format!("{place}[]"), cut));
        }
        Value::Object(fields) => fields.iter_mut().for_each(|(key, field)| {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            shorten(field, place, cut);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The first messages that an answer names.
fn links(answer: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = vec![answer];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items.iter().rev()),
            Value::Object(fields) => {
                if let Some(Value::String(id)) = fields.get("message_id")
                    && !found.contains(id)
                {
                    found.push(id.clone());
                }
                rest.extend(fields.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if found.len() >= LINKS {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use broca_core::rights::Access;

    use super::*;

    fn caller(access: Access) -> Caller {
        Caller { name: "mcp:x".to_owned(), via: Via::Mcp, access, contents: false }
    }

    #[test]
    fn every_operation_is_a_tool_with_all_its_hints() {
        let tools = of(&caller(Access::Admin));
        let there = table::ALL.iter().filter(|entry| entry.facts.why_not(Via::Mcp).is_none());
        assert_eq!(tools.len(), there.count());
        for tool in &tools {
            let hints = tool.annotations.clone().unwrap();
            for hint in [hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint] {
                assert!(hint.is_some(), "{}", tool.name);
            }
            for schema in [&tool.input_schema, tool.output_schema.as_ref().unwrap()] {
                assert_eq!(schema.get("type"), Some(&json!("object")), "{}", tool.name);
            }
            let properties = tool.input_schema.get("properties");
            let confirms = properties.is_some_and(|properties| properties.get("confirm").is_some());
            assert_eq!(confirms, hints.destructive_hint == Some(true), "{}", tool.name);
        }
        let reading = of(&caller(Access::Read));
        assert!(reading.iter().all(|tool| tool.annotations.as_ref().unwrap().read_only_hint == Some(true)));
        assert!(!reading.is_empty());
    }

    #[test]
    fn long_lists_are_cut_and_messages_are_linked_to() {
        let items: Vec<Value> = (0..150).map(|n| json!({"message_id": n.to_string()})).collect();
        let result = told(json!({"items": items}));
        let answer = result.structured_content.unwrap();
        assert_eq!(answer["items"].as_array().unwrap().len(), LIST_CUT);
        assert!(result.content[1].as_text().unwrap().text.contains("items has 150 entries"));
        assert_eq!(result.content.len(), 2 + LINKS);
    }
}
