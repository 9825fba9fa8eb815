//! What the user of a connection may do, tried in forms that change nothing, also where they are allowed.

use std::time::Duration;

use async_nats::{HeaderMap, client::Request};
use bytes::Bytes;

use crate::{Bus, BusError};

/// Refused requests get no answer at all, so its absence is what shows.
const NO_ANSWER: Duration = Duration::from_secs(4);
/// A stream that nobody has: whichever stream a subject belongs to refuses what is meant for this one.
const NO_STREAM: &str = "BROCA_NOT_MEANT";
/// No JSON: every request of the API is refused with it before anything is done.
const NO_REQUEST: &str = "{";

/// One thing to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// To publish to a subject. Nothing is stored.
    Publish(String),
    /// To ask JetStream for something, by the name behind `$JS.API.`. Nothing is done.
    Ask(String),
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Publish(subject) => write!(f, "publish to {subject}"),
            Self::Ask(name) => write!(f, "ask for {name}"),
        }
    }
}

impl Bus {
    /// Whether the broker lets this user do it. One that does not answer in four seconds does not: it may also have much to do.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn may(&self, attempt: &Attempt) -> Result<bool, BusError> {
        let (subject, request) = match attempt {
            Attempt::Publish(subject) => {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Expected-Stream", NO_STREAM);
                (subject.clone(), Request::new().headers(headers))
            }
            Attempt::Ask(name) => {
                let request = Request::new().payload(Bytes::from_static(NO_REQUEST.as_bytes()));
                (format!("{}.{name}", self.inner.api.prefix), request)
            }
        };
        let sent = self.inner.client().send_request(subject, request.timeout(None));
        match tokio::time::timeout(NO_ANSWER, sent).await {
            Err(_) => Ok(false),
            // Nobody there to answer is found out behind the permissions.
            Ok(Err(error)) if error.kind() != async_nats::client::RequestErrorKind::NoResponders => {
                Err(BusError::Unavailable(format!("{attempt}: {error}")))
            }
            Ok(_) => Ok(true),
        }
    }
}
