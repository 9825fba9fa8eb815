//! The connection: options, the first connect, the checks of the server, and reconnects.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{BusError, ServerVersion, api::Api, events::Connections};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request to the JetStream API may take.
pub(crate) const API_TIMEOUT: Duration = Duration::from_secs(5);
/// A half-open TCP connection is found after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
/// Messages the client may hold for one subscription; above what [`crate::Consumer`] ever asks for.
const SUBSCRIPTION_CAPACITY: usize = 16_384;

/// How to prove who we are.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    #[default]
    None,
    UserPassword {
        user: String,
        password: SecretString,
    },
    /// An nkey seed (`SU…`); the server knows its public key only.
    Nkey {
        seed: SecretString,
    },
    /// A `.creds` file of JWT mode.
    CredentialsFile(PathBuf),
}

/// How to reach the broker. Fill in what differs from `BusOptions::default()`.
#[derive(Clone)]
pub struct BusOptions {
    /// One address or a comma-separated list, e.g. `nats://127.0.0.1:4222`.
    pub url: String,
    /// What the server's connection list calls this process.
    pub name: String,
    pub auth: Auth,
    /// The prefix of reply subjects, when the server restricts them per user, e.g. `_INBOX_worker`.
    pub inbox_prefix: Option<String>,
    /// The JetStream API's subject prefix, when this account imports it under another name than `$JS.API`.
    pub api_prefix: Option<String>,
    /// A PEM file with the certificate authorities to trust instead of the system's.
    pub tls_ca: Option<PathBuf>,
    pub require_tls: bool,
    /// Publishes that may wait for their acknowledgement at a time.
    pub max_in_flight: usize,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            name: "broca".into(),
            auth: Auth::None,
            inbox_prefix: None,
            api_prefix: None,
            tls_ca: None,
            require_tls: false,
            max_in_flight: 1000,
        }
    }
}

impl fmt::Debug for BusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address may carry a user name and a password.
        let servers = Servers::parse(&self.url).map(|servers| servers.shown);
        f.debug_struct("BusOptions")
            .field("servers", &servers.as_deref().unwrap_or("unreadable"))
            .field("name", &self.name)
            .field("auth", &self.auth)
            .field("inbox_prefix", &self.inbox_prefix)
            .field("api_prefix", &self.api_prefix)
            .field("tls_ca", &self.tls_ca)
            .field("require_tls", &self.require_tls)
            .field("max_in_flight", &self.max_in_flight)
            .finish()
    }
}

/// What is known of the server that the connection stands to.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    pub name: String,
    pub version: ServerVersion,
    pub cluster: Option<String>,
    /// Bytes, headers included.
    pub max_payload: usize,
}

/// A connection to the broker. Clones share it.
#[derive(Clone, Debug)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) api: Api,
    pub(crate) connections: Arc<Connections>,
    pub(crate) in_flight: Semaphore,
}

impl Inner {
    pub(crate) fn client(&self) -> &Client {
        &self.api.client
    }
}

impl Bus {
    /// Connects, and checks that the server is new enough and offers JetStream. Tries every address once:
    /// an unreachable server is [`BusError::Unreachable`] at once, see [`Bus::connect_within`].
    pub async fn connect(options: BusOptions) -> Result<Self, BusError> {
        let servers = Servers::parse(&options.url)?;
        let connections = Arc::new(Connections::new(servers.shown.clone()));
        let reported = Arc::clone(&connections);
        let client = client_options(&options)
            .await?
            .event_callback(move |event| {
                reported.on(event);
                std::future::ready(())
            })
            .connect(servers.addresses)
            .await
            .map_err(|error| refusal(&servers.shown, &error))?;

        let prefix = options.api_prefix.unwrap_or_else(|| "$JS.API".into());
        let inner = Arc::new(Inner {
            api: Api { client, prefix },
            connections,
            in_flight: Semaphore::new(options.max_in_flight.max(1)),
        });
        check_server(&inner).await?;
        // Counted before anybody compares: the event of this connection must not look like a second one.
        let counted = async { inner.connections.watch().wait_for(|made| *made > 0).await.is_ok() };
        if !tokio::time::timeout(CONNECT_TIMEOUT, counted).await.unwrap_or(false) {
            return Err(BusError::Unavailable("the client did not report its connection".into()));
        }
        tokio::spawn(recheck(Arc::downgrade(&inner), inner.connections.watch()));
        Ok(Self { inner })
    }

    /// Like [`Bus::connect`], but keeps trying for as long as `patience` while the reason is transient.
    pub async fn connect_within(options: BusOptions, patience: Duration) -> Result<Self, BusError> {
        let deadline = Instant::now() + patience;
        let mut attempt = 1;
        loop {
            let error = match Self::connect(options.clone()).await {
                Ok(bus) => return Ok(bus),
                Err(error) => error,
            };
            let pause = reconnect_delay(attempt + 1).max(Duration::from_millis(100));
            if !error.is_transient() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            let left_s = deadline.saturating_duration_since(Instant::now()).as_secs();
            // Once a second at most, and rarer as it goes on.
            if attempt == 1 || attempt % 10 == 0 {
                tracing::warn!(attempt, left_s, %error, "waiting for NATS");
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// What the server said of itself when the connection was made.
    pub fn server(&self) -> Result<ServerFacts, BusError> {
        facts(&self.inner)
    }

    /// Whether the connection stands at this moment.
    pub fn is_connected(&self) -> bool {
        self.inner.client().connection_state() == async_nats::connection::State::Connected
    }

    /// Waits until everything handed over so far, acknowledgements included, is written to the socket.
    pub async fn flush(&self) -> Result<(), BusError> {
        match tokio::time::timeout(API_TIMEOUT, self.inner.client().flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BusError::Unavailable(format!("cannot flush: {error}"))),
            Err(_) => Err(BusError::Unavailable(format!("cannot flush within {API_TIMEOUT:?}"))),
        }
    }
}

struct Servers {
    addresses: Vec<ServerAddr>,
    /// Without user names and passwords.
    shown: String,
}

impl Servers {
    fn parse(url: &str) -> Result<Self, BusError> {
        let mut addresses = Vec::new();
        for part in url.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            // The text itself stays out of the message: it may hold a password.
            let address = part.parse::<ServerAddr>().map_err(|_| {
                BusError::Options(
                    "a NATS address cannot be read: write nats://host:port, several separated by commas".into(),
                )
            })?;
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(BusError::Options("no NATS address is given: write nats://host:port".into()));
        }
        let shown: Vec<String> = addresses.iter().map(|a| format!("{}:{}", a.host(), a.port())).collect();
        Ok(Self { addresses, shown: shown.join(", ") })
    }
}

async fn client_options(options: &BusOptions) -> Result<ConnectOptions, BusError> {
    let mut client = ConnectOptions::new()
        .name(&options.name)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .require_tls(options.require_tls)
        .reconnect_delay_callback(reconnect_delay);
    if let Some(prefix) = &options.inbox_prefix {
        client = client.custom_inbox_prefix(prefix);
    }
    if let Some(ca) = &options.tls_ca {
        if !ca.is_file() {
            return Err(BusError::Options(format!("the TLS authorities file {} does not exist", ca.display())));
        }
        client = client.add_root_certificates(ca.clone());
    }
    match &options.auth {
        Auth::None => Ok(client),
        Auth::UserPassword { user, password } => {
            Ok(client.user_and_password(user.clone(), password.expose_secret().to_owned()))
        }
        Auth::Nkey { seed } => Ok(client.nkey(seed.expose_secret().to_owned())),
        Auth::CredentialsFile(path) => client.credentials_file(path).await.map_err(|error| {
            BusError::Options(format!("cannot use the NATS credentials file {}: {error}", path.display()))
        }),
    }
}

/// The client's own default grows to four seconds without jitter: recovery would take up to three seconds
/// longer than the outage, and all processes would come back in step.
fn reconnect_delay(attempt: usize) -> Duration {
    if attempt <= 1 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempt - 2).unwrap_or(u32::MAX).min(10);
    let base = Duration::from_millis(50).saturating_mul(2_u32.pow(doublings)).min(RECONNECT_DELAY_MAX);
    base.mul_f64(rand::rng().random_range(0.5..=1.0))
}

fn refusal(servers: &str, error: &async_nats::ConnectError) -> BusError {
    let (servers, reason) = (servers.to_owned(), error.to_string());
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            BusError::Unauthorised { servers, reason }
        }
        ConnectErrorKind::ServerParse => BusError::Options(format!("cannot use the address {servers}: {reason}")),
        // The client reports a certificate that it does not trust as an I/O error.
        kind if kind == ConnectErrorKind::Tls || reason.contains("certificate") => {
            let advice = "check the TLS options: the authority's certificate and the server's name";
            BusError::Options(format!("cannot connect to NATS at {servers}: {reason}; {advice}"))
        }
        _ => BusError::Unreachable { servers, reason },
    }
}

fn facts(inner: &Inner) -> Result<ServerFacts, BusError> {
    let info = inner.client().server_info();
    let version = info.version.parse().map_err(|error| BusError::Unavailable(format!("{error}")))?;
    Ok(ServerFacts { name: info.server_name, version, cluster: info.cluster, max_payload: info.max_payload })
}

async fn check_server(inner: &Inner) -> Result<(), BusError> {
    let found = facts(inner)?.version;
    if !found.is_supported() {
        return Err(BusError::TooOld { found });
    }
    #[derive(Deserialize)]
    struct Account {}
    let answer = inner.api.request::<Account>("INFO", &Value::Null, API_TIMEOUT).await;
    match answer {
        Ok(_) => Ok(()),
        // A server without JetStream says so in its first line, and then nobody listens for the request.
        Err(_) if !inner.client().server_info().jetstream && inner.api.prefix == "$JS.API" => {
            Err(BusError::NoJetStream("the server runs without it".into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// In a cluster of mixed versions a reconnect may land on a server that is too old.
async fn recheck(inner: Weak<Inner>, mut made: watch::Receiver<u64>) {
    while made.changed().await.is_ok() {
        // Only while it looks does this task keep the connection alive.
        let Some(inner) = inner.upgrade() else { return };
        match facts(&inner).map(|facts| facts.version) {
            Ok(found) if !found.is_supported() => {
                let error = BusError::TooOld { found };
                tracing::error!(%error, "reconnected to a NATS server that Broca does not support");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "cannot tell the NATS server's version"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_second_and_differ() {
        assert_eq!(reconnect_delay(0), Duration::ZERO);
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for attempt in 2..100 {
            let delay = reconnect_delay(attempt);
            assert!(delay >= Duration::from_millis(25) && delay <= RECONNECT_DELAY_MAX, "{attempt}: {delay:?}");
        }
        let late: std::collections::HashSet<Duration> = (0..20).map(|_| reconnect_delay(50)).collect();
        assert!(late.len() > 10);
    }

    #[test]
    fn addresses_are_shown_without_their_passwords() {
        let servers = Servers::parse("nats://me:secret@a:4222, b").unwrap();
        assert_eq!(servers.shown, "a:4222, b:4222");
        assert_eq!(servers.addresses.len(), 2);
        let error = Servers::parse("nats://me:secret@:x").err().unwrap().to_string();
        assert!(!error.contains("secret"), "{error}");
        let options = BusOptions { url: "nats://me:secret@a:4222".into(), ..BusOptions::default() };
        let shown = format!("{options:?}");
        assert!(shown.contains("a:4222") && !shown.contains("secret"), "{shown}");
        assert!(Servers::parse(" , ").is_err());
    }
}
