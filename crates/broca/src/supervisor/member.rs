//! One child of a group, which can be stopped by itself.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Lines,
    child::{ChildSpec, ChildStatus, Stop, keep},
};
use crate::run_file::ProcessEntry;

/// A child that is kept running. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Member {
    name: String,
    status: watch::Receiver<ChildStatus>,
    stop: Stop,
    task: AbortOnDropHandle<()>,
}

impl Member {
    /// Stops also when `all` do.
    pub(crate) fn start(spec: ChildSpec, lines: Lines, all: &Stop) -> Self {
        let (sender, status) = watch::channel(ChildStatus::default());
        let stop = Stop { begin: all.begin.child_token(), kill: all.kill.child_token() };
        let name = spec.name.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(keep(spec, lines, sender, stop.clone())));
        Self { name, status, stop, task }
    }

    pub(crate) fn status(&self) -> ChildStatus {
        self.status.borrow().clone()
    }

    /// Waits until it announced itself, or failed once.
    ///
    /// # Errors
    /// How it ended, or that it was silent until the deadline.
    pub(crate) async fn ready(&mut self, deadline: Instant) -> Result<(), NotReady> {
        let decided = self.status.wait_for(|status| status.ready || status.restarts > 0);
        let reason = match tokio::time::timeout_at(deadline, decided).await {
            Ok(Ok(status)) if status.ready => return Ok(()),
            Ok(Ok(status)) => status.last_end.clone().unwrap_or_default(),
            Ok(Err(_)) => "it was stopped".to_owned(),
            Err(_) => "it was not ready in time".to_owned(),
        };
        Err(NotReady { name: self.name.clone(), reason })
    }

    /// Waits whether it goes on for that long.
    ///
    /// # Errors
    /// How it ended.
    pub(crate) async fn stays(&mut self, within: Duration) -> Result<(), NotReady> {
        let ended = self.status.wait_for(|status| status.failures > 0);
        match tokio::time::timeout(within, ended).await {
            Ok(Ok(status)) => {
                Err(NotReady { name: self.name.clone(), reason: status.last_end.clone().unwrap_or_default() })
            }
            _ => Ok(()),
        }
    }

    /// Stops it: SIGTERM, then SIGKILL after `grace`, or at once when `now` is cancelled.
    pub(crate) async fn stop(mut self, grace: Duration, now: &CancellationToken) {
        self.retire(grace, now).await;
    }

    /// The same, for one whose place is kept.
    pub(super) async fn retire(&mut self, grace: Duration, now: &CancellationToken) {
        self.stop.begin.cancel();
        let ended = &mut self.task;
        tokio::select! {
            _ = &mut *ended => return,
            () = tokio::time::sleep(grace) => {
                let grace_ms = grace.as_millis() as u64;
                tracing::warn!(process = self.name, grace_ms, "the process did not stop in time and is killed");
            }
            () = now.cancelled() => {}
        }
        self.stop.kill.cancel();
        if let Err(error) = ended.await {
            tracing::error!(process = self.name, %error, "keeping the process ended badly");
        }
    }

    pub(crate) fn entry(&self) -> ProcessEntry {
        let ChildStatus { pid, ready, metrics, restarts, .. } = self.status();
        ProcessEntry { name: self.name.clone(), pid, ready, restarts, metrics, standing: None, detail: None }
    }

    /// Resolves when it ended or was started again.
    pub(crate) async fn changed(&mut self) {
        if self.status.changed().await.is_err() {
            // Its task has ended; there is nothing more to see.
            std::future::pending::<()>().await;
        }
    }
}

/// A child that did not come up.
#[derive(Debug, thiserror::Error)]
#[error("{name} did not start: {reason}")]
pub(crate) struct NotReady {
    pub(crate) name: String,
    pub(crate) reason: String,
}
