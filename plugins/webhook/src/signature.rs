//! Signatures by the Standard Webhooks convention, version `v1`: HMAC-SHA256 with a shared secret.
//!
//! Signed is `{webhook-id}.{webhook-timestamp}.{body}`, the timestamp being seconds since the epoch. The header may
//! carry several signatures, separated by spaces, while a secret is being replaced.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

pub(crate) const ID: &str = "webhook-id";
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const SIGNATURE: &str = "webhook-signature";

/// The convention asks for 24 to 64 random bytes.
const MIN_SECRET_BYTES: usize = 24;

/// One shared secret.
#[derive(Clone, Debug)]
pub struct Signer {
    key: hmac::Key,
}

/// Why a request is not believed. The sentence is fit for whoever sent it, and helps nobody to forge one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    #[error("a header is missing or unreadable: webhook-id, webhook-timestamp and webhook-signature are needed")]
    Headers,
    #[error("the timestamp is too far from this server's clock: sign the request anew, and check both clocks")]
    Timestamp,
    #[error("the signature does not fit: check the secret, and sign the body exactly as it is sent")]
    Signature,
}

/// What a request says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) id: &'a str,
    pub(crate) timestamp: &'a str,
    pub(crate) signatures: &'a str,
    pub(crate) body: &'a [u8],
}

impl Signer {
    /// `secret` is base64, with or without the prefix `whsec_`.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn new(secret: &str) -> Result<Self, &'static str> {
        let secret = secret.trim();
        let bytes = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
            .map_err(|_| "is not base64: a secret looks like whsec_ and some forty letters")?;
        if bytes.len() < MIN_SECRET_BYTES {
            return Err("is shorter than 24 bytes: make one with `openssl rand -base64 32`");
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    /// The value of `webhook-signature`; `timestamp` is in seconds since the epoch.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let tag = hmac::sign(&self.key, &signed(id, &timestamp.to_string(), body));
        format!("v1,{}", STANDARD.encode(tag))
    }

    fn made(&self, request: &Signed<'_>) -> bool {
        let text = signed(request.id, request.timestamp, request.body);
        let signatures = request.signatures.split(' ').filter_map(|one| one.strip_prefix("v1,"));
        // In constant time.
        signatures.filter_map(|one| STANDARD.decode(one).ok()).any(|tag| hmac::verify(&self.key, &text, &tag).is_ok())
    }
}

fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

/// Believes a request that one of the secrets has signed, within `tolerance` of `now` (seconds since the epoch).
pub(crate) fn verify(signers: &[Signer], request: &Signed<'_>, now: i64, tolerance: Duration) -> Result<(), Unsigned> {
    let timestamp: i64 = request.timestamp.parse().map_err(|_| Unsigned::Headers)?;
    if now.abs_diff(timestamp) > tolerance.as_secs() {
        return Err(Unsigned::Timestamp);
    }
    if signers.iter().any(|signer| signer.made(request)) { Ok(()) } else { Err(Unsigned::Signature) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const FIVE_MINUTES: Duration = Duration::from_secs(300);

    fn checked(signatures: &str, timestamp: &str, body: &[u8], now: i64) -> Result<(), Unsigned> {
        let old = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signers = [old, Signer::new(SECRET).unwrap()];
        verify(&signers, &Signed { id: "msg_1", timestamp, signatures, body }, now, FIVE_MINUTES)
    }

    /// The example of the convention's own libraries.
    #[test]
    fn the_published_example_comes_out() {
        let signer = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(
            signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn one_good_signature_among_others_is_enough() {
        let good = Signer::new(SECRET).unwrap().sign("msg_1", 1000, b"{}");
        assert_eq!(checked(&good, "1000", b"{}", 1300), Ok(()));
        assert_eq!(checked(&format!("v1,AAAA v2,x {good}"), "1000", b"{}", 700), Ok(()));
        assert_eq!(checked("v1,AAAA v1a,xyz", "1000", b"{}", 1000), Err(Unsigned::Signature));
        assert_eq!(checked("", "1000", b"{}", 1000), Err(Unsigned::Signature));
        assert_eq!(checked(&good, "1000", b"{} ", 1000), Err(Unsigned::Signature));
        assert_eq!(checked(&good, "1001", b"{}", 1000), Err(Unsigned::Signature));
    }

    #[test]
    fn an_old_or_unreadable_time_is_refused_before_anything_else() {
        let good = Signer::new(SECRET).unwrap().sign("msg_1", 1000, b"{}");
        assert_eq!(checked(&good, "1000", b"{}", 1301), Err(Unsigned::Timestamp));
        assert_eq!(checked(&good, "1000", b"{}", 699), Err(Unsigned::Timestamp));
        assert_eq!(checked(&good, &i64::MIN.to_string(), b"{}", 1000), Err(Unsigned::Timestamp));
        assert_eq!(checked(&good, "soon", b"{}", 1000), Err(Unsigned::Headers));
    }

    #[test]
    fn a_weak_secret_is_refused() {
        assert!(Signer::new("whsec_not base64").unwrap_err().contains("not base64"));
        assert!(Signer::new("c2hvcnQ=").unwrap_err().contains("24 bytes"));
    }

    proptest! {
        #[test]
        fn nothing_that_was_not_signed_is_believed(signatures in any::<String>(), timestamp in any::<i64>(), body in any::<Vec<u8>>()) {
            prop_assert!(checked(&signatures, &timestamp.to_string(), &body, timestamp).is_err());
        }
    }
}
