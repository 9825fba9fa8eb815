//! How hard the agents are worked, over all workers, and what becomes of messages meanwhile.
//!
//! Before a turn is recorded it passes [`gate`]: its agent is configured, the message is not too old, the breaker of its
//! agent's endpoint is closed, and the agent has a turn free. What does not pass is parked: the conversation is given up
//! until a later time, no attempt is counted, and nothing in any process waits for it.
//!
//! The rows decide, by the database's clock. Each worker keeps a copy of what is in trouble ([`breakers`]), refreshed
//! with its signs of life ([`vitals`]) and by whatever it does itself; a copy that is out of date costs a turn that
//! fails, or a park that was not needed. While nothing is in trouble and nothing has a limit, none of this asks the
//! database anything for a message.

pub(crate) mod breakers;
pub(crate) mod gate;
pub(crate) mod slots;
pub(crate) mod vitals;

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use broca_store::{Parked, ParkedCount};

use self::{breakers::Breakers, slots::Slots};

/// What one worker knows of the pace.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    pub(crate) breakers: Breakers,
    pub(crate) slots: Slots,
    parked: Mutex<HashMap<(String, Parked), i64>>,
    /// Agents that routes name and nobody configured: said once.
    unconfigured: Mutex<HashSet<String>>,
}

impl Pacing {
    fn hear_of_parked(&self, counts: Vec<ParkedCount>) {
        *lock(&self.parked) = counts.into_iter().map(|c| ((c.agent, c.what_for), c.conversations)).collect();
    }

    fn note_parked(&self, agent: &str, what_for: Parked) {
        *lock(&self.parked).entry((agent.to_owned(), what_for)).or_default() += 1;
    }

    fn forget_parked(&self, agent: &str, what_for: Parked) {
        lock(&self.parked).remove(&(agent.to_owned(), what_for));
    }

    /// As far as this worker knows.
    fn parked(&self, agent: &str, what_for: Parked) -> i64 {
        lock(&self.parked).get(&(agent.to_owned(), what_for)).copied().unwrap_or(0)
    }

    fn is_news(&self, unconfigured: &str) -> bool {
        lock(&self.unconfigured).insert(unconfigured.to_owned())
    }
}

/// A panic elsewhere leaves these maps whole: every change to them is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
