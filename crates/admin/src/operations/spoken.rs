//! Times and durations as people write them, the same in every request.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use broca_core::{Timestamp, clock::micros, format::rfc3339};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// `250ms`, `30s`, `5m`, `1h`, `7d`, or plain seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("'{text}' is no duration: use e.g. 30s, 5m"))?;
    let millis = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let millis = millis.and_then(|factor| number.checked_mul(factor));
    millis.map(Duration::from_millis).ok_or_else(|| format!("'{text}' is no duration: use ms, s, m, h or d, e.g. 30s"))
}

/// An age as people say it.
pub fn age(seconds: u64) -> String {
    match seconds {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s @ 7_200..=172_799 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// A duration in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        duration(text).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.subsec_millis(), self.0.as_secs()) {
            (0, seconds) => write!(f, "{seconds}s"),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

/// A time in a request: how long ago, or when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Ago(Duration),
    At(Timestamp),
}

impl Moment {
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => Timestamp(now.micros().saturating_sub(micros(duration))),
            Self::At(at) => at,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ago) = duration(text.strip_prefix('-').unwrap_or(text)) {
            return Ok(Self::Ago(ago));
        }
        let at = OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|_| format!("'{text}' is no time: use e.g. 2h, 7d or 2026-11-23T08:00:00Z"))?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000)
            .map(|micros| Self::At(Timestamp(micros)))
            .map_err(|_| format!("'{text}' is too far away"))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ago(duration) => Span(*duration).fmt(f),
            Self::At(at) => f.write_str(&rfc3339(*at)),
        }
    }
}

macro_rules! written {
    ($($name:ident: $schema:literal, $description:literal, $examples:expr;)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $schema.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "description": $description, "examples": $examples})
            }
        }
    )*};
}

written! {
    Span: "Duration", "A number with ms, s, m, h or d behind it.", ["30s", "2h", "7d"];
    Moment: "Moment", "How long ago, or a time as RFC 3339 has it.", ["2h", "2026-11-23T08:00:00Z"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for bad in ["", "s", "-1s", "5 days", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for text in ["250ms", "300s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_time_is_an_age_or_a_date() {
        let moment = |text: &str| text.parse::<Moment>();
        assert_eq!(moment("2h"), Ok(Moment::Ago(Duration::from_secs(7_200))));
        assert_eq!(moment("-5m"), Ok(Moment::Ago(Duration::from_secs(300))));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(Moment::At(Timestamp(1_000_000))));
        assert_eq!(moment("1970-01-01T01:00:00+01:00"), Ok(Moment::At(Timestamp(0))));
        assert!(moment("yesterday").unwrap_err().contains("7d"));
        assert_eq!(moment("1s").unwrap().at(Timestamp(3_000_000)), Timestamp(2_000_000));
    }
}
