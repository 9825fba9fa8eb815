//! What both databases share of turns.

use broca_core::TurnId;

use crate::StoreError;

/// The agent's own name for what a turn became.
#[derive(Clone, Debug)]
pub(crate) struct RunSeen {
    pub(crate) turn: TurnId,
    pub(crate) epoch: i64,
    pub(crate) run: String,
}

pub(crate) fn not_open(what: &str) -> StoreError {
    StoreError::Refused(format!("{what} is not open any more, or belongs to another conversation"))
}
