//! The plugin: polls, reports, delivers, says what failed.

use std::{num::NonZeroUsize, time::Duration};

use async_trait::async_trait;
use broca_core::{
    DeliveryError, Incoming, MessageId, Part, Profile, Receipt, Response, Sender,
    agent::{Failure, FailureClass},
    delivery::Settlement,
};
use broca_plugin::{Blueprint, Capabilities, Context, IngestError, Manifest, Parts, Plugin, PluginError, PluginState};
use reqwest::{StatusCode, header::RETRY_AFTER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Api, Send, SentPart, Update, message_id};

/// Between two tries while the platform or the pipeline is away.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the platform holds a poll open while nobody writes.
const POLL_WAIT_MS: u64 = 20_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DemoSettings {
    /// Where the platform is, e.g. `http://127.0.0.1:8090`.
    pub url: String,
    /// Characters in one platform message; a longer answer is sent in parts. Without it, every answer is one message.
    #[serde(default)]
    pub max_text_chars: Option<NonZeroUsize>,
}

/// The plugin as the binary finds it.
pub fn blueprint() -> Blueprint {
    Blueprint::new(manifest(), DemoPlugin::new)
}

fn manifest() -> Manifest {
    let capabilities = Capabilities { settles: true, ..Capabilities::default() };
    Manifest { capabilities, ..Manifest::new("demo", env!("CARGO_PKG_VERSION")) }
}

#[derive(Debug)]
pub struct DemoPlugin {
    api: Api,
    max_text_chars: Option<usize>,
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
        Ok(Self { api, max_text_chars: settings.max_text_chars.map(NonZeroUsize::get) })
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
        let mut manifest = manifest();
        manifest.capabilities.max_text_chars = self.max_text_chars;
        manifest
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
        _message_id: MessageId,
        parts: &Parts,
    ) -> Result<Receipt, DeliveryError> {
        let mut rest = response.rest();
        loop {
            let (text, after) = self.cut(rest);
            let send = Send {
                response_id: response.id,
                user: &profile.platform_user_id,
                chat_id: response.chat_id.as_deref(),
                text,
                part: parts.all().len(),
                last: after.is_empty(),
            };
            let id = self.send(&send).await?;
            if send.last {
                return Ok(parts.receipt(id));
            }
            parts.sent(id, text.len()).await?;
            rest = after;
        }
    }

    async fn settle(&self, response: &Response, _profile: &Profile, _message_id: MessageId) -> Settlement {
        match self.api.sent(response.id).await {
            Ok(sent) if sent.is_empty() => Settlement::NotDelivered,
            Ok(sent) if sent.iter().any(|part| part.last) => {
                let platform_message_ids = sent.into_iter().map(|part| part.message_id).collect();
                Settlement::Delivered(Receipt { platform_message_ids })
            }
            Ok(sent) => Settlement::Partly(in_full(sent)),
            Err(_) => Settlement::CannotTell,
        }
    }
}

impl DemoPlugin {
    /// As much of the text as one message takes, and what is left.
    fn cut<'a>(&self, text: &'a str) -> (&'a str, &'a str) {
        let end = self.max_text_chars.and_then(|chars| text.char_indices().nth(chars));
        text.split_at(end.map_or(text.len(), |(at, _)| at))
    }

    /// Sends one part; the platform's id of it.
    async fn send(&self, send: &Send<'_>) -> Result<String, DeliveryError> {
        let reply = match self.api.send(send).await {
            Ok(reply) if reply.status().is_success() => match message_id(reply).await {
                Ok(id) => return Ok(id),
                Err(error) => Err(error),
            },
            other => other,
        };
        match reply {
            Ok(refusal) => Err(refused(&refusal)),
            Err(error) if error.is_connect() => {
                Err(retry(None, FailureClass::Unavailable, "the platform cannot be reached"))
            }
            Err(error) => match self.api.sent(send.response_id).await {
                Ok(sent) => match sent.into_iter().nth(send.part) {
                    Some(part) => Ok(part.message_id),
                    None => Err(after_silence(&error)),
                },
                Err(_) => Err(in_doubt()),
            },
        }
    }
}

/// Parts as the pipeline remembers them: this platform's texts are the answer's, cut and nothing else.
fn in_full(sent: Vec<SentPart>) -> Vec<Part> {
    let mut text_end = 0;
    let part = |sent: SentPart| {
        text_end += sent.bytes;
        Part { platform_message_id: sent.message_id, text_end }
    };
    sent.into_iter().map(part).collect()
}

fn incoming(update: Update) -> Incoming {
    Incoming {
        event_id: update.update_id.to_string(),
        sender: Sender { username: Some(update.user.clone()), platform_user_id: update.user, ..Sender::default() },
        chat_id: update.chat_id,
        // A question.
        urgent: update.text.trim_end().ends_with('?'),
        text: update.text,
        ..Incoming::default()
    }
}

/// The send got no answer, and the platform says that it does not have it.
fn after_silence(error: &reqwest::Error) -> DeliveryError {
    // The platform keeps a receipt before it answers, and what it has not kept when the connection ends it never
    // will. After a timeout it may still have the request in hand.
    if error.is_timeout() {
        in_doubt()
    } else {
        retry(None, FailureClass::Unavailable, "the platform cut the connection")
    }
}

fn in_doubt() -> DeliveryError {
    DeliveryError::Unknown(Failure::new(
        FailureClass::Timeout,
        "the platform did not say whether it has the answer: ask it, then replay or leave it",
    ))
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
