//! How much a program may write that means nothing.

use std::time::{Duration, Instant};

/// So many lines within [`WINDOW`] are forgiven: a library that prints a notice is no reason to end a program.
const FORGIVEN: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Garbage {
    since: Instant,
    lines: u32,
}

impl Garbage {
    pub(crate) fn none() -> Self {
        Self { since: Instant::now(), lines: 0 }
    }

    /// One more; whether that is too much.
    pub(crate) fn one_more(&mut self, why: &str) -> bool {
        self.count(Instant::now());
        // What it says is not for the log: it may be a message's text. The first few are enough to be told of.
        if self.lines <= 5 || self.lines > FORGIVEN {
            tracing::warn!(lines = self.lines, why, "the program wrote a line that is not understood, dropped");
        }
        self.lines > FORGIVEN
    }

    fn count(&mut self, now: Instant) {
        if now.duration_since(self.since) > WINDOW {
            *self = Self { since: now, lines: 0 };
        }
        self.lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_now_and_then_is_forgiven_and_a_flood_is_not() {
        let mut garbage = Garbage::none();
        let begun = garbage.since;
        for minute in 0..10 {
            (0..FORGIVEN).for_each(|_| garbage.count(begun + WINDOW * 2 * minute));
            assert_eq!(garbage.lines, FORGIVEN);
        }
        assert!((0..=FORGIVEN).any(|_| garbage.one_more("no JSON")));
    }
}
