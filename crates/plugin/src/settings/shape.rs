//! Walking a JSON schema beside a value: what kind of value stands where, and which of them are secrets.

use serde_json::Value;

use super::{Secret, secret::FORMAT};

/// References that lead to references end here; no settings are that deep.
const MAX_DEPTH: usize = 16;

/// A place in a schema.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    root: &'a Value,
    at: &'a Value,
}

impl<'a> Shape<'a> {
    pub(super) fn root(schema: &'a Value) -> Self {
        Self { root: schema, at: schema }
    }

    /// The plain schemas that this one stands for: references followed, alternatives listed.
    fn plain(self) -> Vec<&'a Value> {
        let mut plain = Vec::new();
        self.collect(self.at, &mut plain, 0);
        plain
    }

    fn collect(self, at: &'a Value, plain: &mut Vec<&'a Value>, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        plain.push(at);
        let referred = at.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
        if let Some(target) = referred.and_then(|path| self.root.pointer(path)) {
            self.collect(target, plain, depth + 1);
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            for alternative in at.get(word).and_then(Value::as_array).into_iter().flatten() {
                self.collect(alternative, plain, depth + 1);
            }
        }
    }

    fn property(self, key: &str) -> Option<Self> {
        let plain = self.plain();
        let named = plain.iter().find_map(|schema| schema.get("properties")?.get(key));
        let other = || plain.iter().find_map(|schema| schema.get("additionalProperties").filter(|s| s.is_object()));
        named.or_else(other).map(|at| Self { at, ..self })
    }

    fn items(self) -> Option<Self> {
        let at = self.plain().into_iter().find_map(|schema| schema.get("items"))?;
        Some(Self { at, ..self })
    }

    /// The place of a dotted key.
    pub(super) fn key(self, key: &str) -> Option<Self> {
        key.split('.').try_fold(self, |at, part| at.property(part))
    }

    /// The names that a table may have.
    pub(super) fn keys(self) -> Vec<&'a str> {
        let tables = self.plain().into_iter().filter_map(|schema| schema.get("properties")?.as_object());
        tables.flat_map(|table| table.keys().map(String::as_str)).collect()
    }

    /// What a keyword of the schema says here; what stands nearest wins.
    pub(super) fn word(self, keyword: &str) -> Option<&'a Value> {
        self.plain().into_iter().find_map(|schema| schema.get(keyword))
    }

    fn allows(self, kind: &str) -> bool {
        self.plain().iter().any(|schema| match schema.get("type") {
            Some(Value::String(one)) => one == kind,
            Some(Value::Array(many)) => many.iter().any(|one| one == kind),
            // An enum's variants, whose type is that of their values.
            _ => {
                kind == "string" && (schema.get("enum").is_some() || schema.get("const").is_some_and(Value::is_string))
            }
        })
    }

    pub(super) fn is_secret(self) -> bool {
        self.plain().iter().any(|schema| schema.get("format").and_then(Value::as_str) == Some(FORMAT))
    }

    /// A variable of the environment and an argument are texts: each becomes what its place wants, where it can.
    pub(super) fn fit(self, value: Value) -> Value {
        match value {
            Value::Object(table) => {
                let fitted = |(key, value): (String, Value)| {
                    let value = self.property(&key).map_or(value.clone(), |place| place.fit(value));
                    (key, value)
                };
                Value::Object(table.into_iter().map(fitted).collect())
            }
            Value::Array(list) => {
                let fitted = |value: Value| self.items().map_or(value.clone(), |place| place.fit(value));
                Value::Array(list.into_iter().map(fitted).collect())
            }
            Value::String(text) if !self.allows("string") => self.parse(text),
            Value::Number(number) if self.allows("string") && !self.allows("number") && !self.allows("integer") => {
                Value::String(number.to_string())
            }
            other => other,
        }
    }

    fn parse(self, text: String) -> Value {
        match serde_json::from_str::<Value>(&text) {
            Ok(list @ (Value::Array(_) | Value::Object(_))) => self.fit(list),
            Ok(Value::String(_)) => Value::String(text),
            Ok(plain) => plain,
            // A list of texts may be written with commas.
            Err(_) if self.allows("array") => {
                let parts = text.split(',').map(|part| Value::String(part.trim().to_owned()));
                self.fit(Value::Array(parts.collect()))
            }
            Err(_) => Value::String(text),
        }
    }

    /// The value as it may be shown.
    pub(super) fn masked(self, value: &Value) -> Value {
        match value {
            Value::Object(table) => {
                let shown = |(key, value): (&String, &Value)| {
                    let value = self.property(key).map_or_else(|| value.clone(), |place| place.masked(value));
                    (key.clone(), value)
                };
                Value::Object(table.iter().map(shown).collect())
            }
            Value::Array(list) => {
                let shown = |value: &Value| self.items().map_or_else(|| value.clone(), |place| place.masked(value));
                Value::Array(list.iter().map(shown).collect())
            }
            Value::String(text) if self.is_secret() && !Secret::is_reference(text) => Value::String("***".into()),
            other => other.clone(),
        }
    }

    /// The dotted keys at which a secret stands itself, where only a reference may.
    pub(super) fn bare_secrets(self, value: &Value, path: &str, found: &mut Vec<String>) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    if let Some(place) = self.property(key) {
                        place.bare_secrets(value, &below(key), found);
                    }
                }
            }
            Value::Array(list) => {
                for (number, value) in list.iter().enumerate() {
                    if let Some(place) = self.items() {
                        place.bare_secrets(value, &below(&number.to_string()), found);
                    }
                }
            }
            Value::String(text) if self.is_secret() && !Secret::is_reference(text) => found.push(path.to_owned()),
            _ => {}
        }
    }
}
