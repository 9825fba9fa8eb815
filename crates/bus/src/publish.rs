//! Publishing: always with a message id, done only when the stream has stored it.

use std::time::{Duration, Instant};

use async_nats::{
    HeaderMap,
    client::{Request, RequestErrorKind},
};
use broca_core::{TraceParent, envelope::HEADER_TRACEPARENT, metric};
use bytes::Bytes;
use serde::Deserialize;

use crate::{Bus, BusError};

/// From the call to the acknowledgement, waiting for room included.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

const HEADER_MSG_ID: &str = "Nats-Msg-Id";

/// One message to publish.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub subject: String,
    /// Within the stream's duplicate window (two minutes) the stream stores one message per id.
    pub msg_id: String,
    pub trace: Option<TraceParent>,
    pub payload: Vec<u8>,
}

/// The stream's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The message's place in the stream; of the first copy, when this was a duplicate.
    pub sequence: u64,
    /// The stream had a message with this id already and stored nothing.
    pub duplicate: bool,
}

#[derive(Deserialize)]
struct PubAck {
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Bus {
    /// Returns when the stream has stored the message. Many calls at a time share the connection, up to
    /// `max_in_flight`.
    ///
    /// [`BusError::Unavailable`] means that it is *not known* to be stored: no answer within five seconds, a
    /// lost connection, no stream or no leader for the subject, a full stream. Publish again later with the
    /// same id. [`BusError::TooLarge`] is final.
    pub async fn publish(&self, outgoing: Outgoing) -> Result<Acked, BusError> {
        let started = Instant::now();
        match tokio::time::timeout(PUBLISH_TIMEOUT, self.publish_untimed(outgoing)).await {
            Ok(Ok(acked)) => {
                metrics::histogram!(metric::PUBLISH.name).record(started.elapsed());
                Ok(acked)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(BusError::Unavailable(format!("no acknowledgement within {PUBLISH_TIMEOUT:?}"))),
        }
    }

    async fn publish_untimed(&self, outgoing: Outgoing) -> Result<Acked, BusError> {
        let inner = &self.inner;
        let _room = inner.in_flight.acquire().await.map_err(|_| BusError::Unavailable("the bus is closed".into()))?;
        let mut connections = inner.connections.watch();
        let Outgoing { subject, msg_id, trace, payload } = outgoing;
        let bytes = payload.len();

        let mut headers = HeaderMap::new();
        headers.insert(HEADER_MSG_ID, msg_id);
        if let Some(trace) = trace {
            headers.insert(HEADER_TRACEPARENT, trace.to_string());
        }
        let request = Request::new().headers(headers).payload(Bytes::from(payload)).timeout(None);
        let sent = inner.client().send_request(subject.clone(), request);
        let answer = tokio::select! {
            biased;
            answer = sent => answer,
            // An answer is lost with its connection. Saying so now lets the caller go on at once.
            _ = connections.changed() => {
                return Err(BusError::Unavailable("the connection was lost before the acknowledgement came".into()));
            }
        };
        match answer {
            Ok(message) => read_ack(&subject, &message.payload),
            Err(error) => Err(self.unsent(subject, bytes, &error)),
        }
    }

    fn unsent(&self, subject: String, bytes: usize, error: &async_nats::client::RequestError) -> BusError {
        match error.kind() {
            RequestErrorKind::MaxPayloadExceeded => {
                BusError::TooLarge { subject, bytes, limit: self.inner.client().max_payload() }
            }
            RequestErrorKind::InvalidSubject => BusError::Options(format!("'{subject}' is no subject to publish to")),
            // Also what a cluster answers while it elects the stream's leader.
            RequestErrorKind::NoResponders => {
                BusError::Unavailable(format!("no stream takes {subject} now; if this stays, run `broca nats apply`"))
            }
            _ => BusError::Unavailable(format!("cannot publish to {subject}: {error}")),
        }
    }
}

/// What a stream refuses now it may take later (it is full, it has no quorum): nothing here is final.
fn read_ack(subject: &str, payload: &[u8]) -> Result<Acked, BusError> {
    let ack: PubAck = serde_json::from_slice(payload)
        .map_err(|error| BusError::Unavailable(format!("the acknowledgement for {subject} is malformed: {error}")))?;
    match (ack.error, ack.seq) {
        (Some(Refusal { err_code, description }), _) => {
            Err(BusError::Unavailable(format!("the stream refused {subject}: {description} (error code {err_code})")))
        }
        (None, Some(sequence)) => Ok(Acked { sequence, duplicate: ack.duplicate }),
        (None, None) => Err(BusError::Unavailable(format!("the acknowledgement for {subject} names no sequence"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_a_sequence_and_everything_else_is_not() {
        let ack = read_ack("s", br#"{"stream":"S","seq":7,"duplicate":true}"#).unwrap();
        assert_eq!(ack, Acked { sequence: 7, duplicate: true });
        let full =
            br#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0}"#;
        let error = read_ack("s", full).unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("maximum bytes exceeded"));
        for junk in [&b"{}"[..], b"", b"+OK", b"[]"] {
            assert!(read_ack("s", junk).unwrap_err().is_transient());
        }
    }
}
