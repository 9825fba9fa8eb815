//! What both sides of the bridge's API have in common: how its times, sessions and people are written.

use broca_core::Timestamp;
use ring::digest;
use time::{
    OffsetDateTime, PrimitiveDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

/// As sessions have their times: UTC, to the second, without a zone.
const PLAIN: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00");

fn date(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.micros()) * 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `2025-08-04T03:17:33.000001+00:00`. With its microseconds, so that `since` neither repeats an answer nor skips one.
pub(crate) fn iso(at: Timestamp) -> String {
    date(at).format(ISO).unwrap_or_default()
}

/// `2025-08-04 03:17:33`
pub(crate) fn plain(at: Timestamp) -> String {
    date(at).format(PLAIN).unwrap_or_default()
}

/// Either of the two.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    // A `+` that nobody escaped arrives as a space.
    let text = text.trim();
    let iso = || OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).ok();
    let parsed = PrimitiveDateTime::parse(text, PLAIN).map(PrimitiveDateTime::assume_utc).ok().or_else(iso)?;
    i64::try_from(parsed.unix_timestamp_nanos() / 1000).ok().map(Timestamp)
}

const MAX_SESSION_CHARS: usize = 64;
/// Whoever knows a session's id reads what is said in it.
const MIN_SESSION_CHARS: usize = 8;

/// `session_{timestamp}_{random}`, and whatever else existing widgets make up that is no surprise in a log.
pub(crate) fn is_session_id(text: &str) -> bool {
    (MIN_SESSION_CHARS..=MAX_SESSION_CHARS).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
}

/// A person's id, 16 hexadecimal digits, made from what only they know: it stays the same without being kept anywhere, and
/// nobody can take it for their own by saying it.
pub(crate) fn uid_of(secret: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("web chat uid\n{secret}").as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The original's name for such a person.
pub(crate) fn username(uid: &str) -> String {
    format!("web_user_{uid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let at = Timestamp(1_754_277_453_000_001);
        assert_eq!(iso(at), "2025-08-04T03:17:33.000001+00:00");
        assert_eq!(plain(at), "2025-08-04 03:17:33");
        assert_eq!(parse_time(&iso(at)), Some(at));
        assert_eq!(parse_time("2025-08-04T03:17:33.000001 00:00"), Some(at), "as it comes out of a careless query");
        assert_eq!(parse_time(&plain(at)), Some(Timestamp(1_754_277_453_000_000)));
        assert_eq!(parse_time("2025-08-04T03:17:33.484Z"), Some(Timestamp(1_754_277_453_484_000)));
        for nonsense in ["", "yesterday", "2025-13-04 03:17:33", "9999999999"] {
            assert_eq!(parse_time(nonsense), None, "{nonsense}");
        }
        assert_eq!(iso(Timestamp(i64::MAX)), "1970-01-01T00:00:00.000000+00:00", "no panic");
    }

    #[test]
    fn the_documented_sessions_are_sessions() {
        for id in ["session_mdwj6vj5_okiiczierw", "session_abc123", "test_session_123"] {
            assert!(is_session_id(id), "{id}");
        }
        for id in ["", "short", "session_<b>", "session_ä_x", "session_a b c", &"x".repeat(65)] {
            assert!(!is_session_id(id), "{id}");
        }
    }

    #[test]
    fn a_uid_is_a_persons_own() {
        let uid = uid_of("session_mdwj6vj5_okiiczierw");
        assert!(uid.len() == 16 && uid.bytes().all(|c| c.is_ascii_hexdigit()), "{uid}");
        assert_eq!(uid, uid_of("session_mdwj6vj5_okiiczierw"));
        assert_ne!(uid, uid_of("session_mdwj6vj5_okiiczierx"));
    }
}
