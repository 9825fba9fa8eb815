//! The platform's HTTP API, as far as the plugin uses it.

use std::time::Duration;

use broca_core::{Receipt, ResponseId};
use serde::{Deserialize, Serialize};

/// Longer than the platform holds a poll open.
const POLL_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_WAIT_MS: u64 = 20_000;
const BATCH: usize = 50;

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
}

#[derive(Debug, Deserialize)]
struct Updates {
    updates: Vec<Update>,
}

#[derive(Debug, Deserialize)]
struct Sent {
    message_id: String,
}

impl Api {
    pub(crate) fn new(url: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    /// Waits for updates numbered `offset` and higher; confirms all below.
    pub(crate) async fn updates(&self, offset: u64) -> Result<Vec<Update>, reqwest::Error> {
        let query = [("offset", offset), ("limit", BATCH as u64), ("wait_ms", POLL_WAIT_MS)];
        let request = self.http.get(format!("{}/updates", self.url)).query(&query).timeout(POLL_TIMEOUT);
        let batch: Updates = request.send().await?.error_for_status()?.json().await?;
        Ok(batch.updates)
    }

    pub(crate) async fn send(&self, send: &Send<'_>) -> Result<reqwest::Response, reqwest::Error> {
        self.http.post(format!("{}/send", self.url)).json(send).send().await
    }

    /// The receipt of an answer, `None` when the platform does not have it.
    pub(crate) async fn sent(&self, response: ResponseId) -> Result<Option<Receipt>, reqwest::Error> {
        let reply = self.http.get(format!("{}/sent/{response}", self.url)).send().await?;
        if reply.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        receipt(reply.error_for_status()?).await.map(Some)
    }
}

pub(crate) async fn receipt(reply: reqwest::Response) -> Result<Receipt, reqwest::Error> {
    let sent: Sent = reply.json().await?;
    Ok(Receipt::of(sent.message_id))
}
