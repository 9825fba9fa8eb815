//! Processes that start together and stop together.

use std::time::Duration;

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Lines,
    child::{ChildSpec, ChildStatus, Stop, keep},
};
use crate::run_file::ProcessEntry;

/// A set of running children.
#[derive(Debug)]
pub(crate) struct Group {
    children: Vec<(String, watch::Receiver<ChildStatus>)>,
    tasks: JoinSet<()>,
    stop: Stop,
}

impl Group {
    pub(crate) fn start(specs: impl IntoIterator<Item = ChildSpec>, lines: Lines) -> Self {
        let mut group = Self { children: Vec::new(), tasks: JoinSet::new(), stop: Stop::default() };
        for spec in specs {
            let (sender, receiver) = watch::channel(ChildStatus::default());
            group.children.push((spec.name.clone(), receiver));
            group.tasks.spawn(keep(spec, lines, sender, group.stop.clone()));
        }
        group
    }

    /// Waits until every child announced itself, or failed once.
    ///
    /// # Errors
    /// The first child that failed, or was silent for `patience`, and how it ended.
    pub(crate) async fn ready(&mut self, patience: Duration) -> Result<(), NotReady> {
        let deadline = tokio::time::Instant::now() + patience;
        for (name, status) in &mut self.children {
            let decided = status.wait_for(|status| status.ready || status.restarts > 0);
            let reason = match tokio::time::timeout_at(deadline, decided).await {
                Ok(Ok(status)) if status.ready => continue,
                Ok(Ok(status)) => status.last_end.clone().unwrap_or_default(),
                Ok(Err(_)) => "it was stopped".to_owned(),
                Err(_) => format!("it was not ready within {patience:?}"),
            };
            return Err(NotReady { name: name.clone(), reason });
        }
        Ok(())
    }

    /// Stops all of them at once: SIGTERM, then SIGKILL after `grace`, or at once when `now` is cancelled.
    pub(crate) async fn stop(mut self, grace: Duration, now: &CancellationToken) {
        self.stop.begin.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => return,
            () = tokio::time::sleep(grace) => {
                tracing::warn!(grace_ms = grace.as_millis() as u64, "processes did not stop in time and are killed");
            }
            () = now.cancelled() => {}
        }
        self.stop.kill.cancel();
        ended.await;
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = ProcessEntry> {
        self.children.iter().map(|(name, status)| {
            let status = status.borrow();
            let (name, metrics) = (name.clone(), status.metrics);
            ProcessEntry { name, pid: status.pid, ready: status.ready, restarts: status.restarts, metrics }
        })
    }

    /// Resolves when some child ended or was started again.
    pub(crate) async fn changed(&mut self) {
        if self.children.is_empty() {
            return std::future::pending().await;
        }
        let waits = self.children.iter_mut().map(|(_, status)| Box::pin(status.changed()));
        let (changed, _, _) = futures::future::select_all(waits).await;
        if changed.is_err() {
            // Every task has ended; there is nothing more to see.
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
