//! Telegram's bot API, as far as the plugin uses it: <https://core.telegram.org/bots/api>.

mod file;
mod refusal;
pub(crate) mod send;
pub(crate) mod wire;

use std::{fmt, time::Duration};

use reqwest::header::RETRY_AFTER;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub(crate) use refusal::{ApiError, Refused};
use wire::{Reply, User, WebhookInfo};

/// For an answer of Telegram's; a poll may take longer by what it is told to wait.
const TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was idle for longer is not used again: Telegram's servers close idle ones, and a send that meets
/// the end of its connection is one of which nobody knows whether it was done.
const IDLE: Duration = Duration::from_secs(15);
/// The longest answer that is read; a poll's is 4 MiB at most.
const MAX_REPLY_BYTES: usize = 16 << 20;

/// A client for one bot.
#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    /// With the token in it: never to be shown.
    base: SecretString,
    /// Where files are, likewise.
    files: SecretString,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api")
    }
}

impl Api {
    pub(crate) fn new(api_url: &str, token: &SecretString) -> Result<Self, reqwest::Error> {
        // A redirect would carry the token to wherever it points.
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // Shorter than the time-out of any call: whoever was not even reached knows nothing of it.
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let (server, token) = (api_url.trim_end_matches('/'), token.expose_secret());
        let (base, files) = (format!("{server}/bot{token}"), format!("{server}/file/bot{token}"));
        Ok(Self { http, base: SecretString::from(base), files: SecretString::from(files) })
    }

    /// Who the bot is.
    pub(crate) async fn me(&self) -> Result<User, ApiError> {
        self.call("getMe", &json!({}), TIMEOUT).await
    }

    /// The updates numbered `offset` and higher, confirming all below; without an offset all that are not confirmed.
    /// Waits up to `wait_s` for the first. They come as they are: one that cannot be read must not hold up the others.
    pub(crate) async fn updates(&self, offset: Option<i64>, wait_s: u64) -> Result<Vec<Value>, ApiError> {
        let mut ask = json!({"limit": 100, "timeout": wait_s, "allowed_updates": wire::WANTED});
        if let Some(offset) = offset {
            ask["offset"] = offset.into();
        }
        self.call("getUpdates", &ask, TIMEOUT + Duration::from_secs(wait_s)).await
    }

    pub(crate) async fn set_webhook(&self, url: &str, secret: &str, connections: u32) -> Result<bool, ApiError> {
        let ask = json!({
            "url": url, "secret_token": secret, "max_connections": connections, "allowed_updates": wire::WANTED,
        });
        self.call("setWebhook", &ask, TIMEOUT).await
    }

    /// What waits at Telegram stays there for the next poll.
    pub(crate) async fn delete_webhook(&self) -> Result<bool, ApiError> {
        self.call("deleteWebhook", &json!({"drop_pending_updates": false}), TIMEOUT).await
    }

    pub(crate) async fn webhook_info(&self) -> Result<WebhookInfo, ApiError> {
        self.call("getWebhookInfo", &json!({}), TIMEOUT).await
    }

    /// The menu of commands that people see.
    pub(crate) async fn set_commands(&self, commands: &[(&str, &str)]) -> Result<bool, ApiError> {
        let list =
            commands.iter().map(|(command, description)| json!({"command": command, "description": description}));
        self.call("setMyCommands", &json!({"commands": list.collect::<Vec<_>>()}), TIMEOUT).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        ask: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, ApiError> {
        let url = format!("{}/{method}", self.base.expose_secret());
        let sent = self.http.post(url).timeout(timeout).json(ask).send().await;
        // The address, with the token in it, leaves the error here.
        let response = sent.map_err(|error| ApiError::of_request(error.without_url()))?;
        let status = response.status();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = read(response, MAX_REPLY_BYTES).await?;
        match serde_json::from_slice::<Reply<T>>(&body) {
            Ok(Reply { ok: true, result: Some(result), .. }) => Ok(result),
            Ok(Reply { ok: true, result: None, .. }) if status.is_success() => Err(ApiError::Unreadable),
            Ok(reply) => Err(ApiError::Refused(Refused::of(status.as_u16(), header, reply.error_code, reply))),
            Err(_) if status.is_success() => Err(ApiError::Unreadable),
            // A gateway in front of Telegram answers in its own way.
            Err(_) => Err(ApiError::Refused(Refused::by_gateway(status.as_u16(), header))),
        }
    }
}

async fn read(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| ApiError::of_request(error.without_url()))? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Err(ApiError::Unreadable);
        }
    }
    Ok(body)
}
