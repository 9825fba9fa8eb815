//! The breaker of an agent's endpoint: what moves it, and where to.
//!
//! ```text
//!            so many failures in a row             its time is over, and a worker takes the probe
//!  closed ─────────────────────────────> open ──────────────────────────────────────────────> half open
//!    ^                                    ^ └───────────────────────────────────────────────────┘  │
//!    │                                    └──────────── the probe failed: open for twice as long ───┤
//!    └───────────────────────────────────────────────── the probe was answered ─────────────────────┘
//! ```
//!
//! Only what says that nobody is there counts as a failure: no answer, 502 to 504, a turn of which Letta did not tell
//! the end. A refusal of one message is an answer.

use std::time::Duration;

use serde::Serialize;

use crate::{Timestamp, TurnOutcome, WorkerId, agent::FailureClass};

/// When an endpoint is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it; 0 never does.
    pub failures: u32,
    /// How long it stays open at first.
    pub open: Duration,
    /// It stays open for twice as long each time that the probe fails, and never for longer than this.
    pub open_max: Duration,
}

impl Default for BreakerPolicy {
    /// The original's five failures and 300 s, reached in steps: an agent's restart takes seconds, not minutes.
    fn default() -> Self {
        Self { failures: 5, open: Duration::from_secs(5), open_max: Duration::from_secs(300) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    #[default]
    Closed,
    /// Nobody is asked.
    Open,
    /// One turn is let through, to see.
    HalfOpen,
}

impl BreakerState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl std::str::FromStr for BreakerState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "closed" => Ok(Self::Closed),
            "open" => Ok(Self::Open),
            "half_open" => Ok(Self::HalfOpen),
            _ => Err(format!("'{text}' is no state of a breaker")),
        }
    }
}

/// What is known of an endpoint. All times are the database's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Breaker {
    pub state: BreakerState,
    /// Since it last answered.
    pub failures: u32,
    /// Since it was last closed.
    pub openings: u32,
    /// Since when it is not closed.
    pub opened_at: Option<Timestamp>,
    pub open_until: Timestamp,
    /// Half open: the worker whose turn was let through, and until when it must give a sign.
    pub probe: Option<WorkerId>,
    pub probe_until: Timestamp,
}

/// What people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    Opened,
    /// It was open, and stays so for longer.
    Reopened,
    Closed,
}

impl Breaker {
    /// A turn of `by` found nobody there.
    pub fn failed(&mut self, by: &WorkerId, policy: &BreakerPolicy, now: Timestamp) -> Option<Turned> {
        match self.state {
            BreakerState::Closed => {
                self.failures = self.failures.saturating_add(1);
                if policy.failures == 0 || self.failures < policy.failures {
                    return None;
                }
                self.opened_at = Some(now);
                self.open(policy, now);
                Some(Turned::Opened)
            }
            BreakerState::HalfOpen if self.probe.as_ref() == Some(by) => {
                self.open(policy, now);
                Some(Turned::Reopened)
            }
            // The late end of a turn from before.
            BreakerState::Open | BreakerState::HalfOpen => None,
        }
    }

    /// A turn of `by` got an answer, whatever it says.
    pub fn answered(&mut self, by: &WorkerId) -> Option<Turned> {
        match self.state {
            BreakerState::Closed => {
                self.failures = 0;
                None
            }
            BreakerState::HalfOpen if self.probe.as_ref() == Some(by) => {
                *self = Self::default();
                Some(Turned::Closed)
            }
            BreakerState::Open | BreakerState::HalfOpen => None,
        }
    }

    /// Whether `by` may have the one turn that is let through; it must give a sign within `ttl`.
    pub fn claim(&mut self, by: &WorkerId, ttl: Duration, now: Timestamp) -> bool {
        let free = match self.state {
            BreakerState::Closed => false,
            BreakerState::Open => self.open_until <= now,
            BreakerState::HalfOpen => self.probe_until <= now,
        };
        if free {
            self.state = BreakerState::HalfOpen;
            self.probe = Some(by.clone());
            self.probe_until = now.after(ttl);
        }
        free
    }

    /// The turn that was let through ended without telling anything: the next one may be.
    pub fn give_back(&mut self, by: &WorkerId, now: Timestamp) {
        if self.state == BreakerState::HalfOpen && self.probe.as_ref() == Some(by) {
            (self.state, self.probe, self.open_until) = (BreakerState::Open, None, now);
        }
    }

    fn open(&mut self, policy: &BreakerPolicy, now: Timestamp) {
        let doubled = policy.open.saturating_mul(1 << self.openings.min(20));
        self.state = BreakerState::Open;
        self.openings = self.openings.saturating_add(1);
        self.open_until = now.after(doubled.min(policy.open_max));
        self.probe = None;
    }
}

impl TurnOutcome {
    /// Whether it says that nobody is at the endpoint, rather than something of this one message.
    pub fn blames_endpoint(&self) -> bool {
        match self {
            Self::Retry { failure, .. } => failure.class == FailureClass::Unavailable,
            // A run that took too long and was cancelled in good order is the model's slowness, and is `Dead`.
            Self::Unknown(failure) => matches!(failure.class, FailureClass::Unavailable | FailureClass::Timeout),
            Self::Answered(_) | Self::NoConversation(_) | Self::Dead(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: BreakerPolicy =
        BreakerPolicy { failures: 3, open: Duration::from_secs(5), open_max: Duration::from_secs(300) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn opened(by: &WorkerId) -> Breaker {
        let mut breaker = Breaker::default();
        let turned: Vec<_> = (0..3).map(|_| breaker.failed(by, &POLICY, at(0))).collect();
        assert_eq!(turned, [None, None, Some(Turned::Opened)]);
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let me = WorkerId::unique("w");
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            assert_eq!((breaker.failed(&me, &POLICY, at(0)), breaker.failed(&me, &POLICY, at(0))), (None, None));
            assert_eq!(breaker.answered(&me), None);
        }
        assert_eq!(breaker, Breaker::default());
        let never = BreakerPolicy { failures: 0, ..POLICY };
        assert!((0..100).all(|_| breaker.failed(&me, &never, at(0)).is_none()));
    }

    #[test]
    fn it_stays_open_for_twice_as_long_each_time() {
        let me = WorkerId::unique("w");
        let mut breaker = opened(&me);
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push(breaker.open_until.since(now).as_secs());
            now = breaker.open_until;
            assert!(breaker.claim(&me, Duration::from_secs(60), now));
            assert_eq!(breaker.failed(&me, &POLICY, now), Some(Turned::Reopened));
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(breaker.opened_at, Some(at(0)), "since when nobody is there");
        assert!(breaker.claim(&me, Duration::from_secs(60), breaker.open_until));
        assert_eq!((breaker.answered(&me), breaker), (Some(Turned::Closed), Breaker::default()));
    }

    #[test]
    fn one_turn_is_let_through_and_its_word_alone_counts() {
        let (me, other) = (WorkerId::unique("a"), WorkerId::unique("b"));
        let ttl = Duration::from_secs(60);
        let mut breaker = opened(&me);
        assert!(!breaker.claim(&me, ttl, at(4)), "not before its time");
        assert!(breaker.claim(&me, ttl, at(5)));
        assert!(!breaker.claim(&other, ttl, at(6)) && !breaker.claim(&me, ttl, at(6)));
        // Turns from before it opened end late, well or badly.
        assert_eq!((breaker.answered(&other), breaker.failed(&other, &POLICY, at(6))), (None, None));
        assert_eq!(breaker.state, BreakerState::HalfOpen);
        // It gave no sign: the next one may.
        assert!(breaker.claim(&other, ttl, at(65)));
        assert_eq!(breaker.answered(&me), None);
        breaker.give_back(&me, at(66));
        assert_eq!(breaker.probe.as_ref(), Some(&other));
        breaker.give_back(&other, at(66));
        assert!(breaker.claim(&me, ttl, at(66)));
    }

    proptest! {
        /// Whatever happens in whatever order, at most one worker has the probe, and it is never stuck.
        #[test]
        fn it_can_always_be_closed(steps in proptest::collection::vec((0u8..4, 0usize..3), 0..60)) {
            let workers = [WorkerId::unique("a"), WorkerId::unique("b"), WorkerId::unique("c")];
            let ttl = Duration::from_secs(1);
            let mut breaker = Breaker::default();
            let mut now = at(0);
            for (what, who) in steps {
                now = now.after(Duration::from_millis(700));
                let by = &workers[who];
                match what {
                    0 => drop(breaker.failed(by, &POLICY, now)),
                    1 => drop(breaker.answered(by)),
                    2 => {
                        let held = breaker.state == BreakerState::HalfOpen && breaker.probe_until > now;
                        prop_assert!(!(breaker.claim(by, ttl, now) && held));
                    }
                    _ => breaker.give_back(by, now),
                }
                prop_assert_eq!(breaker.probe.is_some(), breaker.state == BreakerState::HalfOpen);
            }
            if breaker.state != BreakerState::Closed {
                let later = now.after(Duration::from_secs(400));
                prop_assert!(breaker.claim(&workers[0], ttl, later));
                prop_assert_eq!(breaker.answered(&workers[0]), Some(Turned::Closed));
            }
        }
    }
}
