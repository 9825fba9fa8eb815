//! Processes that start together and stop together.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    Lines,
    child::{ChildSpec, Stop},
    member::{Member, NotReady},
};
use crate::run_file::ProcessEntry;

/// A set of running children.
#[derive(Debug)]
pub(crate) struct Group {
    members: Vec<Member>,
    lines: Lines,
    all: Stop,
}

impl Group {
    pub(crate) fn start(specs: impl IntoIterator<Item = ChildSpec>, lines: Lines) -> Self {
        let all = Stop::default();
        Self { members: specs.into_iter().map(|spec| Member::start(spec, lines, &all)).collect(), lines, all }
    }

    /// Stops each child and starts it as `specs` say, one after the other, so that the others go on meanwhile; none after
    /// `until` is cancelled. There are as many as before.
    ///
    /// # Errors
    /// One did not come up within `patience`: it is tried further, and those behind it go on as they are.
    pub(crate) async fn renew(
        &mut self,
        specs: Vec<ChildSpec>,
        grace: Duration,
        patience: Duration,
        until: &CancellationToken,
    ) -> Result<(), NotReady> {
        for (member, spec) in self.members.iter_mut().zip(specs) {
            if until.is_cancelled() {
                return Ok(());
            }
            member.retire(grace, until).await;
            *member = Member::start(spec, self.lines, &self.all);
            member.ready(tokio::time::Instant::now() + patience).await?;
        }
        Ok(())
    }

    /// Waits until every child announced itself, or failed once.
    ///
    /// # Errors
    /// The first child that failed, or was silent for `patience`, and how it ended.
    pub(crate) async fn ready(&mut self, patience: Duration) -> Result<(), NotReady> {
        let deadline = tokio::time::Instant::now() + patience;
        for member in &mut self.members {
            member.ready(deadline).await?;
        }
        Ok(())
    }

    /// Stops all of them at once: SIGTERM, then SIGKILL after `grace`, or at once when `now` is cancelled.
    pub(crate) async fn stop(self, grace: Duration, now: &CancellationToken) {
        futures::future::join_all(self.members.into_iter().map(|member| member.stop(grace, now))).await;
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = ProcessEntry> {
        self.members.iter().map(Member::entry)
    }

    /// Resolves when some child ended or was started again.
    pub(crate) async fn changed(&mut self) {
        if self.members.is_empty() {
            return std::future::pending().await;
        }
        let waits = self.members.iter_mut().map(|member| Box::pin(member.changed()));
        futures::future::select_all(waits).await;
    }
}
