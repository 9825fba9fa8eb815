//! The two signals that end a process in good order, and what a second one does.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Code, Failure};

/// Cancelled by SIGINT or SIGTERM.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    /// The first signal: finish what is at hand, start nothing, end.
    pub(crate) begin: CancellationToken,
    /// The second signal: end now.
    pub(crate) now: CancellationToken,
}

impl Shutdown {
    /// Begins to listen for the signals, which from here on no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = Self::default();
        let tokens = shutdown.clone();
        tokio::spawn(async move {
            for token in [&tokens.begin, &tokens.now] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(shutdown)
    }

    /// Runs `work`, which ends by itself some time after the first signal; a second one ends it here.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            ended = work => ended,
            () = self.now.cancelled() => Err(Failure::new(Code::Failure, "stopped by a second signal")),
        }
    }

    /// Runs `work`, which knows nothing of signals; the first one ends it.
    pub(crate) async fn interruptible<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match self.begin.run_until_cancelled(work).await {
            Some(ended) => ended,
            None => Err(Failure::new(Code::Failure, "interrupted")),
        }
    }
}
