//! How long certificates are still good: those in files, and those that servers show.
//!
//! Whether a certificate is to be trusted is asked by whoever connects; here it is only looked at, so that one that is not
//! trusted any more is seen as well.

use std::{sync::Arc, time::Duration};

use broca_admin::{doctor::Finding, operations::age};
use broca_core::{Clock, SystemClock, Timestamp};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::app::App;

/// With less time left, a certificate is worth a look.
const SOON: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long a server may take to show its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that may show a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    subject: String,
    host: String,
    port: u16,
    greets: Greets,
}

/// What a server does before it encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greets {
    /// Nothing.
    Not,
    /// NATS tells of itself in a line, also whether it encrypts.
    Nats,
}

/// The servers that the settings name.
pub(super) fn doors(app: &App) -> Vec<Door> {
    let settings = &app.config.settings;
    let brokers = settings.nats.url.iter().flat_map(|url| url.expose().split(',')).filter_map(|url| {
        let (host, port) = host_and_port(url, 4222)?;
        Some(Door { subject: format!("certificate of {host}"), host, port, greets: Greets::Nats })
    });
    let endpoints = settings.agents.values().filter_map(|agent| agent.endpoint.as_deref());
    let collector = settings.traces.endpoint.as_deref();
    let web = endpoints.chain(collector).filter(|url| url.starts_with("https://")).filter_map(|url| {
        let (host, port) = host_and_port(url, 443)?;
        Some(Door { subject: format!("certificate of {host}"), host, port, greets: Greets::Not })
    });
    let mut doors: Vec<Door> = Vec::new();
    for door in brokers.chain(web) {
        if !doors.contains(&door) {
            doors.push(door);
        }
    }
    doors
}

fn host_and_port(url: &str, port: u16) -> Option<(String, u16)> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let (host, given) = match address.strip_prefix('[') {
        Some(six) => six.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':')))?,
        None => address.rsplit_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = given.map_or(Some(port), |given| given.parse().ok())?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// What each of them shows; nothing of those that show none, or that cannot be reached, which is told elsewhere.
pub(super) async fn presented(doors: &[Door]) -> Vec<Finding> {
    let asked = doors.iter().map(async |door| {
        let shown = tokio::time::timeout(PATIENCE, shown(door)).await.ok()?.ok()??;
        let detail = format!("of {}:{}", door.host, door.port);
        Some(match ends(&shown) {
            Ok(end) => judged(&door.subject, &detail, end),
            Err(why) => Finding::warning(door.subject.clone(), format!("{detail}: {why}"), "look at it with openssl"),
        })
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

async fn shown(door: &Door) -> std::io::Result<Option<Vec<u8>>> {
    let mut stream = BufReader::new(TcpStream::connect((door.host.as_str(), door.port)).await?);
    if door.greets == Greets::Nats {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let info: serde_json::Value =
            line.strip_prefix("INFO ").and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default();
        if info["tls_required"] != true && info["tls_available"] != true {
            return Ok(None);
        }
    }
    let config = looking().map_err(std::io::Error::other)?;
    let name = ServerName::try_from(door.host.clone()).map_err(std::io::Error::other)?;
    let secured = TlsConnector::from(Arc::new(config)).connect(name, stream.into_inner()).await?;
    let (_, session) = secured.get_ref();
    Ok(session.peer_certificates().and_then(|chain| chain.first()).map(|first| first.as_ref().to_vec()))
}

fn looking() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Looks(provider))).with_no_client_auth())
}

/// Takes any certificate: nothing is said over this connection.
#[derive(Debug)]
struct Looks(Arc<CryptoProvider>);

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// When a certificate ends.
pub(super) fn ends(certificate: &[u8]) -> Result<Timestamp, String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| format!("unreadable: {error}"))?;
    let seconds = parsed.validity().not_after.timestamp();
    seconds.checked_mul(1_000_000).map(Timestamp).ok_or_else(|| "it ends at no time that can be told".to_owned())
}

pub(super) fn judged(subject: &str, detail: &str, end: Timestamp) -> Finding {
    at(subject, detail, end, SystemClock.now())
}

fn at(subject: &str, detail: &str, end: Timestamp, now: Timestamp) -> Finding {
    if end <= now {
        let detail = format!("{detail}: over since {}", age(now.since(end).as_secs()));
        return Finding::failed(subject, detail, "put a new certificate there: connections are refused");
    }
    let left = end.since(now);
    let detail = format!("{detail}: good for {}", age(left.as_secs()));
    if left < SOON {
        return Finding::warning(subject, detail, "renew it before it is over: nobody connects any more then");
    }
    Finding::ok(subject, detail)
}

#[cfg(test)]
mod tests {
    use broca_admin::doctor::Verdict;

    use super::*;

    #[test]
    fn a_certificate_is_warned_of_before_it_ends() {
        let days = |days: i64| Timestamp(days * 86_400 * 1_000_000);
        let judged = |left: i64| at("certificate", "of x", days(100 + left), days(100));
        assert_eq!(judged(31).verdict, Verdict::Ok);
        assert_eq!(judged(29).verdict, Verdict::Warning);
        assert_eq!(judged(29).detail, "of x: good for 29 days");
        assert_eq!(judged(-3).verdict, Verdict::Failed);
        assert_eq!(judged(-3).detail, "of x: over since 3 days");
    }

    #[test]
    fn a_server_is_found_in_its_address() {
        let found = |url: &str| host_and_port(url, 443);
        let is = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(found("https://letta.example/v1"), is("letta.example", 443));
        assert_eq!(found("tls://user:pw@nats:4223"), is("nats", 4223));
        assert_eq!(found("https://[::1]:8443"), is("::1", 8443));
        assert_eq!(found("https://"), None);
        assert_eq!(found("letta"), None);
    }
}
