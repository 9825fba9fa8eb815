//! The plugin's settings, and what types cannot say of them.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use broca_plugin::{PluginError, Secret};
use reqwest::Url;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebchatSettings {
    /// `client`: fetch messages from a web chat bridge that stands elsewhere. `server`: be the bridge. Without it, client
    /// where `client` is set.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Where that bridge is; for `mode = "client"`.
    #[serde(default)]
    pub client: Option<ClientSettings>,
    /// How to be one; for `mode = "server"`.
    #[serde(default)]
    pub server: Option<ServerSettings>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Client,
    Server,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientSettings {
    /// The bridge, e.g. `https://chat.example.org` or `https://chat.example.org/api/v1/`.
    pub api_url: String,
    /// The bridge's API key.
    pub api_key: Secret,
    /// The bridge's admin key. A bridge hands a message out once; with this key, what it handed out in a reply that never
    /// arrived is read again from its sessions. Without it such a message is lost.
    #[serde(default)]
    pub admin_key: Option<Secret>,
    /// Seconds between two looks into the bridge's inbox.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 3600))]
    pub poll_interval_s: u64,
    /// After a start and after a lost reply, sessions that were active in the last so many minutes are read again.
    #[serde(default = "hour_in_minutes")]
    #[schemars(range(min = 1, max = 10_080))]
    pub recover_minutes: u64,
    /// Bytes of an answer that the bridge takes at once; longer answers go out in parts.
    #[serde(default = "response_bytes")]
    #[schemars(range(min = 200, max = 1_048_576))]
    pub max_response_bytes: usize,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// The address to listen at. Plain HTTP: a proxy before it speaks TLS.
    #[serde(default = "door")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Where sessions and answers are kept; without it, `<data_dir>/<instance>.chats.jsonl`.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The key for `inbox` and `outbox`. Without it, they are closed.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// The key for the admin actions. Without it, they are closed.
    #[serde(default)]
    pub admin_key: Option<Secret>,
    /// Sites whose pages may chat here, e.g. `https://example.org`; `*` is every site. The server's own page always may.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpAddr>,
    /// A session without a message or an answer for so many seconds is inactive.
    #[serde(default = "half_hour")]
    #[schemars(range(min = 60, max = 604_800))]
    pub session_timeout_s: u64,
    /// An inactive session is forgotten after so many days.
    #[serde(default = "month")]
    #[schemars(range(min = 1, max = 3650))]
    pub keep_days: u64,
    /// Sessions that are kept at most; the ones that were inactive the longest make room.
    #[serde(default = "ten_thousand")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub max_sessions: usize,
    /// Messages and answers of one session that are kept at most.
    #[serde(default = "five_hundred")]
    #[schemars(range(min = 10, max = 100_000))]
    pub max_entries: usize,
    /// MiB of texts that are kept at most; the same make room.
    #[serde(default = "mib")]
    #[schemars(range(min = 1, max = 65_536))]
    pub max_mib: usize,
    /// Characters in one message at most.
    #[serde(default = "message_chars")]
    #[schemars(range(min = 1, max = 65_536))]
    pub max_message_chars: usize,
    /// Requests at a time; more are told to come back.
    #[serde(default = "requests")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_requests: usize,
    /// Pages that listen for answers at a time.
    #[serde(default = "streams")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_streams: usize,
    /// The same, of one address.
    #[serde(default = "streams_of_one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_streams_per_address: usize,
    /// How often in a minute.
    #[serde(default)]
    pub per_minute: PerMinute,
    /// What the page and the widget are called.
    #[serde(default = "title")]
    #[schemars(length(min = 1, max = 80))]
    pub title: String,
    /// What stands in an empty chat.
    #[serde(default = "greeting")]
    #[schemars(length(max = 400))]
    pub greeting: String,
}

/// Requests in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PerMinute {
    /// Of one address, to what everybody may ask.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub public: u32,
    /// Messages of one session.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub session: u32,
    /// Of one address, with an admin key or without one.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub admin: u32,
    /// Of one address, to `inbox` and `outbox`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub plugin: u32,
}

impl Default for PerMinute {
    fn default() -> Self {
        Self { public: 100, session: 20, admin: 50, plugin: 200 }
    }
}

fn five() -> u64 {
    5
}

fn hour_in_minutes() -> u64 {
    60
}

fn response_bytes() -> usize {
    8_000
}

fn door() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8000))
}

fn half_hour() -> u64 {
    1800
}

fn month() -> u64 {
    30
}

fn ten_thousand() -> usize {
    10_000
}

fn five_hundred() -> usize {
    500
}

fn mib() -> usize {
    256
}

fn message_chars() -> usize {
    10_000
}

fn requests() -> usize {
    512
}

fn streams() -> usize {
    2_000
}

fn streams_of_one() -> usize {
    100
}

fn title() -> String {
    "Chat".to_owned()
}

fn greeting() -> String {
    "Hello! Ask me anything.".to_owned()
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: door(),
            file: None,
            api_key: None,
            admin_key: None,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            session_timeout_s: half_hour(),
            keep_days: month(),
            max_sessions: ten_thousand(),
            max_entries: five_hundred(),
            max_mib: mib(),
            max_message_chars: message_chars(),
            max_requests: requests(),
            max_streams: streams(),
            max_streams_per_address: streams_of_one(),
            per_minute: PerMinute::default(),
            title: title(),
            greeting: greeting(),
        }
    }
}

/// A key shorter than this can be guessed.
const MIN_KEY_BYTES: usize = 16;

impl ClientSettings {
    /// The address of the API. An address without a path is that of the bridge's site.
    pub(crate) fn endpoint(&self) -> Result<Url, PluginError> {
        let url = Url::parse(&self.api_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let mut url = url.ok_or_else(|| wrong("client.api_url is not an http address"))?;
        if matches!(url.path(), "" | "/") {
            url.set_path("/api/v1/");
        }
        url.set_query(None);
        url.set_fragment(None);
        Ok(url)
    }

    pub(crate) fn keys(&self) -> Result<(SecretString, Option<SecretString>), PluginError> {
        let admin = self.admin_key.as_ref().map(|key| read("client.admin_key", key)).transpose()?;
        Ok((read("client.api_key", &self.api_key)?, admin))
    }
}

impl ServerSettings {
    /// What the schema does not say; keys are read when it runs.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        if self.file.is_none() {
            return Err(wrong("server.file is missing: name a file in a folder that outlives the process"));
        }
        for origin in &self.allowed_origins {
            let fits = origin == "*"
                || Url::parse(origin).is_ok_and(|url| {
                    matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == *origin
                });
            if !fits {
                return Err(wrong(&format!(
                    "server.allowed_origins has '{origin}': write it as a browser does, like https://example.org, without a path"
                )));
            }
        }
        Ok(())
    }

    /// The API key and the admin key, read now.
    pub(crate) fn keys(&self) -> Result<(Option<SecretString>, Option<SecretString>), PluginError> {
        let key = |name: &str, key: &Option<Secret>| key.as_ref().map(|key| long_enough(name, key)).transpose();
        let (api, admin) = (key("server.api_key", &self.api_key)?, key("server.admin_key", &self.admin_key)?);
        match (&api, &admin) {
            (Some(a), Some(b)) if a.expose_secret() == b.expose_secret() => {
                Err(wrong("server.api_key and server.admin_key are the same: whoever has one would have both"))
            }
            _ => Ok((api, admin)),
        }
    }
}

fn long_enough(name: &str, key: &Secret) -> Result<SecretString, PluginError> {
    let key = read(name, key)?;
    if key.expose_secret().len() < MIN_KEY_BYTES {
        return Err(wrong(&format!(
            "{name} is shorter than {MIN_KEY_BYTES} bytes: make one with `openssl rand -hex 24`"
        )));
    }
    Ok(key)
}

fn read(name: &str, secret: &Secret) -> Result<SecretString, PluginError> {
    secret.read().map_err(|error| wrong(&format!("{name}: {error}")))
}

pub(crate) fn wrong(what: &str) -> PluginError {
    PluginError::Settings(what.to_owned())
}
