//! What `broca.toml` may have, as a JSON schema: for editors, and for the reference.

use schemars::schema_for;
use serde_json::{Value, json};

use super::{Settings, ranges::RANGES};

/// The schema of the whole, with the ranges of its numbers.
pub(crate) fn schema() -> Value {
    let mut schema = schema_for!(Settings).to_value();
    for range in RANGES {
        let parts: Vec<&str> = range.key.split('.').collect();
        limit(&mut schema, "", &parts, range.least, range.most);
    }
    schema
}

/// Writes a range to where a key is described. Tables that several keys share have one description and one range.
fn limit(root: &mut Value, at: &str, parts: &[&str], least: u64, most: u64) {
    let Some(place) = resolved(root, at) else { return };
    let Some((part, rest)) = parts.split_first() else {
        if let Some(Value::Object(described)) = root.pointer_mut(&place) {
            described.insert("minimum".to_owned(), json!(least));
            described.insert("maximum".to_owned(), json!(most));
        }
        return;
    };
    let below = match *part {
        "*" if root.pointer(&format!("{place}/items")).is_some() => format!("{place}/items"),
        "*" => format!("{place}/additionalProperties"),
        name => format!("{place}/properties/{name}"),
    };
    limit(root, &below, rest, least, most);
}

/// Where it is described what stands there: behind references, and what may also be nothing.
fn resolved(root: &Value, at: &str) -> Option<String> {
    let here = root.pointer(at)?;
    let reference = |value: &Value| Some(value.get("$ref")?.as_str()?.trim_start_matches('#').to_owned());
    let optional = || here.get("anyOf")?.as_array()?.iter().find_map(reference);
    match reference(here).or_else(optional) {
        Some(there) => resolved(root, &there),
        None => Some(at.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_in_the_schema() {
        let text = schema().to_string();
        assert!(text.contains("\"maximum\":50000"), "worker.slots");
        let root = schema();
        for range in RANGES {
            let mut at = String::new();
            for part in range.key.split('.') {
                let place = resolved(&root, &at).unwrap_or_else(|| panic!("{}", range.key));
                at = match part {
                    "*" if root.pointer(&format!("{place}/items")).is_some() => format!("{place}/items"),
                    "*" => format!("{place}/additionalProperties"),
                    name => format!("{place}/properties/{name}"),
                };
            }
            let limits = root.pointer(&at).unwrap_or_else(|| panic!("{} is no setting", range.key));
            assert_eq!(limits["maximum"], range.most, "{}", range.key);
        }
    }
}
