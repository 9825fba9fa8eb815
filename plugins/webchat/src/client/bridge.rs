//! The bridge's API: `GET` and `POST {endpoint}?action=…`, and an envelope around every reply.

use std::{fmt, time::Duration};

use reqwest::{RequestBuilder, StatusCode, Url, header::RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REPLY_BYTES: usize = 16 << 20;
/// The bridge gives no more at once.
pub(super) const PAGE: u64 = 100;
/// A bridge that counts by the hour may ask for an hour; its count falls before that.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// A call that brought no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// Nobody was reached: the bridge knows nothing of the call.
    #[error("the bridge cannot be reached: {0}")]
    NotReached(String),
    /// The bridge may have done it.
    #[error("the bridge did not answer: {0}")]
    CutOff(String),
    /// It was done, but its result is in no form that is understood.
    #[error("the bridge's reply cannot be read: is client.api_url the address of its API?")]
    Unreadable,
    #[error("the bridge answered {status}: {error}")]
    Refused { status: u16, error: String, retry_after: Option<Duration> },
}

impl CallError {
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub(super) fn is_bad_key(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// How long the bridge wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The same call may go well later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::NotReached(_) | Self::CutOff(_)) || matches!(self.status(), Some(429 | 500..=599))
    }

    /// The bridge may have done what it was asked for.
    pub(super) fn may_be_done(&self) -> bool {
        matches!(self, Self::CutOff(_) | Self::Unreadable) || self.status() == Some(504)
    }
}

/// A part of a longer list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    pub(super) has_more: bool,
}

pub(super) struct Bridge {
    http: reqwest::Client,
    endpoint: Url,
    api_key: SecretString,
    admin_key: Option<SecretString>,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("host", &self.endpoint.host_str()).finish_non_exhaustive()
    }
}

impl Bridge {
    pub(super) fn new(
        endpoint: Url,
        api_key: SecretString,
        admin_key: Option<SecretString>,
    ) -> Result<Self, reqwest::Error> {
        // A redirect would carry the key to wherever it points.
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, endpoint, api_key, admin_key })
    }

    pub(super) fn has_admin_key(&self) -> bool {
        self.admin_key.is_some()
    }

    /// Messages that nobody fetched. Some bridges count a message as fetched once it was in a reply.
    pub(super) async fn inbox(&self, offset: u64) -> Result<Page, CallError> {
        let request =
            self.http.get(self.address("inbox", &[("limit", &PAGE.to_string()), ("offset", &offset.to_string())]));
        page(call(request, Some(&self.api_key)).await?, "messages")
    }

    /// Hands over an answer, or a part of one; gives the bridge's id of it.
    pub(super) async fn outbox(&self, session: &str, text: &str, message: &Value) -> Result<String, CallError> {
        let mut body = json!({"session_id": session, "response": text});
        if !message.is_null() {
            body["message_id"] = message.clone();
        }
        let request = self.http.post(self.address("outbox", &[])).json(&body);
        let data = call(request, Some(&self.api_key)).await?;
        Ok(id_text(&data["response_id"]).unwrap_or_else(|| "unnamed".to_owned()))
    }

    /// Everything that a session was answered.
    pub(super) async fn responses(&self, session: &str) -> Result<Vec<Value>, CallError> {
        let request = self.http.get(self.address("responses", &[("session_id", session)]));
        Ok(page(call(request, None).await?, "responses")?.items)
    }

    /// All sessions, the one that was active last first.
    pub(super) async fn sessions(&self, offset: u64) -> Result<Page, CallError> {
        let query = [("limit", &*PAGE.to_string()), ("offset", &*offset.to_string()), ("active", "false")];
        let request = self.http.get(self.address("sessions", &query));
        page(call(request, self.admin_key.as_ref()).await?, "sessions")
    }

    /// Everything that was said in a session, fetched or not.
    pub(super) async fn session_messages(&self, session: &str) -> Result<Vec<Value>, CallError> {
        let request = self.http.get(self.address("session_messages", &[("session_id", session)]));
        Ok(page(call(request, self.admin_key.as_ref()).await?, "messages")?.items)
    }

    fn address(&self, action: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.endpoint.clone();
        url.query_pairs_mut().append_pair("action", action).extend_pairs(query);
        url
    }
}

#[derive(Deserialize)]
struct Envelope {
    success: bool,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    retry_after: Option<u64>,
}

async fn call(request: RequestBuilder, key: Option<&SecretString>) -> Result<Value, CallError> {
    let request = match key {
        Some(key) => request.bearer_auth(key.expose_secret()),
        None => request,
    };
    let response = request.send().await.map_err(lost)?;
    let status = response.status();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = read(response).await?;
    match serde_json::from_slice::<Envelope>(&body) {
        Ok(Envelope { success: true, data, .. }) if status.is_success() => Ok(data),
        Ok(envelope) => Err(refused(status, envelope.error.as_deref(), envelope.retry_after.or(header))),
        Err(_) if status.is_success() => Err(CallError::Unreadable),
        // A proxy before the bridge answers in its own way.
        Err(_) => Err(refused(status, None, header)),
    }
}

fn refused(status: StatusCode, error: Option<&str>, wait_s: Option<u64>) -> CallError {
    let error = error.map_or_else(|| "no words".to_owned(), first_line);
    let retry_after = wait_s.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
    CallError::Refused { status: status.as_u16(), error, retry_after }
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_REPLY_BYTES {
            return Err(CallError::Unreadable);
        }
    }
    Ok(body)
}

fn lost(error: reqwest::Error) -> CallError {
    let reached = !(error.is_connect() || error.is_builder());
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let why = first_line(&innermost.to_string());
    if reached { CallError::CutOff(why) } else { CallError::NotReached(why) }
}

fn page(mut data: Value, name: &str) -> Result<Page, CallError> {
    let has_more = data["pagination"]["has_more"].as_bool().unwrap_or(false);
    match data.get_mut(name).map(Value::take) {
        Some(Value::Array(items)) => Ok(Page { items, has_more }),
        _ => Err(CallError::Unreadable),
    }
}

/// An id as a text; some databases give numbers as texts.
pub(super) fn id_text(id: &Value) -> Option<String> {
    match id {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect()
}
