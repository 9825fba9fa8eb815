//! What a broker message says. The envelope lets other consumers use the streams; Broca itself acts only
//! on the row in SQL that the ids name, so a forged or stale envelope can at most cause a look-up.

use serde::{Deserialize, Serialize};

use crate::{ConversationId, Instance, MessageId, ResponseId, Timestamp, TraceParent};

/// The version this code writes. It reads this version; fields it does not know are ignored.
pub const VERSION: u32 = 1;

/// Longer texts stay out of the envelope (`text` is then `null`), so that it always fits the broker's
/// payload limit of 1 MiB.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;

/// The header that names the trace.
pub const HEADER_TRACEPARENT: &str = "traceparent";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    #[serde(rename = "v")]
    pub version: u32,
    #[serde(flatten)]
    pub body: Body,
    pub instance: Instance,
    pub message_id: MessageId,
    pub conversation_id: ConversationId,
    /// The message's or the answer's text, when it is short enough.
    pub text: Option<String>,
    pub traceparent: Option<TraceParent>,
    /// When the row was committed, microseconds since the epoch, by the database's clock.
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// There may be work in this conversation.
    Wake,
    /// An answer waits for its plugin.
    Response { response_id: ResponseId },
    /// A message or an answer was given up.
    DeadLetter { stage: String, class: String, reason: String, attempts: u32 },
}

#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    #[error("not an envelope: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("envelope version {found}; this build reads version {VERSION}: upgrade the older process")]
    Version { found: u32 },
}

impl Envelope {
    pub fn encode(mut self) -> Vec<u8> {
        self.text = self.text.filter(|text| text.len() <= MAX_TEXT_BYTES);
        // Unwrap safety: strings, numbers and ids alone; serde_json has nothing here that it could refuse.
        serde_json::to_vec(&self).expect("an envelope is plain data")
    }

    pub fn decode(payload: &[u8]) -> Result<Self, EnvelopeError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let Version { v: found } = serde_json::from_slice(payload)?;
        if found != VERSION {
            return Err(EnvelopeError::Version { found });
        }
        Ok(serde_json::from_slice(payload)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope(text: Option<String>) -> Envelope {
        Envelope {
            version: VERSION,
            body: Body::Response { response_id: ResponseId::new() },
            instance: "cli".parse().unwrap(),
            message_id: MessageId::new(),
            conversation_id: ConversationId::of("default", "profile:cli/alice"),
            text,
            traceparent: Some(TraceParent::random()),
            at: Timestamp(1),
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC{0,200}") {
            let sent = envelope(Some(text));
            prop_assert_eq!(Envelope::decode(&sent.clone().encode()).unwrap(), sent);
        }

        #[test]
        fn junk_is_refused_without_a_panic(junk in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Envelope::decode(&junk).is_err());
        }
    }

    #[test]
    fn long_texts_stay_in_sql_and_newer_versions_are_named() {
        let encoded = envelope(Some("x".repeat(MAX_TEXT_BYTES + 1))).encode();
        assert!(encoded.len() < 1000);
        assert_eq!(Envelope::decode(&encoded).unwrap().text, None);

        let newer = String::from_utf8(envelope(None).encode()).unwrap().replace("\"v\":1", "\"v\":2,\"more\":true");
        assert!(matches!(Envelope::decode(newer.as_bytes()), Err(EnvelopeError::Version { found: 2 })));
    }
}
