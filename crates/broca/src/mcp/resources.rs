//! What can be looked at by its address.

use broca_admin::operations::{Caller, Code, Deps, table};
use rmcp::{
    ErrorData,
    model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate},
};
use serde_json::{Value, json};

const JSON: &str = "application/json";

/// An address, the operation that it stands for, and what it is called.
const ALL: &[(&str, &str, &str)] = &[
    ("broca://status", "status.show", "What waits, what runs and what failed"),
    ("broca://metrics", "metrics.show", "The numbers of the whole deployment"),
    ("broca://check", "check.run", "Whether every message is over or on its way"),
    ("broca://dlq", "dlq.list", "The latest dead letters"),
    ("broca://holds", "hold.list", "What is on hold"),
    ("broca://audit", "audit.list", "What operators did last"),
];

/// The beginnings of addresses that end with an id.
const BY_ID: &[(&str, &str, &str)] = &[
    ("broca://message/", "message.show", "A message and its journey"),
    ("broca://explain/", "message.explain", "Where a message stands and why"),
    ("broca://dlq/", "dlq.show", "A dead letter"),
];

pub(super) fn all() -> Vec<Resource> {
    let resource = |(uri, _, title): &(&str, &str, &str)| {
        Resource::new(*uri, uri.trim_start_matches("broca://")).with_title(*title).with_mime_type(JSON)
    };
    ALL.iter().map(resource).collect()
}

pub(super) fn templates() -> Vec<ResourceTemplate> {
    let template = |(uri, operation, title): &(&str, &str, &str)| {
        ResourceTemplate::new(format!("{uri}{{id}}"), operation.replace('.', "_"))
            .with_title(*title)
            .with_mime_type(JSON)
    };
    BY_ID.iter().map(template).collect()
}

/// A link to a message.
pub(super) fn message(id: &str) -> Resource {
    Resource::new(format!("broca://message/{id}"), id).with_title("The message and its journey").with_mime_type(JSON)
}

pub(super) async fn read(deps: &Deps, caller: &Caller, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let unknown = || ErrorData::resource_not_found(format!("there is no resource {uri}"), None);
    let (operation, request) = asked(uri).ok_or_else(unknown)?;
    let entry = table::find(operation).ok_or_else(unknown)?;
    let answer = entry.call(deps, caller, request).await.map_err(|error| match error.code {
        Code::NotFound => ErrorData::resource_not_found(error.message.clone(), Some(error.json())),
        Code::Usage | Code::Unauthorised => ErrorData::invalid_params(error.message.clone(), Some(error.json())),
        Code::Failure | Code::Conflict | Code::Unavailable => {
            ErrorData::internal_error(error.message.clone(), Some(error.json()))
        }
    })?;
    Ok(ReadResourceResult::new(vec![ResourceContents::text(answer.to_string(), uri).with_mime_type(JSON)]))
}

fn asked(uri: &str) -> Option<(&'static str, Value)> {
    if let Some((_, operation, _)) = ALL.iter().find(|(known, ..)| *known == uri) {
        return Some((operation, json!({})));
    }
    BY_ID.iter().find_map(|(beginning, operation, _)| {
        let id = uri.strip_prefix(beginning).filter(|id| !id.is_empty())?;
        Some((*operation, json!({"id": id})))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_stands_for_an_operation_that_reads() {
        for (uri, operation, _) in ALL.iter().chain(BY_ID) {
            let entry = table::find(operation).unwrap_or_else(|| panic!("{uri}"));
            assert!(!entry.facts.changes(), "{uri}");
        }
        assert_eq!(asked("broca://dlq"), Some(("dlq.list", json!({}))));
        assert_eq!(asked("broca://dlq/7"), Some(("dlq.show", json!({"id": "7"}))));
        for unknown in ["broca://message/", "broca://nothing", "https://broca/"] {
            assert_eq!(asked(unknown), None);
        }
    }
}
