//! Answers out: cut into messages, sent one after another, each noted before the next.

use std::{sync::Arc, time::Duration};

use broca_core::{
    DeliveryError, Profile, Receipt, Response,
    agent::{Failure, FailureClass},
};
use broca_plugin::Parts;
use tokio::time::Instant;

use crate::{
    api::{
        Api, ApiError, Refused,
        send::{Manner, Outgoing, Target},
    },
    pace::Pace,
    place,
    settings::Rules,
    text::{self, Body, Part, Room, TextPart},
};

/// How long a message waits for its turn under Telegram's limits within one attempt.
const PATIENCE: Duration = Duration::from_secs(10);
/// An attempt begins no further message after this long; the rest is sent by the next.
const ATTEMPT: Duration = Duration::from_secs(25);

#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) api: Api,
    pub(crate) pace: Arc<Pace>,
}

/// One attempt at an answer.
struct Attempt<'a> {
    outbox: &'a Outbox,
    /// Becomes the chat that a group has moved to.
    to: Target,
    /// After this, nothing more is begun.
    until: Instant,
}

/// A message that was not sent.
enum Unsent {
    /// It must not be, or nobody knows.
    Failed(DeliveryError),
    /// Telegram does not take it in this form.
    Refused(Refused),
}

impl Outbox {
    pub(crate) async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        sent: &Parts,
        rules: &Rules,
    ) -> Result<Receipt, DeliveryError> {
        let chat_id = response.chat_id.as_deref();
        let to = place::of_answer(chat_id, profile).ok_or_else(|| {
            dead(FailureClass::NotFound, "the chat is no number of Telegram's: the answer belongs elsewhere")
        })?;
        let mut attempt = Attempt { outbox: self, to, until: Instant::now() + ATTEMPT };
        let parts = text::parts(&response.text, Room::default(), rules.images);
        let first = next(&parts, sent);
        for (at, part) in parts.iter().enumerate().skip(first) {
            if at > first && attempt.is_over() {
                return Err(retry(None, FailureClass::RateLimited, "a long answer: the rest follows"));
            }
            let reply_to = (at == 0).then(|| rules.reply_to(response, to.chat)).flatten();
            let manner = Manner { reply_to, without_preview: !rules.link_previews };
            let done = sent.all().last().map_or(0, |part| part.text_end);
            // A part of which nothing is visible, as Telegram sees it, is sent by leaving it out.
            let Some(id) = attempt.send(part, manner).await? else { continue };
            sent.sent(id.to_string(), part.end.saturating_sub(done)).await?;
        }
        Ok(Receipt { platform_message_ids: sent.all().into_iter().map(|part| part.platform_message_id).collect() })
    }
}

impl Attempt<'_> {
    fn is_over(&self) -> bool {
        Instant::now() > self.until
    }

    /// Sends one message; its number.
    async fn send(&mut self, part: &Part, manner: Manner) -> Result<Option<i64>, DeliveryError> {
        match &part.body {
            Body::Text(text) => self.send_text(text, manner).await,
            Body::Photo { url, caption, instead } => match self.call(Outgoing::Photo { url, caption }, manner).await {
                Ok(id) => Ok(Some(id)),
                Err(Unsent::Refused(refused)) if refused.is_bad_picture() => {
                    tracing::info!(chat = self.to.chat, %refused, "a picture is sent as a link");
                    self.send_text(instead, manner).await
                }
                Err(unsent) => Err(unsent.verdict()),
            },
        }
    }

    async fn send_text(&mut self, text: &TextPart, manner: Manner) -> Result<Option<i64>, DeliveryError> {
        let mut result = self.call(Outgoing::Html(&text.html), manner).await;
        if let Err(Unsent::Refused(refused)) = &result
            && refused.is_bad_markup()
        {
            tracing::warn!(chat = self.to.chat, %refused, "a message is sent without its markup");
            result = self.call(Outgoing::Plain(&text.plain), manner).await;
        }
        match result {
            Ok(id) => Ok(Some(id)),
            Err(Unsent::Refused(refused)) if refused.is_empty_text() => Ok(None),
            Err(unsent) => Err(unsent.verdict()),
        }
    }

    /// Calls until Telegram took it, or will not now.
    async fn call(&mut self, what: Outgoing<'_>, manner: Manner) -> Result<i64, Unsent> {
        let Outbox { api, pace } = self.outbox;
        let mut moved = false;
        loop {
            if let Err(wait) = pace.admit(self.to.chat, PATIENCE).await {
                let why = "Telegram's limits want a pause";
                return Err(Unsent::Failed(retry(Some(wait), FailureClass::RateLimited, why)));
            }
            let error = match api.send(self.to, what, manner).await {
                Ok(id) => return Ok(id),
                Err(error) => error,
            };
            match error {
                ApiError::Refused(Refused { migrated_to: Some(chat), .. }) if !moved => {
                    moved = true;
                    self.to.chat = chat;
                }
                ApiError::Refused(refused) if refused.code == 429 => {
                    let wait = refused.retry_after.unwrap_or(Duration::from_secs(1));
                    pace.limited(self.to.chat, wait);
                    if wait > PATIENCE || self.is_over() {
                        return Err(Unsent::Refused(refused));
                    }
                }
                ApiError::Refused(refused) => return Err(Unsent::Refused(refused)),
                error => return Err(Unsent::Failed(silence(&error))),
            }
        }
    }
}

/// The first part that no attempt has sent.
fn next(parts: &[Part], sent: &Parts) -> usize {
    let sent = sent.all();
    let Some(last) = sent.last() else { return 0 };
    // Another version of this plugin may have cut the text at other places.
    match parts.get(sent.len() - 1) {
        Some(part) if part.end == last.text_end => sent.len(),
        _ => parts.iter().take_while(|part| part.end <= last.text_end).count(),
    }
}

impl Unsent {
    fn verdict(self) -> DeliveryError {
        match self {
            Self::Failed(error) => error,
            Self::Refused(refused) => verdict(&refused),
        }
    }
}

/// No answer of Telegram's.
fn silence(error: &ApiError) -> DeliveryError {
    match error {
        ApiError::NotReached(_) => retry(None, FailureClass::Unavailable, &error.to_string()),
        _ => DeliveryError::Unknown(Failure::new(
            FailureClass::Timeout,
            format!(
                "{error}; it cannot be asked whether it has the answer: look into the chat, then replay or leave it"
            ),
        )),
    }
}

/// What Telegram's refusal means for the answer.
fn verdict(refused: &Refused) -> DeliveryError {
    let reason = refused.to_string();
    match refused.code {
        429 => retry(refused.retry_after, FailureClass::RateLimited, &reason),
        401 | 404 if refused.has_bad_token() => retry(
            Some(Duration::from_secs(60)),
            FailureClass::Unauthorised,
            &format!("{reason}: renew the bot's token"),
        ),
        403 => dead(FailureClass::Blocked, &reason),
        400 if refused.is_missing_chat() || refused.is_missing_thread() => dead(FailureClass::NotFound, &reason),
        // A gateway that waited in vain does not know what became of the call.
        504 => DeliveryError::Unknown(Failure::new(FailureClass::Timeout, reason)),
        500..=599 => retry(refused.retry_after, FailureClass::Unavailable, &reason),
        _ => dead(FailureClass::Rejected, &reason),
    }
}

fn retry(after: Option<Duration>, class: FailureClass, reason: &str) -> DeliveryError {
    DeliveryError::Retry { after, failure: Failure::new(class, reason) }
}

fn dead(class: FailureClass, reason: &str) -> DeliveryError {
    DeliveryError::Dead(Failure::new(class, reason))
}
