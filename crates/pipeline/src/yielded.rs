//! The conversations that this process gave up so that the others get their turn.
//!
//! Somebody who wrote twenty messages has twenty wakes in the broker, all of them before the wake of whoever wrote
//! next. A conversation that has had its share is released with a fresh wake at the end of the queue; should
//! one of the old ones bring it back at once, nobody else would get a turn until the flood is over.
//!
//! This is pacing and nothing else: the fresh wake is owed in SQL, so an old one may be dropped, and whatever is
//! forgotten here, or not known to another worker, costs one more share.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use broca_core::{ConversationId, Timestamp};

/// More than this many are forgotten, all at once.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Yielded {
    fresh: Mutex<HashMap<ConversationId, Timestamp>>,
}

impl Yielded {
    /// The conversation was released, and a wake of that time is owed.
    pub(crate) fn note(&self, conversation: ConversationId, fresh_wake: Timestamp) {
        let mut fresh = self.lock();
        if fresh.len() >= REMEMBERED {
            fresh.clear();
        }
        fresh.insert(conversation, fresh_wake);
    }

    /// Whether a wake of time `at` is older than the fresh one that is on its way.
    pub(crate) fn supersedes(&self, conversation: ConversationId, at: Timestamp) -> bool {
        let mut fresh = self.lock();
        let superseded = fresh.get(&conversation).is_some_and(|fresh_wake| at < *fresh_wake);
        if !superseded {
            fresh.remove(&conversation);
        }
        superseded
    }

    /// A panic elsewhere leaves the map whole: every change to it is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<ConversationId, Timestamp>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_wakes_are_superseded_until_the_fresh_one_comes() {
        let yielded = Yielded::default();
        let (flood, other) = (ConversationId::of("a", "flood"), ConversationId::of("a", "other"));
        assert!(!yielded.supersedes(flood, Timestamp(1)));
        yielded.note(flood, Timestamp(5));
        assert!(yielded.supersedes(flood, Timestamp(2)) && yielded.supersedes(flood, Timestamp(4)));
        assert!(!yielded.supersedes(other, Timestamp(2)));
        assert!(!yielded.supersedes(flood, Timestamp(5)), "the fresh one itself");
        assert!(!yielded.supersedes(flood, Timestamp(3)), "whatever is left over may claim again");
    }
}
