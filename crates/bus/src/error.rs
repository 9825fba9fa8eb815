//! What can go wrong with the broker, and whether waiting can mend it.

use std::path::PathBuf;

use crate::version::{MINIMUM_SERVER, ServerVersion, TESTED_SERVER};

#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No server of the list could be reached. Transient.
    #[error("no NATS server answers at {servers}: {reason}; check that it runs and that the address is right")]
    Unreachable { servers: String, reason: String },
    /// Servers answer, what was asked did not happen or is not known to have happened. Transient.
    #[error("NATS is not available for this right now: {0}")]
    Unavailable(String),
    /// The server refused our credentials.
    #[error("NATS at {servers} refused the credentials: {reason}; check user, password, seed or credentials file")]
    Unauthorised { servers: String, reason: String },
    /// An option does not fit, e.g. a file that cannot be read.
    #[error("{0}")]
    Options(String),
    #[error(
        "the NATS server is {found}, Broca needs {MINIMUM_SERVER} or newer and is tested with {TESTED_SERVER}: \
         install a newer nats-server (https://docs.nats.io/running-a-nats-service) and restart it with the same store_dir"
    )]
    TooOld { found: ServerVersion },
    #[error(
        "the NATS server has no JetStream for this account ({0}): add a `jetstream {{ store_dir: … }}` block to its configuration"
    )]
    NoJetStream(String),
    /// The message can never be published as it is.
    #[error(
        "a message of {bytes} bytes for {subject} exceeds the server's max_payload of {limit} bytes, headers included"
    )]
    TooLarge { subject: String, bytes: usize, limit: usize },
    #[error("stream {stream} has no consumer '{consumer}', or there is no such stream: run `broca nats apply`")]
    MissingConsumer { stream: String, consumer: String },
    /// The consumer exists and is not what Broca needs.
    #[error(
        "consumer '{consumer}' of stream {stream} is {found}, not a durable pull consumer with explicit acks: delete it and run `broca nats apply`"
    )]
    WrongConsumer { stream: String, consumer: String, found: String },
    /// A value of the settings' bucket is not what the caller had read when it decided.
    #[error("somebody else changed {key} at the same moment: nothing was written, look again and repeat it")]
    Changed { key: String },
    /// JetStream understood and refused.
    #[error("JetStream refused {request}: {reason} (error code {code})")]
    Refused { request: String, code: u64, reason: String },
    #[error("{path}: {reason}")]
    TopologyFile { path: PathBuf, reason: String },
}

impl BusError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unavailable(_))
    }
}
