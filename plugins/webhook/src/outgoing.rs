//! Answers out, as signed webhooks.

use std::time::{Duration, SystemTime};

use broca_core::{
    DeliveryError, MessageId, Profile, Receipt, Response,
    agent::{Failure, FailureClass},
};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

use crate::{
    incoming::seconds_now,
    settings::Outgoing,
    signature::{ID, SIGNATURE, TIMESTAMP},
};

/// The receiver and the way there.
#[derive(Debug)]
pub(crate) struct Sender {
    http: reqwest::Client,
    to: Outgoing,
}

impl Sender {
    pub(crate) fn new(to: Outgoing) -> Result<Self, reqwest::Error> {
        // A redirect would carry a person's answer to an address that nobody configured.
        let http =
            reqwest::Client::builder().timeout(to.timeout).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { http, to })
    }

    /// Whether an answer that may have arrived may be sent again.
    pub(crate) fn may_repeat(&self) -> bool {
        self.to.receiver_dedupes
    }

    /// The response's id is the webhook's, the same in every attempt.
    pub(crate) async fn send(
        &self,
        response: &Response,
        profile: &Profile,
        message: MessageId,
        attributes: &Value,
    ) -> Result<Receipt, DeliveryError> {
        let body = json!({
            "type": "message.answered",
            "data": {
                "response_id": response.id,
                "kind": response.kind,
                "message_id": message,
                "user": profile.platform_user_id,
                "chat_id": response.chat_id,
                "text": response.text,
                "attributes": attributes,
            },
        })
        .to_string();
        let (id, now) = (response.id.to_string(), seconds_now());
        let request = self
            .http
            .post(self.to.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(ID, &id)
            .header(TIMESTAMP, now)
            .header(SIGNATURE, self.to.signer.sign(&id, now, body.as_bytes()))
            .body(body);
        match request.send().await {
            Ok(reply) if reply.status().is_success() => Ok(Receipt::of(id)),
            Ok(reply) => Err(refused(&reply)),
            Err(error) if error.is_connect() => {
                Err(retry(None, FailureClass::Unavailable, "the receiver cannot be reached"))
            }
            Err(error) => Err(self.unheard(&error)),
        }
    }

    /// The request went out and no reply came.
    fn unheard(&self, error: &reqwest::Error) -> DeliveryError {
        let (class, what) = if error.is_timeout() {
            (FailureClass::Timeout, "the receiver did not reply in time")
        } else {
            (FailureClass::Unavailable, "the receiver cut the connection")
        };
        if self.may_repeat() {
            return retry(None, class, what);
        }
        let reason = format!("{what}, and does not know repeated webhooks: ask it before replaying the answer");
        DeliveryError::Unknown(Failure::new(class, reason))
    }
}

/// What a reply other than success means for the answer.
fn refused(reply: &reqwest::Response) -> DeliveryError {
    let status = reply.status();
    let says = format!("the receiver replied {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS => retry(after(reply), FailureClass::RateLimited, &says),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => retry(after(reply), FailureClass::Unavailable, &says),
        status if status.is_server_error() => retry(after(reply), FailureClass::Unavailable, &says),
        // By the convention: the receiver wants no more of these.
        StatusCode::GONE => DeliveryError::Dead(Failure::new(FailureClass::Blocked, says)),
        StatusCode::NOT_FOUND => DeliveryError::Dead(Failure::new(FailureClass::NotFound, says)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => DeliveryError::Dead(Failure::new(
            FailureClass::Unauthorised,
            says + ": check outgoing.secret on both sides",
        )),
        status if status.is_redirection() => DeliveryError::Dead(Failure::new(
            FailureClass::Misconfigured,
            says + ": set outgoing.url to where it leads, redirects are not followed",
        )),
        _ => DeliveryError::Dead(Failure::new(FailureClass::Rejected, says)),
    }
}

/// Retry-After, as seconds or as a date.
fn after(reply: &reqwest::Response) -> Option<Duration> {
    let value = reply.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

fn retry(after: Option<Duration>, class: FailureClass, reason: &str) -> DeliveryError {
    DeliveryError::Retry { after, failure: Failure::new(class, reason) }
}
