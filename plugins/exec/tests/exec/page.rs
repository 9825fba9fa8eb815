//! The one page and the schema say what the types say.

use std::collections::BTreeSet;

use broca_plugin_exec::protocol::{self, FromChild, ToChild, schema};
use serde_json::Value;

const PAGE: &str = include_str!("../../README.md");
const SCHEMA: &str = include_str!("../../protocol.schema.json");

/// Every line of the page's examples.
fn lines() -> Vec<&'static str> {
    PAGE.lines().map(str::trim).filter(|line| line.starts_with("{\"v\"")).collect()
}

fn types(party: &str) -> BTreeSet<String> {
    let schema = schema();
    let messages = schema.pointer(&format!("/$defs/{party}/oneOf")).or_else(|| {
        let reference = schema.pointer(&format!("/$defs/{party}/$ref"))?.as_str()?;
        schema.pointer(&format!("{}/oneOf", reference.trim_start_matches('#')))
    });
    let messages = messages.unwrap_or_else(|| panic!("{party}: {schema:#}")).as_array().unwrap();
    messages
        .iter()
        .filter_map(|message| Some(message.pointer("/properties/type/const")?.as_str()?.to_owned()))
        .collect()
}

#[test]
fn the_schema_beside_the_page_is_what_the_types_say() {
    let file: Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(file, schema(), "write it anew: broca plugin protocol > plugins/exec/protocol.schema.json");
}

#[test]
fn every_line_of_the_page_is_a_line_of_the_protocol() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for line in lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let (host, program) = (protocol::read::<ToChild>(line), protocol::read::<FromChild>(line));
        assert!(host.is_ok() != program.is_ok(), "{line}: {host:?} {program:?}");
        assert!(validator.is_valid(&value), "{line}: {:?}", validator.iter_errors(&value).next());
    }
}

#[test]
fn the_page_shows_every_message() {
    let shown: BTreeSet<String> = lines()
        .iter()
        .filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["type"].as_str()?.to_owned()))
        .collect();
    let all: BTreeSet<String> = types("HostLine").union(&types("ProgramLine")).cloned().collect();
    assert!(all.len() > 25, "{all:?}");
    assert_eq!(shown, all);
}
