//! The platform's HTTP API, as far as the plugin uses it.

use std::time::Duration;

use broca_core::ResponseId;
use serde::{Deserialize, Serialize};

/// For the platform's answer; a poll may take longer by what it is told to wait.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Updates in one poll.
const BATCH: u64 = 50;

#[derive(Clone, Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    url: String,
}

/// Somebody wrote something.
#[derive(Debug, Deserialize)]
pub(crate) struct Update {
    pub(crate) update_id: u64,
    pub(crate) user: String,
    pub(crate) chat_id: Option<String>,
    pub(crate) text: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Send<'a> {
    pub(crate) response_id: ResponseId,
    pub(crate) user: &'a str,
    pub(crate) chat_id: Option<&'a str>,
    pub(crate) text: &'a str,
    pub(crate) part: usize,
    pub(crate) last: bool,
}

#[derive(Debug, Deserialize)]
struct Updates {
    updates: Vec<Update>,
}

#[derive(Debug, Deserialize)]
struct Sent {
    message_id: String,
}

/// A part of an answer that the platform has.
#[derive(Debug, Deserialize)]
pub(crate) struct SentPart {
    pub(crate) message_id: String,
    pub(crate) bytes: usize,
    pub(crate) last: bool,
}

#[derive(Debug, Deserialize)]
struct SentParts {
    parts: Vec<SentPart>,
}

impl Api {
    pub(crate) fn new(url: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The updates numbered `offset` and higher, confirming all below; waits up to `wait_ms` for the first of them.
    pub(crate) async fn updates(&self, offset: u64, wait_ms: u64) -> Result<Vec<Update>, reqwest::Error> {
        let query = [("offset", offset), ("limit", BATCH), ("wait_ms", wait_ms)];
        let timeout = TIMEOUT + Duration::from_millis(wait_ms);
        let request = self.http.get(format!("{}/updates", self.url)).query(&query).timeout(timeout);
        let batch: Updates = request.send().await?.error_for_status()?.json().await?;
        Ok(batch.updates)
    }

    pub(crate) async fn send(&self, send: &Send<'_>) -> Result<reqwest::Response, reqwest::Error> {
        self.http.post(format!("{}/send", self.url)).json(send).send().await
    }

    /// What the platform has of an answer.
    pub(crate) async fn sent(&self, response: ResponseId) -> Result<Vec<SentPart>, reqwest::Error> {
        let reply = self.http.get(format!("{}/sent/{response}", self.url)).send().await?;
        if reply.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let sent: SentParts = reply.error_for_status()?.json().await?;
        Ok(sent.parts)
    }
}

/// The platform's id of what it took.
pub(crate) async fn message_id(reply: reqwest::Response) -> Result<String, reqwest::Error> {
    let sent: Sent = reply.json().await?;
    Ok(sent.message_id)
}
