//! What does not fit, key by key.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One key that does not fit. The value itself is never repeated: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Dotted, without the instance; empty for the settings as a whole.
    pub key: String,
    pub what: String,
}

/// The settings do not fit. Everything that is wrong is said at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsError {
    pub problems: Vec<Problem>,
}

impl SettingsError {
    pub fn one(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { problems: vec![Problem { key: key.into(), what: what.into() }] }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { f.write_str(&self.what) } else { write!(f, "{}: {}", self.key, self.what) }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("; "))
    }
}

impl std::error::Error for SettingsError {}
