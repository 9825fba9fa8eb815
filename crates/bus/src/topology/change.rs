//! What differs between files and server, for people.

use std::{fmt, time::Duration};

use serde::Serialize;
use serde_json::Value;

/// One stream, bucket or consumer, and what apply did or would do about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// `stream BROCA_IN`, `bucket broca_settings` or `consumer BROCA_OUT.out-telegram`.
    pub target: String,
    #[serde(flatten)]
    pub kind: ChangeKind,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ChangeKind {
    Created,
    Updated {
        fields: Vec<FieldChange>,
    },
    Unchanged,
    /// Pruned.
    Removed,
    /// It differs and stays as it is.
    Refused {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldChange {
    pub field: String,
    pub from: Value,
    pub to: Value,
}

impl Change {
    pub fn is_unchanged(&self) -> bool {
        self.kind == ChangeKind::Unchanged
    }

    pub fn is_refused(&self) -> bool {
        matches!(self.kind, ChangeKind::Refused { .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.target)?;
        match &self.kind {
            ChangeKind::Created => f.write_str("created"),
            ChangeKind::Unchanged => f.write_str("unchanged"),
            ChangeKind::Removed => f.write_str("removed"),
            ChangeKind::Refused { why } => write!(f, "refused: {why}"),
            ChangeKind::Updated { fields } => {
                f.write_str("updated ")?;
                write_list(f, fields)
            }
        }
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (shown(&self.field, &self.from), shown(&self.field, &self.to));
        write!(f, "{} {from} → {to}", self.field)
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, fields: &[FieldChange]) -> fmt::Result {
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{field}")?;
    }
    Ok(())
}

/// The API gives durations in nanoseconds.
fn shown(field: &str, value: &Value) -> String {
    let duration = matches!(field, "max_age" | "duplicate_window" | "ack_wait" | "inactive_threshold");
    match value {
        Value::Number(n) if duration => match n.as_u64() {
            Some(nanos) => format!("{:?}", Duration::from_nanos(nanos)),
            None => n.to_string(),
        },
        Value::Null => "nothing".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_reads_like_a_sentence() {
        let field = |field: &str, from, to| FieldChange { field: field.into(), from, to };
        let fields = vec![
            field("ack_wait", json!(30_000_000_000_u64), json!(5_000_000_000_u64)),
            field("filter_subject", Value::Null, json!("broca.out.cli")),
            field("max_waiting", json!(1), json!(2)),
        ];
        let change = Change { target: "consumer A.b".into(), kind: ChangeKind::Updated { fields } };
        assert_eq!(
            change.to_string(),
            "consumer A.b: updated ack_wait 30s → 5s, filter_subject nothing → broca.out.cli, max_waiting 1 → 2"
        );
    }
}
