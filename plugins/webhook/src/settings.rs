//! The plugin's settings, and what types cannot say of them.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use broca_plugin::{PluginError, Secret};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::signature::Signer;

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// The address to listen at, e.g. `127.0.0.1:8484`. Plain HTTP: a proxy before it speaks TLS.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Signed webhooks in: `POST /v1/messages`. Without it that road is closed.
    #[serde(default)]
    pub incoming: Option<IncomingSettings>,
    /// Answers to webhooks, as signed webhooks. Without it they are kept, to be fetched or not.
    #[serde(default)]
    pub outgoing: Option<OutgoingSettings>,
    /// Requests with a bearer key: `POST /v1/chat`. Without it that road is closed.
    #[serde(default)]
    pub chat: Option<ChatSettings>,
    /// Bytes of a request's body at most.
    #[serde(default = "default_body")]
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub max_body_bytes: usize,
    /// Requests that are worked on at a time; more are told to come back.
    #[serde(default = "default_requests")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_requests: usize,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncomingSettings {
    /// Shared secrets (`whsec_…`); two while one replaces the other.
    #[schemars(length(min = 1))]
    pub secrets: Vec<Secret>,
    /// How far a signature's time may be from this machine's, in seconds.
    #[serde(default = "default_tolerance")]
    #[schemars(range(min = 1, max = 3600))]
    pub tolerance_s: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutgoingSettings {
    /// Where answers go.
    pub url: String,
    /// The shared secret that they are signed with (`whsec_…`).
    pub secret: Secret,
    /// How long the receiver may take, in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_s: u64,
    /// The receiver knows a repeated `webhook-id`, as the convention asks of it. If it does not, an answer that was cut
    /// off is left unknown instead of being sent again.
    #[serde(default = "yes")]
    pub receiver_dedupes: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatSettings {
    /// By the caller's name, which is part of the ids of its people: two callers do not share them.
    #[schemars(length(min = 1))]
    pub keys: BTreeMap<String, ChatKey>,
    /// How long a request may wait for its answer, in seconds.
    #[serde(default = "default_wait")]
    #[schemars(range(min = 0, max = 600))]
    pub max_wait_s: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatKey {
    /// What the caller sends as `Authorization: Bearer …`.
    pub key: Secret,
}

fn default_body() -> usize {
    256 * 1024
}

fn default_requests() -> usize {
    1024
}

fn default_tolerance() -> u64 {
    300
}

fn default_timeout() -> u64 {
    15
}

fn default_wait() -> u64 {
    120
}

fn yes() -> bool {
    true
}

/// A bearer key shorter than this can be guessed.
const MIN_KEY_BYTES: usize = 16;

/// The settings with their secrets read.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) listen: SocketAddr,
    pub(crate) incoming: Option<Incoming>,
    pub(crate) outgoing: Option<Outgoing>,
    pub(crate) chat: Option<Chat>,
    pub(crate) max_body_bytes: usize,
    pub(crate) max_requests: usize,
}

#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) signers: Vec<Signer>,
    pub(crate) tolerance: Duration,
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) url: reqwest::Url,
    pub(crate) signer: Signer,
    pub(crate) timeout: Duration,
    pub(crate) receiver_dedupes: bool,
}

#[derive(Debug)]
pub(crate) struct Chat {
    /// Name and key.
    pub(crate) keys: Vec<(String, secrecy::SecretString)>,
    pub(crate) max_wait: Duration,
}

impl WebhookSettings {
    /// Reads the secrets, and checks what the schema does not.
    pub(crate) fn checked(self) -> Result<Checked, PluginError> {
        if self.incoming.is_none() && self.chat.is_none() {
            return Err(wrong("neither incoming nor chat is set, so nobody could write: set one of them"));
        }
        Ok(Checked {
            listen: self.listen,
            incoming: self.incoming.map(IncomingSettings::checked).transpose()?,
            outgoing: self.outgoing.map(OutgoingSettings::checked).transpose()?,
            chat: self.chat.map(ChatSettings::checked).transpose()?,
            max_body_bytes: self.max_body_bytes,
            max_requests: self.max_requests,
        })
    }
}

impl IncomingSettings {
    fn checked(self) -> Result<Incoming, PluginError> {
        let signers = self.secrets.iter().map(|secret| signer("incoming.secrets", secret));
        Ok(Incoming { signers: signers.collect::<Result<_, _>>()?, tolerance: Duration::from_secs(self.tolerance_s) })
    }
}

impl OutgoingSettings {
    fn checked(self) -> Result<Outgoing, PluginError> {
        let url = reqwest::Url::parse(&self.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        Ok(Outgoing {
            url: url.ok_or_else(|| wrong("outgoing.url is not an http address"))?,
            signer: signer("outgoing.secret", &self.secret)?,
            timeout: Duration::from_secs(self.timeout_s),
            receiver_dedupes: self.receiver_dedupes,
        })
    }
}

impl ChatSettings {
    fn checked(self) -> Result<Chat, PluginError> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for (name, entry) in self.keys {
            if name.is_empty() || name.contains('/') {
                return Err(wrong("chat.keys has a name that is empty or has a '/' in it"));
            }
            let key = read(&format!("chat.keys.{name}.key"), &entry.key)?;
            if key.expose_secret().len() < MIN_KEY_BYTES {
                return Err(wrong(&format!("chat.keys.{name}.key is shorter than {MIN_KEY_BYTES} bytes")));
            }
            keys.push((name, key));
        }
        Ok(Chat { keys, max_wait: Duration::from_secs(self.max_wait_s) })
    }
}

fn signer(key: &str, secret: &Secret) -> Result<Signer, PluginError> {
    Signer::new(read(key, secret)?.expose_secret()).map_err(|what| wrong(&format!("{key} {what}")))
}

fn read(key: &str, secret: &Secret) -> Result<secrecy::SecretString, PluginError> {
    secret.read().map_err(|error| wrong(&format!("{key}: {error}")))
}

fn wrong(what: &str) -> PluginError {
    PluginError::Settings(what.to_owned())
}
