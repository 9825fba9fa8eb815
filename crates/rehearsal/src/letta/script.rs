//! What a scripted Letta does with a turn, and what it does wrong.

use std::{collections::VecDeque, fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// The server's part. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LettaScript {
    /// A turn takes at least this long.
    pub min_ms: u64,
    /// A turn takes at most this long.
    pub max_ms: u64,
    /// Of the random choice between the two.
    pub seed: u64,
    /// Whether there is a Redis: background streams, keys that are recognised, a lock for each conversation.
    pub redis: bool,
    /// An answer is this and the text.
    pub prefix: String,
    /// The time between two pings of a stream.
    pub ping_ms: u64,
    /// When set, every request but the health check must carry it.
    pub api_key: Option<String>,
    /// When set, no other agent exists.
    pub agent_id: Option<String>,
    /// Where conversations, runs and messages are kept, appended; read back at the start.
    pub journal: Option<PathBuf>,
    /// Where every turn that really ran is written, one JSON object a line, appended.
    pub turn_log: Option<PathBuf>,
    /// At a restart, runs that were under way are forgotten; otherwise they stay `running` for ever, as the real
    /// server's do.
    pub forget_running: bool,
    /// What happens to the next messages, one each.
    pub behaviours: VecDeque<Behaviour>,
}

impl Default for LettaScript {
    fn default() -> Self {
        Self {
            min_ms: 5,
            max_ms: 20,
            seed: 0,
            redis: true,
            prefix: "You said: ".to_owned(),
            ping_ms: 20_000,
            api_key: None,
            agent_id: None,
            journal: None,
            turn_log: None,
            forget_running: false,
            behaviours: VecDeque::new(),
        }
    }
}

/// Something other than a plain answer. Written as `name` or `name=value`, in scripts and in the markers of texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Behaviour {
    /// A plain answer: a place in the queue for a message that nothing happens to.
    Plain,
    /// 409, with the id of somebody else's run.
    Busy,
    /// The stream brings nothing but pings, for ever; the turn goes on.
    SilentPings,
    /// The stream ends without `[DONE]`.
    NoDone,
    /// The connection is cut after this many events; the turn goes on.
    DropAfter(u64),
    /// The connection is cut before the answer begins; the turn goes on.
    DropBeforeBytes,
    /// The connection is cut after the answer's headers; the turn goes on.
    DropAfterHeaders,
    /// The connection is cut, and nothing else happens.
    Swallow,
    /// The model fails in the first step, with this `error_type`. Nothing is stored.
    LlmFails(String),
    /// The model's answer breaks off. The run is `completed`, with stop reason `llm_api_error`.
    LlmDies,
    /// The model fails in the second step; the message and a tool's work are stored.
    LaterStepFails(String),
    /// The model's error as a refusal of the request itself: `{"error": {"type"}}`.
    LlmHttp(String),
    /// This status, with `{"detail": …}`.
    Http(u16),
    /// 429, with `Retry-After` in seconds.
    RateLimited(u64),
    /// 429, with `Retry-After` as the date that is so many seconds away.
    RateLimitedUntil(u64),
    /// 503, with `Retry-After` in seconds.
    Overloaded(u64),
    /// 400, the context window is full.
    Overflow,
    /// The agent says nothing.
    Empty,
    /// Text, a tool call, text.
    Several,
    /// One message in chunks.
    Chunks,
    /// Asks for an approval; blocks the conversation until it is answered.
    Approval,
    /// The headers of the answer come after this long.
    SlowStart(u64),
    /// The turn takes this long.
    Takes(u64),
    /// Ends without words, with this stop reason.
    Ends(String),
    /// Ends with words, and with this stop reason.
    EndsSaying(String),
    /// Never ends, until it is cancelled.
    Stuck,
    /// 404, the conversation is deleted, and stays so.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBehaviour(String);

impl fmt::Display for UnknownBehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is nothing that a scripted Letta can do", self.0)
    }
}

impl std::error::Error for UnknownBehaviour {}

impl Behaviour {
    /// Every name that a script may use.
    pub const NAMES: [&str; 27] = [
        "plain",
        "busy",
        "silent_pings",
        "no_done",
        "drop_after",
        "drop_before_bytes",
        "drop_after_headers",
        "swallow",
        "llm_fails",
        "llm_dies",
        "later_step_fails",
        "llm_http",
        "http",
        "rate_limited",
        "rate_limited_until",
        "overloaded",
        "overflow",
        "empty",
        "several",
        "chunks",
        "approval",
        "slow_start",
        "takes",
        "ends",
        "ends_saying",
        "stuck",
        "gone",
    ];

    /// What a text asks for: `#letta(http=503 x2)` anywhere in it, and for how many attempts (one, unless said).
    pub(super) fn marked(text: &str) -> Option<(Self, u64)> {
        let (inside, _) = text.split_once("#letta(")?.1.split_once(')')?;
        let (what, times) = match inside.split_once(" x") {
            Some((what, times)) => (what, times.trim().parse().ok()?),
            None => (inside, 1),
        };
        Some((what.trim().parse().ok()?, times))
    }

    fn parts(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Plain => ("plain", None),
            Self::Busy => ("busy", None),
            Self::SilentPings => ("silent_pings", None),
            Self::NoDone => ("no_done", None),
            Self::DropAfter(events) => ("drop_after", Some(events.to_string())),
            Self::DropBeforeBytes => ("drop_before_bytes", None),
            Self::DropAfterHeaders => ("drop_after_headers", None),
            Self::Swallow => ("swallow", None),
            Self::LlmFails(kind) => ("llm_fails", Some(kind.clone())),
            Self::LlmDies => ("llm_dies", None),
            Self::LaterStepFails(kind) => ("later_step_fails", Some(kind.clone())),
            Self::LlmHttp(kind) => ("llm_http", Some(kind.clone())),
            Self::Http(status) => ("http", Some(status.to_string())),
            Self::RateLimited(seconds) => ("rate_limited", Some(seconds.to_string())),
            Self::RateLimitedUntil(seconds) => ("rate_limited_until", Some(seconds.to_string())),
            Self::Overloaded(seconds) => ("overloaded", Some(seconds.to_string())),
            Self::Overflow => ("overflow", None),
            Self::Empty => ("empty", None),
            Self::Several => ("several", None),
            Self::Chunks => ("chunks", None),
            Self::Approval => ("approval", None),
            Self::SlowStart(ms) => ("slow_start", Some(ms.to_string())),
            Self::Takes(ms) => ("takes", Some(ms.to_string())),
            Self::Ends(reason) => ("ends", Some(reason.clone())),
            Self::EndsSaying(reason) => ("ends_saying", Some(reason.clone())),
            Self::Stuck => ("stuck", None),
            Self::Gone => ("gone", None),
        }
    }
}

impl FromStr for Behaviour {
    type Err = UnknownBehaviour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn number<N: FromStr>(value: &str, of: impl Fn(N) -> Behaviour) -> Option<Behaviour> {
            value.parse().ok().map(of)
        }
        let word = |of: fn(String) -> Behaviour, value: &str| (!value.is_empty()).then(|| of(value.to_owned()));
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let parsed = match name {
            "plain" => Some(Self::Plain),
            "busy" => Some(Self::Busy),
            "silent_pings" => Some(Self::SilentPings),
            "no_done" => Some(Self::NoDone),
            "drop_after" => number(value, Self::DropAfter),
            "drop_before_bytes" => Some(Self::DropBeforeBytes),
            "drop_after_headers" => Some(Self::DropAfterHeaders),
            "swallow" => Some(Self::Swallow),
            "llm_fails" => word(Self::LlmFails, value),
            "llm_dies" => Some(Self::LlmDies),
            "later_step_fails" => word(Self::LaterStepFails, value),
            "llm_http" => word(Self::LlmHttp, value),
            "http" => number(value, Self::Http),
            "rate_limited" => number(value, Self::RateLimited),
            "rate_limited_until" => number(value, Self::RateLimitedUntil),
            "overloaded" => number(value, Self::Overloaded),
            "overflow" => Some(Self::Overflow),
            "empty" => Some(Self::Empty),
            "several" => Some(Self::Several),
            "chunks" => Some(Self::Chunks),
            "approval" => Some(Self::Approval),
            "slow_start" => number(value, Self::SlowStart),
            "takes" => number(value, Self::Takes),
            "ends" => word(Self::Ends, value),
            "ends_saying" => word(Self::EndsSaying, value),
            "stuck" => Some(Self::Stuck),
            "gone" => Some(Self::Gone),
            _ => None,
        };
        parsed.ok_or_else(|| UnknownBehaviour(text.to_owned()))
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (name, None) => f.write_str(name),
            (name, Some(value)) => write!(f, "{name}={value}"),
        }
    }
}

impl TryFrom<String> for Behaviour {
    type Error = UnknownBehaviour;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Behaviour> for String {
    fn from(behaviour: Behaviour) -> Self {
        behaviour.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_survives_json_and_says_what_it_does_not_know() {
        let script: LettaScript =
            serde_json::from_str(r#"{"redis": false, "behaviours": ["busy", "drop_after=3", "ends=max_steps"]}"#)
                .unwrap();
        assert_eq!(script.behaviours[1], Behaviour::DropAfter(3));
        let again: LettaScript = serde_json::from_str(&serde_json::to_string(&script).unwrap()).unwrap();
        assert_eq!(again, script);
        for bad in ["dance", "drop_after", "drop_after=x", "ends"] {
            assert!(bad.parse::<Behaviour>().is_err(), "{bad}");
        }
        for name in Behaviour::NAMES {
            let parsed = name.parse::<Behaviour>().or_else(|_| format!("{name}=7").parse());
            assert_eq!(parsed.map(|behaviour| behaviour.parts().0), Ok(name));
        }
    }

    #[test]
    fn a_marker_says_what_and_how_often() {
        assert_eq!(Behaviour::marked("hi"), None);
        assert_eq!(Behaviour::marked("hi #letta(stuck) there"), Some((Behaviour::Stuck, 1)));
        assert_eq!(Behaviour::marked("[Username: @a] #letta(http=503 x2)"), Some((Behaviour::Http(503), 2)));
        assert_eq!(Behaviour::marked("#letta(dance)"), None);
    }
}
