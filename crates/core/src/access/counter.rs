//! How much one person may say: a bucket of tokens for the rate, a count for the day. Arithmetic alone; the store keeps
//! the numbers, and the time is the database's.

use super::Reason;

/// What one person may say through one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub rate: Option<Rate>,
    /// Messages a day.
    pub daily_cap: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub per_minute: u32,
    pub burst: u32,
}

/// What is on record of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Millionths of a message that may still be said at `at`.
    pub tokens: i64,
    /// Microseconds since the epoch.
    pub at: i64,
    /// Days since the epoch.
    pub day: i64,
    /// Messages that were let in on that day.
    pub count: i64,
}

const MESSAGE: i64 = 1_000_000;
const MINUTE_MICROS: i128 = 60_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

impl Counter {
    /// Of somebody who has been silent for long.
    pub fn fresh(allowance: Allowance, now: i64) -> Self {
        Self { tokens: allowance.full(), at: now, day: now.div_euclid(DAY_MICROS), count: 0 }
    }

    /// Lets one message in, or says why not; a refused one costs nothing.
    ///
    /// # Errors
    /// [`Reason::RateLimited`] or [`Reason::DailyCap`].
    pub fn take(&mut self, allowance: Allowance, now: i64) -> Result<(), Reason> {
        self.advance(allowance, now);
        if allowance.daily_cap.is_some_and(|cap| self.count >= i64::from(cap)) {
            return Err(Reason::DailyCap);
        }
        if allowance.rate.is_some() {
            if self.tokens < MESSAGE {
                return Err(Reason::RateLimited);
            }
            self.tokens -= MESSAGE;
        }
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    fn advance(&mut self, allowance: Allowance, now: i64) {
        // A clock that was set back takes nothing away and gives nothing twice.
        let passed = i128::from(now.saturating_sub(self.at).max(0));
        let rate = allowance.rate.map_or(0, |rate| i128::from(rate.per_minute));
        let tokens = i128::from(self.tokens) + passed * rate * i128::from(MESSAGE) / MINUTE_MICROS;
        self.tokens = i64::try_from(tokens).unwrap_or(i64::MAX).min(allowance.full());
        self.at = self.at.max(now);
        let day = now.div_euclid(DAY_MICROS);
        if day > self.day {
            (self.day, self.count) = (day, 0);
        }
    }
}

impl Allowance {
    fn full(self) -> i64 {
        self.rate.map_or(0, |rate| i64::from(rate.burst) * MESSAGE)
    }

    /// The sentence that goes with a refusal.
    pub fn why(self, reason: Reason) -> String {
        match (reason, self.rate, self.daily_cap) {
            (Reason::RateLimited, Some(rate), _) => {
                format!("the sender may say {} messages a minute, {} at once", rate.per_minute, rate.burst)
            }
            (Reason::DailyCap, _, Some(cap)) => format!("the sender may say {cap} messages a day (UTC)"),
            _ => reason.sentence().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_minute: u32, burst: u32) -> Allowance {
        Allowance { rate: Some(Rate { per_minute, burst }), daily_cap: None }
    }

    proptest! {
        /// However the messages come: never more than the burst and what the time gave, and never fewer than asked for
        /// of that.
        #[test]
        fn a_rate_is_kept_exactly(
            per_minute in 1_u32..1_000,
            burst in 1_u32..100,
            pauses in proptest::collection::vec(0_i64..3_000_000, 1..300),
        ) {
            let allowance = rate(per_minute, burst);
            let (start, mut now) = (1_764_000_000_000_000, 1_764_000_000_000_000);
            let mut counter = Counter::fresh(allowance, start);
            let (mut taken, mut refused_at) = (0_i128, None);
            for pause in pauses {
                now += pause;
                match counter.take(allowance, now) {
                    Ok(()) => taken += 1,
                    Err(reason) => {
                        prop_assert_eq!(reason, Reason::RateLimited);
                        refused_at = Some(now);
                    }
                }
                let given = i128::from(now - start) * i128::from(per_minute) / 60_000_000;
                prop_assert!(taken <= i128::from(burst) + given);
            }
            // Somebody is refused only once the burst is used up.
            prop_assert!(refused_at.is_none() || taken >= i128::from(burst));
        }

        #[test]
        fn a_cap_is_kept_each_day(cap in 0_u32..50, says in 0_usize..100, hours in 0_i64..48) {
            let allowance = Allowance { rate: None, daily_cap: Some(cap) };
            let midnight = 20_000 * DAY_MICROS;
            let mut counter = Counter::fresh(allowance, midnight);
            let mut day = |now: i64| (0..says).filter(|_| counter.take(allowance, now).is_ok()).count();
            prop_assert_eq!(day(midnight + 1), says.min(cap as usize));
            let later = midnight + hours * 3_600_000_000;
            let wanted = if hours < 24 { says.min(cap as usize - says.min(cap as usize)) } else { says.min(cap as usize) };
            prop_assert_eq!(day(later), wanted);
        }

        /// Numbers from an older setting, or from a clock that jumped, never overflow and never let in without end.
        #[test]
        fn any_record_is_survived(tokens: i64, at: i64, day: i64, count in 0_i64.., now in 0_i64..4_000_000_000_000_000) {
            let allowance = Allowance { daily_cap: Some(5), ..rate(10, 3) };
            let mut counter = Counter { tokens, at, day, count };
            prop_assert!((0..10).filter(|_| counter.take(allowance, now).is_ok()).count() <= 3);
        }
    }

    #[test]
    fn refusals_say_the_limit() {
        assert_eq!(rate(20, 5).why(Reason::RateLimited), "the sender may say 20 messages a minute, 5 at once");
        let cap = Allowance { rate: None, daily_cap: Some(9) };
        assert_eq!(cap.why(Reason::DailyCap), "the sender may say 9 messages a day (UTC)");
    }
}
