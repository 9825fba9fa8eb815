//! The protocol as a JSON schema, made from the types.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{FromChild, Line, ToChild};

/// The schema of every line in both directions. `$defs/HostLine` is what the host writes, `$defs/ProgramLine` what the
/// program writes.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let host = generator.subschema_for::<Line<ToChild>>();
    let program = generator.subschema_for::<Line<FromChild>>();
    let mut defs = generator.take_definitions(true);
    defs.insert("HostLine".into(), host.to_value());
    defs.insert("ProgramLine".into(), program.to_value());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Broca's plugin protocol, version 1",
        "description": "JSON objects, one a line, UTF-8, on a program's standard input (HostLine) and output (ProgramLine).",
        "oneOf": [{"$ref": "#/$defs/HostLine"}, {"$ref": "#/$defs/ProgramLine"}],
        "$defs": defs,
    })
}
