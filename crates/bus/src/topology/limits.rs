//! How much a stream keeps, where a deployment wants it otherwise than the files say.

use std::time::Duration;

use serde_json::{Value, json};

use super::Config;

/// What is `None` stays as the stream's file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamLimits {
    pub stream: String,
    /// Zero is for ever.
    pub max_age: Option<Duration>,
    pub max_bytes: Option<u64>,
}

impl StreamLimits {
    pub(super) fn lay_over(&self, config: &mut Config) {
        if let Some(age) = self.max_age {
            let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            config.insert("max_age".into(), json!(nanos));
            // The server refuses to remember publishes for longer than it keeps them.
            let window = config.get("duplicate_window").and_then(Value::as_u64).unwrap_or(0);
            if nanos > 0 && window > nanos {
                config.insert("duplicate_window".into(), json!(nanos));
            }
        }
        if let Some(bytes) = self.max_bytes {
            config.insert("max_bytes".into(), json!(bytes));
        }
    }
}
