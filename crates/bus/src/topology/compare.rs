//! What differs between a definition and what the server has. Pure.

use serde_json::Value;

use super::{ChangeKind, Config, FieldChange};

/// Fields that the server never changes in place.
const FIXED_STREAM: &[&str] = &["storage", "retention", "max_consumers", "deny_delete", "deny_purge"];
const FIXED_CONSUMER: &[&str] = &["ack_policy", "deliver_policy", "replay_policy", "max_waiting"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Stream,
    Consumer,
}

impl Sort {
    fn fixed(self) -> &'static [&'static str] {
        match self {
            Self::Stream => FIXED_STREAM,
            Self::Consumer => FIXED_CONSUMER,
        }
    }
}

/// What must happen so that `current` says everything that `wanted` says. Fields that `wanted` does not
/// mention belong to the operator.
pub(super) fn compare(sort: Sort, wanted: &Config, current: Option<&Config>) -> ChangeKind {
    let Some(current) = current else { return ChangeKind::Created };
    let fields: Vec<FieldChange> = wanted
        .iter()
        .filter(|(field, to)| !same(current.get(*field), to))
        .map(|(field, to)| FieldChange {
            field: field.clone(),
            from: current.get(field).cloned().unwrap_or(Value::Null),
            to: to.clone(),
        })
        .collect();
    let fixed: Vec<String> =
        fields.iter().filter(|f| sort.fixed().contains(&f.field.as_str())).map(ToString::to_string).collect();
    if !fixed.is_empty() {
        return ChangeKind::Refused { why: refusal(sort, &fixed.join(", ")) };
    }
    if fields.is_empty() { ChangeKind::Unchanged } else { ChangeKind::Updated { fields } }
}

/// What to send: the server's own configuration with the definition laid over it.
pub(super) fn overlay(current: Option<&Config>, wanted: &Config) -> Config {
    let mut config = current.cloned().unwrap_or_default();
    config.extend(wanted.iter().map(|(field, value)| (field.clone(), value.clone())));
    config
}

fn refusal(sort: Sort, fields: &str) -> String {
    match sort {
        Sort::Stream => format!(
            "{fields} cannot be changed in place; to recreate the stream, stop Broca, delete it with `nats stream rm`, \
             apply again and start: the sweep publishes again what SQL still has to be done"
        ),
        Sort::Consumer => format!(
            "{fields} cannot be changed in place; delete the consumer with `nats consumer rm` and apply again: \
             its undecided messages are delivered once more"
        ),
    }
}

/// The server leaves out what is zero, empty or false.
fn same(current: Option<&Value>, wanted: &Value) -> bool {
    match current {
        Some(current) => current == wanted || (is_zero(current) && is_zero(wanted)),
        None => is_zero(wanted),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: Value) -> Config {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn only_what_the_definition_says_is_compared() {
        let wanted = config(json!({"name": "A", "max_age": 0, "subjects": ["a"], "sealed": false}));
        let current = config(json!({"name": "A", "subjects": ["a"], "metadata": {"owner": "ops"}}));
        assert_eq!(compare(Sort::Stream, &wanted, Some(&current)), ChangeKind::Unchanged);
        assert_eq!(compare(Sort::Stream, &wanted, None), ChangeKind::Created);
        let laid = overlay(Some(&current), &wanted);
        assert_eq!(laid.get("metadata"), Some(&json!({"owner": "ops"})));
        assert_eq!(laid.get("sealed"), Some(&json!(false)));
    }

    #[test]
    fn a_fixed_field_refuses_the_whole_and_says_what_to_do() {
        let wanted = config(json!({"retention": "workqueue", "max_bytes": 5}));
        let current = config(json!({"retention": "limits", "max_bytes": 4}));
        let ChangeKind::Refused { why } = compare(Sort::Stream, &wanted, Some(&current)) else {
            panic!("refused");
        };
        assert!(why.contains("retention limits → workqueue") && why.contains("nats stream rm"), "{why}");
        assert!(!why.contains("max_bytes"), "{why}");
    }
}
