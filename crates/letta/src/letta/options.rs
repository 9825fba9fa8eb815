//! Where an agent lives and how patiently it is asked.

use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

/// How to reach one Letta agent. [`LettaOptions::new`] fills in what was found to fit Letta 0.16.8.
#[derive(Clone, Debug)]
pub struct LettaOptions {
    /// The server's address, with or without `/v1` and a final slash.
    pub endpoint: String,
    /// Sent as `Authorization: Bearer …`.
    pub api_key: Option<SecretString>,
    /// `agent-…`
    pub agent_id: String,
    /// The label of the block that each person has in the agent's memory; `None` where they have none.
    pub user_block: Option<String>,
    /// Whether each of them has an identity at Letta, too, which the turn's messages name as their sender.
    pub user_identity: bool,
    /// For the TCP and TLS handshakes of one connection.
    pub connect_timeout: Duration,
    /// For every call that is not a stream, and for the headers of those that are.
    pub request_timeout: Duration,
    /// The shortest time between two looks at a run. While its stream is healthy the looks become ten times rarer.
    pub poll_interval: Duration,
    /// A stream that brings nothing, not even a ping, for this long is broken. Letta pings every 20 s.
    pub stream_idle: Duration,
    /// How long after it was first sent a turn may be repeated under its own key. Letta remembers a key for 3 h.
    pub idempotency_window: Duration,
    /// A run whose stream broke, and which has said nothing since for this long, is taken for dead: a Letta that was
    /// killed leaves its runs `running` for ever. The default is the life of Letta's own conversation lock.
    pub stuck_after: Duration,
    /// How long, after the turn's deadline, its end is still looked for.
    pub settle_timeout: Duration,
    /// Of one answer that is no stream. Listings carry images with their bytes, and are read in shorter pages then.
    pub max_answer_bytes: usize,
}

impl LettaOptions {
    pub fn new(endpoint: impl Into<String>, agent_id: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            api_key: None,
            agent_id: agent_id.into(),
            user_block: None,
            user_identity: false,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            poll_interval: Duration::from_secs(2),
            stream_idle: Duration::from_secs(65),
            idempotency_window: Duration::from_secs(9_000),
            stuck_after: Duration::from_secs(300),
            settle_timeout: Duration::from_secs(30),
            max_answer_bytes: 64 << 20,
        }
    }
}

/// Why an agent's client cannot be built. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum LettaError {
    #[error("the Letta endpoint '{endpoint}' is no usable address ({reason}); write it like http://localhost:8283")]
    Endpoint { endpoint: String, reason: String },
    #[error("the agent id '{0}' is not usable; copy it from Letta, it looks like agent-<uuid>")]
    AgentId(String),
    #[error("the Letta API key holds characters that no HTTP header can carry; check it for line breaks")]
    ApiKey,
    #[error("no TLS provider is installed; the process must call rustls' install_default before it builds clients")]
    NoTlsProvider,
    #[error("the HTTP client could not be built ({0}); an https endpoint needs the system's CA certificates")]
    Client(#[source] reqwest::Error),
}

/// What every way to write a server's address comes to; `None` when it is no usable one.
pub fn server_of(endpoint: &str) -> Option<String> {
    normalise(endpoint).ok().map(Into::into)
}

/// The server's base address, without `/v1` and without a final slash.
pub(super) fn normalise(endpoint: &str) -> Result<Url, LettaError> {
    let refuse = |reason: &str| LettaError::Endpoint { endpoint: redacted(endpoint), reason: reason.to_owned() };
    let mut url = Url::parse(endpoint.trim()).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("it must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("credentials belong into the API key, not into the address"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it must not have a query or a fragment"));
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path).trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The address without anything that could be a password.
fn redacted(endpoint: &str) -> String {
    match endpoint.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_endpoint_comes_to_the_same() {
        for (written, base) in [
            ("http://localhost:8283", "http://localhost:8283/"),
            ("http://localhost:8283/", "http://localhost:8283/"),
            (" http://localhost:8283/v1 ", "http://localhost:8283/"),
            ("http://localhost:8283/v1/", "http://localhost:8283/"),
            ("https://proxy.example/letta/v1//", "https://proxy.example/letta"),
        ] {
            assert_eq!(normalise(written).unwrap().as_str(), base, "{written}");
        }
    }

    #[test]
    fn a_bad_endpoint_is_refused_without_telling_its_password() {
        for bad in ["localhost:8283", "ftp://x", "", "http://", "http://x/?a=b"] {
            assert!(normalise(bad).is_err(), "{bad}");
        }
        let told = normalise("http://bot:hunter2@letta:8283").unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
        assert!(told.contains("API key"), "{told}");
    }
}
