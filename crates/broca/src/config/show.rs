//! Every setting with its value and where it came from.

use serde::Serialize;
use serde_json::Value;

use super::{Loaded, secret::is_secret_name};

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Shown {
    pub(crate) key: String,
    /// Secrets as `***`.
    pub(crate) value: Value,
    pub(crate) source: String,
}

/// The settings, one row a value, in the order of their keys.
pub(crate) fn shown(loaded: &Loaded) -> Vec<Shown> {
    let mut rows = Vec::new();
    // A struct of plain values and maps with text keys always has a JSON form.
    let settings = serde_json::to_value(&loaded.settings).unwrap_or_default();
    flatten(String::new(), settings, &mut |key, value| {
        let value = if is_secret_name(&key) && value.is_string() { Value::from("***") } else { value };
        let source = source(loaded, &key, &value);
        rows.push(Shown { key, value, source });
    });
    rows
}

fn source(loaded: &Loaded, key: &str, value: &Value) -> String {
    let direct = loaded.source_of(key);
    // A secret that was read from a file is there although nobody set its own key.
    let file = loaded.source_of(&format!("{key}_file"));
    if direct == "default" && file != "default" && !value.is_null() { format!("{file} ({key}_file)") } else { direct }
}

fn flatten(key: String, value: Value, row: &mut dyn FnMut(String, Value)) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                flatten(if key.is_empty() { name } else { format!("{key}.{name}") }, value, row);
            }
        }
        // An empty table says nothing.
        Value::Object(_) => {}
        value => row(key, value),
    }
}
