//! When several messages of one conversation are said to the agent in one turn.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a route gathers what comes in quick succession.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Coalesce {
    /// How long the first message waits for others, in milliseconds; 0: it does not.
    pub window_ms: u64,
    /// A turn says no more messages than this; with so many, nothing more is waited for.
    pub max_messages: u32,
    /// Nor more bytes of text than this.
    pub max_bytes: usize,
}

impl Default for Coalesce {
    fn default() -> Self {
        Self { window_ms: 0, max_messages: 50, max_bytes: 32 * 1024 }
    }
}

impl Coalesce {
    /// What somebody wants joined, whatever the route says, is joined up to this.
    pub const ON_DEMAND: Self = Self { window_ms: 0, max_messages: 200, max_bytes: 256 * 1024 };
    /// A turn is recorded with each of its messages: there must be an end.
    pub const MOST_MESSAGES: u32 = 200;
}

/// What becomes of messages that arrive while their conversation has a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Busy {
    /// Each has its own turn, one after the other.
    #[default]
    Queue,
    /// Together they are the next turn.
    Collect,
    /// The turn under way is stopped, and its messages and the new ones are the next turn together.
    Interrupt,
}

/// A message is answered in peace after its turn was stopped so often.
pub const MAX_INTERRUPTIONS: u32 = 3;

/// A message that waits, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub bytes: usize,
    /// Whether it may be said together with the first one.
    pub joins: bool,
    pub urgent: bool,
    /// Since it was accepted.
    pub waited: Duration,
}

/// What is to be done with what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathered {
    /// The first so many are one turn.
    Turn(usize),
    /// More may come within this time.
    Wait(Duration),
}

/// `waiting` is in order, and not empty. Whatever ends the burst before the window does (its size, an urgent message, one
/// behind it that cannot join) makes the turn begin at once.
pub fn gather(how: &Coalesce, waiting: &[Waiting]) -> Gathered {
    let Some(first) = waiting.first() else { return Gathered::Turn(0) };
    let (mut count, mut bytes) = (1, first.bytes);
    for next in &waiting[1..] {
        let full = count >= how.max_messages.max(1) as usize || bytes.saturating_add(next.bytes) > how.max_bytes;
        if !next.joins || full {
            return Gathered::Turn(count);
        }
        (count, bytes) = (count + 1, bytes + next.bytes);
    }
    let full = count >= how.max_messages.max(1) as usize || bytes >= how.max_bytes;
    let left = Duration::from_millis(how.window_ms).saturating_sub(first.waited);
    if full || !first.joins || left.is_zero() || waiting.iter().any(|message| message.urgent) {
        return Gathered::Turn(count);
    }
    Gathered::Wait(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Coalesce = Coalesce { window_ms: 2_000, max_messages: 4, max_bytes: 100 };

    fn message(waited_ms: u64) -> Waiting {
        Waiting { bytes: 10, joins: true, urgent: false, waited: Duration::from_millis(waited_ms) }
    }

    #[test]
    fn the_first_one_waits_for_others_until_the_window_ends() {
        assert_eq!(gather(&WINDOW, &[message(500)]), Gathered::Wait(Duration::from_millis(1_500)));
        assert_eq!(gather(&WINDOW, &[message(1_999), message(0)]), Gathered::Wait(Duration::from_millis(1)));
        assert_eq!(gather(&WINDOW, &[message(2_000), message(0)]), Gathered::Turn(2));
        assert_eq!(gather(&Coalesce::default(), &[message(0), message(0)]), Gathered::Turn(2), "no window");
    }

    #[test]
    fn what_ends_a_burst_begins_its_turn() {
        let urgent = Waiting { urgent: true, ..message(0) };
        assert_eq!(gather(&WINDOW, &[message(0), urgent]), Gathered::Turn(2));
        assert_eq!(gather(&WINDOW, &[message(0); 4]), Gathered::Turn(4), "so many are enough");
        assert_eq!(gather(&WINDOW, &[message(0); 6]), Gathered::Turn(4), "and no more");
        let long = Waiting { bytes: 95, ..message(0) };
        assert_eq!(gather(&WINDOW, &[message(0), long]), Gathered::Turn(1), "the long one is the next turn");
        assert_eq!(gather(&WINDOW, &[long, message(0)]), Gathered::Turn(1));
        let other = Waiting { joins: false, ..message(0) };
        assert_eq!(gather(&WINDOW, &[message(0), message(0), other]), Gathered::Turn(2), "somebody else waits");
        assert_eq!(gather(&WINDOW, &[other]), Gathered::Turn(1), "it joins nothing");
    }

    proptest! {
        #[test]
        fn a_turn_is_never_empty_nor_too_big(sizes in proptest::collection::vec((1usize..200, any::<bool>()), 1..20)) {
            let waiting: Vec<_> = sizes.iter().map(|(bytes, urgent)| Waiting { bytes: *bytes, urgent: *urgent, ..message(0) }).collect();
            if let Gathered::Turn(count) = gather(&WINDOW, &waiting) {
                prop_assert!((1..=4).contains(&count));
                let bytes: usize = waiting[..count].iter().map(|message| message.bytes).sum();
                prop_assert!(count == 1 || bytes <= WINDOW.max_bytes);
            }
        }
    }
}
