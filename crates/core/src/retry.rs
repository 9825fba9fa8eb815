//! The one owner of retries: when a failed attempt is tried again, and when it is given up.
//!
//! The curve is `backoff`'s exponential policy, used for its arithmetic alone: `next_backoff()` is asked for a
//! delay and nobody sleeps on it here. The crate is unmaintained (RUSTSEC-2025-0012, and RUSTSEC-2024-0384 for
//! its `instant` dependency); it is the owner's choice, carries no known fault, and is fenced into this module by
//! `deny.toml`. To replace it, rewrite [`RetryPolicy::delay`].

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};
use serde::{Deserialize, Serialize};

/// How often, how far apart and how long something is tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// The delay after the first failure, in milliseconds.
    pub initial_ms: u64,
    /// No delay is longer than this, jitter included, in milliseconds; a server's Retry-After may be.
    pub max_ms: u64,
    /// Each delay is this many times the one before.
    pub multiplier: f64,
    /// 0.25 spreads a delay over 75 % to 125 % of its length.
    pub jitter: f64,
    /// Total age in seconds after which no further attempt is made; 0 is no limit.
    pub max_age_s: u64,
}

impl Default for RetryPolicy {
    /// The original's curve (5 s doubling to 300 s), with its documented but unused limit made real.
    fn default() -> Self {
        Self { max_attempts: 5, initial_ms: 5_000, max_ms: 300_000, multiplier: 2.0, jitter: 0.25, max_age_s: 86_400 }
    }
}

/// What one message is allowed, where that is not what its route says. Whoever sends it may know better: a question of
/// which the answer is worthless in a minute, an order that must not get lost over a weekend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Budget {
    /// Attempts in all, the first included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Total age in seconds after which no further attempt is made; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u64>,
}

/// What is to be done after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again after this long.
    RetryAfter(Duration),
    GiveUp(Exhausted),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    #[error("all {0} attempts failed")]
    Attempts(u32),
    #[error("it is older than the limit of {0} s")]
    Age(u64),
}

impl RetryPolicy {
    /// The same pauses, within what the message is allowed.
    pub fn within(self, budget: Option<Budget>) -> Self {
        let budget = budget.unwrap_or_default();
        Self {
            max_attempts: budget.max_attempts.unwrap_or(self.max_attempts),
            max_age_s: budget.max_age_s.unwrap_or(self.max_age_s),
            ..self
        }
    }

    /// What is left until nothing more is attempted at something of that age; `None` is no limit.
    pub fn time_left(&self, age: Duration) -> Option<Duration> {
        (self.max_age_s > 0).then(|| Duration::from_secs(self.max_age_s).saturating_sub(age))
    }

    /// Decides after attempt number `attempts` (counted from 1) failed, `age` after the work was accepted.
    /// `retry_after` is the server's word and wins over a shorter delay of ours.
    pub fn decide(&self, attempts: u32, age: Duration, retry_after: Option<Duration>) -> Decision {
        if attempts >= self.max_attempts {
            return Decision::GiveUp(Exhausted::Attempts(attempts));
        }
        let delay = self.delay(attempts).max(retry_after.unwrap_or_default());
        if self.max_age_s > 0 && age.saturating_add(delay) > Duration::from_secs(self.max_age_s) {
            return Decision::GiveUp(Exhausted::Age(self.max_age_s));
        }
        Decision::RetryAfter(delay)
    }

    /// The delay after `attempts` failures, jitter included.
    pub fn delay(&self, attempts: u32) -> Duration {
        let mut curve = self.curve();
        let mut delay = curve.initial_interval;
        // `next_backoff` walks the curve; past a few dozen steps it only repeats the maximum.
        for _ in 0..attempts.clamp(1, 64) {
            delay = curve.next_backoff().unwrap_or(curve.max_interval);
        }
        delay.min(Duration::from_millis(self.max_ms))
    }

    fn curve(&self) -> ExponentialBackoff {
        ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_millis(self.initial_ms))
            .with_max_interval(Duration::from_millis(self.max_ms))
            .with_multiplier(self.multiplier.max(1.0))
            .with_randomization_factor(self.jitter.clamp(0.0, 1.0))
            // Its default of 15 minutes would end a durable loop; age is decided above, by the row's own time.
            .with_max_elapsed_time(None)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_stay_inside_their_fence(attempts in 1u32..200, initial in 1u64..10_000, max in 1u64..600_000, jitter in 0.0f64..1.0) {
            let policy = RetryPolicy { initial_ms: initial, max_ms: max, jitter, ..RetryPolicy::default() };
            prop_assert!(policy.delay(attempts) <= Duration::from_millis(max));
        }

        #[test]
        fn without_jitter_delays_never_shrink(attempts in 1u32..60) {
            let policy = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
            prop_assert!(policy.delay(attempts) <= policy.delay(attempts + 1));
        }

        #[test]
        fn retry_after_is_honoured_or_the_work_is_given_up(after in 0u64..100_000, age in 0u64..100_000) {
            let policy = RetryPolicy::default();
            match policy.decide(1, Duration::from_secs(age), Some(Duration::from_secs(after))) {
                Decision::RetryAfter(delay) => prop_assert!(delay >= Duration::from_secs(after)),
                Decision::GiveUp(why) => prop_assert_eq!(why, Exhausted::Age(86_400)),
            }
        }
    }

    #[test]
    fn the_default_is_the_originals_curve() {
        let policy = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
        let seconds: Vec<_> = (1..=8).map(|n| policy.delay(n).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_message_may_have_more_or_less_than_its_route_allows() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.within(None), policy);
        let once = policy.within(Some(Budget { max_attempts: Some(1), max_age_s: None }));
        assert_eq!((once.max_attempts, once.max_age_s), (1, policy.max_age_s));
        let ageless = policy.within(Some(Budget { max_attempts: None, max_age_s: Some(0) }));
        assert_eq!((ageless.max_attempts, ageless.time_left(Duration::MAX)), (policy.max_attempts, None));
        assert_eq!(policy.time_left(Duration::from_secs(86_399)), Some(Duration::from_secs(1)));
        assert_eq!(policy.time_left(Duration::from_secs(90_000)), Some(Duration::ZERO));
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
        assert!(matches!(policy.decide(2, Duration::ZERO, None), Decision::RetryAfter(_)));
        assert_eq!(policy.decide(3, Duration::ZERO, None), Decision::GiveUp(Exhausted::Attempts(3)));
        let ageless = RetryPolicy { max_age_s: 0, ..policy };
        assert!(matches!(ageless.decide(1, Duration::MAX, None), Decision::RetryAfter(_)));
    }
}
