//! The plugin: polls, reports, delivers, says what failed.

use std::time::Duration;

use async_trait::async_trait;
use broca_core::{
    DeliveryError, Incoming, MessageId, Profile, Receipt, Response, Sender,
    agent::{Failure, FailureClass},
    delivery::Settlement,
};
use broca_plugin::{Capabilities, Context, IngestError, Manifest, Plugin, PluginError, PluginState};
use reqwest::{StatusCode, header::RETRY_AFTER};
use serde::{Deserialize, Serialize};

use crate::api::{Api, Send, Update, receipt};

/// Between two tries while the platform or the pipeline is away.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the platform holds a poll open while nobody writes.
const POLL_WAIT_MS: u64 = 20_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoSettings {
    /// Where the platform is, e.g. `http://127.0.0.1:8090`.
    pub url: String,
}

#[derive(Debug)]
pub struct DemoPlugin {
    api: Api,
}

impl DemoPlugin {
    /// # Errors
    /// [`PluginError::Settings`] when `url` is no HTTP address, or the HTTP client cannot be built.
    pub fn new(settings: DemoSettings) -> Result<Self, PluginError> {
        let http = reqwest::Url::parse(&settings.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !http {
            return Err(PluginError::Settings("url is not an http address: set e.g. http://127.0.0.1:8090".into()));
        }
        let api = Api::new(&settings.url).map_err(|e| PluginError::Settings(format!("no HTTP client: {e}")))?;
        Ok(Self { api })
    }

    /// Waits for updates and reports them. `offset` then confirms what was accepted or never can be.
    async fn turn(&self, ctx: &Context, offset: &mut u64, wait_ms: u64) -> Result<(), String> {
        // A poll is given up at once when the process should stop, a report never.
        let polling = self.api.updates(*offset, wait_ms);
        let Some(polled) = ctx.shutdown.run_until_cancelled(polling).await else { return Ok(()) };
        let mut updates = polled.map_err(|e| format!("the platform does not answer: {}", e.without_url()))?;
        // The number says which was first; the batch need not, and it may name one twice.
        updates.sort_by_key(|update| update.update_id);
        for update in updates {
            let next = update.update_id + 1;
            match ctx.ingest(incoming(update)).await {
                Ok(_) => *offset = next,
                Err(IngestError::Refused(refusal)) => {
                    tracing::info!(update = next - 1, %refusal, "message refused");
                    *offset = next;
                }
                Err(IngestError::Unavailable(reason)) => return Err(reason),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for DemoPlugin {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: "demo".into(),
            platform: "demo".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            capabilities: Capabilities { max_text_chars: None, settles: true, replicas: false },
        }
    }

    async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        let mut offset = 0;
        let mut state = PluginState::Connecting;
        while !ctx.shutdown.is_cancelled() {
            // The first poll does not wait: it finds out whether the platform is there.
            let wait_ms = if state == PluginState::Connected { POLL_WAIT_MS } else { 0 };
            let now = match self.turn(&ctx, &mut offset, wait_ms).await {
                Ok(()) => PluginState::Connected,
                Err(detail) => PluginState::Degraded { detail },
            };
            if state != now && !ctx.shutdown.is_cancelled() {
                ctx.report(now.clone());
                state = now;
            }
            if state != PluginState::Connected {
                ctx.shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
        Ok(())
    }

    async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        message_id: MessageId,
    ) -> Result<Receipt, DeliveryError> {
        let send = Send {
            response_id: response.id,
            user: &profile.platform_user_id,
            chat_id: response.chat_id.as_deref(),
            text: &response.text,
        };
        let reply = match self.api.send(&send).await {
            Ok(reply) if reply.status().is_success() => match receipt(reply).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) => Err(error),
            },
            other => other,
        };
        match reply {
            Ok(refusal) => Err(refused(&refusal)),
            Err(error) if error.is_connect() => {
                Err(retry(None, FailureClass::Unavailable, "the platform cannot be reached"))
            }
            Err(error) => after_silence(&error, self.settle(response, profile, message_id).await),
        }
    }

    async fn settle(&self, response: &Response, _profile: &Profile, _message_id: MessageId) -> Settlement {
        match self.api.sent(response.id).await {
            Ok(Some(receipt)) => Settlement::Delivered(receipt),
            Ok(None) => Settlement::NotDelivered,
            Err(_) => Settlement::CannotTell,
        }
    }
}

fn incoming(update: Update) -> Incoming {
    Incoming {
        event_id: update.update_id.to_string(),
        sender: Sender { username: Some(update.user.clone()), platform_user_id: update.user, ..Sender::default() },
        chat_id: update.chat_id,
        is_group: false,
        text: update.text,
        attributes: serde_json::Value::Null,
        trace: None,
    }
}

/// The send got no answer, and the platform was asked about it.
fn after_silence(error: &reqwest::Error, settled: Settlement) -> Result<Receipt, DeliveryError> {
    match settled {
        Settlement::Delivered(receipt) => Ok(receipt),
        // The platform keeps a receipt before it answers, and what it has not kept when the connection ends it never
        // will. After a timeout it may still have the request in hand.
        Settlement::NotDelivered if !error.is_timeout() => {
            Err(retry(None, FailureClass::Unavailable, "the platform cut the connection"))
        }
        Settlement::NotDelivered | Settlement::CannotTell => Err(DeliveryError::Unknown(Failure::new(
            FailureClass::Timeout,
            "the platform did not say whether it has the answer: ask it, then replay or leave it",
        ))),
    }
}

/// What a status other than success means for the answer.
fn refused(reply: &reqwest::Response) -> DeliveryError {
    let status = reply.status();
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            let after = reply.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
            retry(after.map(Duration::from_secs), FailureClass::RateLimited, "the platform limits the rate")
        }
        StatusCode::FORBIDDEN => {
            DeliveryError::Dead(Failure::new(FailureClass::Blocked, "the person blocked the bot on the platform"))
        }
        // This platform has done nothing when it says so; of one that may have, this would be unknown.
        status if status.is_server_error() => {
            retry(None, FailureClass::Unavailable, &format!("the platform answered {status}"))
        }
        status => DeliveryError::Dead(Failure::new(FailureClass::Rejected, format!("the platform answered {status}"))),
    }
}

fn retry(after: Option<Duration>, class: FailureClass, reason: &str) -> DeliveryError {
    DeliveryError::Retry { after, failure: Failure::new(class, reason) }
}
