//! A time on the command line: how long ago, or when.

use std::time::Duration;

use broca_core::Timestamp;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::send::duration;

/// Before now, or a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Ago(Duration),
    At(Timestamp),
}

impl Moment {
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => Timestamp(now.micros().saturating_sub(broca_core::clock::micros(duration))),
            Self::At(at) => at,
        }
    }
}

pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ago) = duration(text.strip_prefix('-').unwrap_or(text)) {
        return Ok(Moment::Ago(ago));
    }
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| format!("'{text}' is no time: use e.g. 2h, 7d or 2026-11-23T08:00:00Z"))?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000)
        .map(|micros| Moment::At(Timestamp(micros)))
        .map_err(|_| format!("'{text}' is too far away"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_age_or_a_date() {
        assert_eq!(moment("2h"), Ok(Moment::Ago(Duration::from_secs(7_200))));
        assert_eq!(moment("-5m"), Ok(Moment::Ago(Duration::from_secs(300))));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(Moment::At(Timestamp(1_000_000))));
        assert_eq!(moment("1970-01-01T01:00:00+01:00"), Ok(Moment::At(Timestamp(0))));
        assert!(moment("yesterday").unwrap_err().contains("7d"));
        assert_eq!(moment("1s").unwrap().at(Timestamp(3_000_000)), Timestamp(2_000_000));
    }
}
