//! What the server behind an agent turned out to be able to do.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A server that refused background streaming is asked again after this long: it may have got its Redis (back).
/// Each refusal leaves a `failed` run row at the server, so not too often.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// Whether the server recognises repeated messages: learnt from a probe, and from every message.
#[derive(Debug, Default)]
pub(super) struct Ability {
    learnt: Mutex<Option<(bool, Instant)>>,
}

impl Ability {
    pub(super) fn learn(&self, recognises_keys: bool) {
        *self.learnt.lock().unwrap_or_else(PoisonError::into_inner) = Some((recognises_keys, Instant::now()));
    }

    /// What was seen last, if it is recent enough to go by.
    pub(super) fn known(&self) -> Option<bool> {
        match *self.learnt.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((false, at)) if at.elapsed() >= ASK_AGAIN_AFTER => None,
            learnt => learnt.map(|(recognises_keys, _)| recognises_keys),
        }
    }

    pub(super) fn may_recognise_keys(&self) -> bool {
        self.known() != Some(false)
    }

    pub(super) fn describe(&self) -> &'static str {
        match self.known() {
            Some(true) => "recognises repeated messages (Redis)",
            Some(false) => "does not recognise repeated messages: give the Letta server a Redis",
            None => "does not say whether it recognises repeated messages; the first turn will show it",
        }
    }
}
