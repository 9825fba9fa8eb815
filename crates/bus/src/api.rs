//! Requests to the JetStream API, as JSON. Broca compares and applies configuration field by field, also
//! fields that the client library does not know yet, so it speaks the wire format itself.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::BusError;

/// The server's codes for "there is none", and for "JetStream is off".
const STREAM_NOT_FOUND: u64 = 10059;
const CONSUMER_NOT_FOUND: u64 = 10014;
const NOT_ENABLED: [u64; 2] = [10039, 10076];

/// A cluster without a leader for the thing asked about answers with HTTP-like code 503.
const TEMPORARY: u64 = 503;

#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) client: async_nats::Client,
    /// `$JS.API`, unless the account imports it under another name.
    pub(crate) prefix: String,
}

#[derive(Debug)]
pub(crate) enum ApiError {
    NotFound,
    Other(BusError),
}

impl From<ApiError> for BusError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::NotFound => BusError::Refused {
                request: "a look-up".into(),
                code: STREAM_NOT_FOUND,
                reason: "not found: run `broca nats apply`".into(),
            },
            ApiError::Other(error) => error,
        }
    }
}

impl Api {
    /// One request, one JSON answer within `timeout`.
    pub(crate) async fn request<T: DeserializeOwned>(
        &self,
        name: &str,
        payload: &Value,
        timeout: Duration,
    ) -> Result<T, ApiError> {
        let body = if payload.is_null() { Bytes::new() } else { Bytes::from(payload.to_string()) };
        let request = Request::new().payload(body).timeout(None);
        let sent = self.client.send_request(format!("{}.{name}", self.prefix), request);
        let answer = match tokio::time::timeout(timeout, sent).await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(unavailable(format!("nobody answers {name} (no leader elected yet, or no JetStream)")));
            }
            Ok(Err(error)) => return Err(unavailable(format!("{name}: {error}"))),
            Err(_) => {
                let reason = format!("no answer to {name} within {timeout:?} (or this user may not ask it)");
                return Err(unavailable(reason));
            }
        };
        let value: Value = serde_json::from_slice(&answer.payload).map_err(|e| malformed(name, &e))?;
        if let Some(error) = value.get("error") {
            return Err(classify(name, error));
        }
        serde_json::from_value(value).map_err(|e| malformed(name, &e))
    }
}

fn unavailable(reason: String) -> ApiError {
    ApiError::Other(BusError::Unavailable(reason))
}

fn malformed(name: &str, error: &serde_json::Error) -> ApiError {
    unavailable(format!("the answer to {name} is not what JetStream documents: {error}"))
}

fn classify(request: &str, error: &Value) -> ApiError {
    let number = |key: &str| error.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (status, code) = (number("code"), number("err_code"));
    let reason = error.get("description").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
    match code {
        STREAM_NOT_FOUND | CONSUMER_NOT_FOUND => ApiError::NotFound,
        code if NOT_ENABLED.contains(&code) => ApiError::Other(BusError::NoJetStream(reason)),
        _ if status == TEMPORARY => unavailable(format!("{request}: {reason} (error code {code})")),
        _ => ApiError::Other(BusError::Refused { request: request.to_owned(), code, reason }),
    }
}
