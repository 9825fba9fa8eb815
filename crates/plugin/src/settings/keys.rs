//! The keys of a schema, one by one, for people who look at settings.

use serde::Serialize;
use serde_json::Value;

use super::shape::Shape;

/// One key that settings may have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingKey {
    /// Dotted.
    pub key: String,
    pub description: Option<String>,
    /// What holds when nobody sets it.
    pub default: Option<Value>,
    pub is_required: bool,
    pub is_secret: bool,
}

/// No settings are deeper.
const MAX_DEPTH: usize = 8;

pub(super) fn of(root: Shape<'_>) -> Vec<SettingKey> {
    let mut found = Vec::new();
    collect(root, "", 0, &mut found);
    found
}

fn collect(table: Shape<'_>, path: &str, depth: usize, found: &mut Vec<SettingKey>) {
    let required = table.word("required").and_then(Value::as_array);
    for name in table.keys() {
        let Some(place) = table.key(name) else { continue };
        let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if !place.keys().is_empty() && depth < MAX_DEPTH {
            collect(place, &key, depth + 1, found);
            continue;
        }
        found.push(SettingKey {
            key,
            description: place.word("description").and_then(Value::as_str).map(|text| text.replace('\n', " ")),
            default: place.word("default").cloned(),
            is_required: required.is_some_and(|required| required.iter().any(|word| word == name)),
            is_secret: place.is_secret(),
        });
    }
}
