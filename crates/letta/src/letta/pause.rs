//! The pace of looking again within one attempt. It decides nothing: what is retried, and when, is the caller's
//! caller's business; this only keeps a waiting attempt from asking too often.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Waits that double from one to the next.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    pub(super) fn up_to(longest: Duration) -> Self {
        Self { next: (longest / 20).max(Duration::from_millis(1)), longest }
    }

    /// The next wait.
    pub(super) fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
        now
    }

    /// Waits at least `least`, and never past `deadline`.
    pub(super) async fn wait(&mut self, least: Duration, deadline: Instant) {
        let until = Instant::now() + self.step().max(least);
        sleep_until(until.min(deadline)).await;
    }
}
