//! Dropping what lies under one subject of a stream.

use serde::Deserialize;
use serde_json::json;

use crate::{Bus, BusError, connect::API_TIMEOUT};

#[derive(Deserialize)]
struct Purged {
    purged: u64,
}

impl Bus {
    /// Drops every message that `stream` holds under `subject`; says how many there were. None is no failure. Needs
    /// the right to publish to `$JS.API.STREAM.PURGE.<stream>`.
    pub async fn purge(&self, stream: &str, subject: &str) -> Result<u64, BusError> {
        let request = format!("STREAM.PURGE.{stream}");
        let answer: Purged = self.inner.api.request(&request, &json!({"filter": subject}), API_TIMEOUT).await?;
        Ok(answer.purged)
    }
}
