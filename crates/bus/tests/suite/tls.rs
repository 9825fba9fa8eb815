//! Encrypted connections, with an authority of our own.

use std::fs;

use broca_bus::{Bus, BusError, BusOptions};
use broca_servers::NatsServer;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::rig;

/// Writes `ca.pem`, `cert.pem` and `key.pem` for 127.0.0.1.
fn write_certificates(dir: &std::path::Path) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    fs::write(dir.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(dir.join("cert.pem"), server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem()).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn our_authority_is_trusted_and_a_stranger_is_not() {
    let dir = tempfile::tempdir().unwrap();
    write_certificates(dir.path());
    let file = |name: &str| dir.path().join(name);
    let server = NatsServer::start_with(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}",
        file("cert.pem"),
        file("key.pem")
    ));
    let with = |tls_ca| BusOptions { tls_ca, require_tls: true, ..rig::options(server.url()) };
    Bus::connect(with(Some(file("ca.pem")))).await.unwrap();

    let other = tempfile::tempdir().unwrap();
    write_certificates(other.path());
    let error = Bus::connect(with(Some(other.path().join("ca.pem")))).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("TLS"), "{error}");
    let error = Bus::connect(with(Some(file("missing.pem")))).await.unwrap_err();
    assert!(matches!(&error, BusError::Options(text) if text.contains("missing.pem")), "{error}");
}

#[tokio::test]
async fn plain_text_is_refused_when_tls_is_required() {
    let server = NatsServer::start();
    let options = BusOptions { require_tls: true, ..rig::options(server.url()) };
    let error = Bus::connect(options).await.unwrap_err();
    assert!(error.to_string().contains("NATS"), "{error}");
}
