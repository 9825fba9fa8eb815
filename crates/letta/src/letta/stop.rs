//! A turn that is not wanted any more.
//!
//! What runs in the conversation is cancelled, and then it is looked at: the run's row says whether that worked. Letta
//! 0.16.8 answers "cancelled" also without Redis, where the run goes on to its end; and of a run that really was
//! cancelled it may still store the step that its model was at, the message included.

use std::time::Duration;

use broca_core::{
    TurnOutcome,
    agent::{Failure, FailureClass},
};
use tokio::time::Instant;

use super::{
    http::CallError,
    pause::Pause,
    search::Found,
    turn::{Turn, untold},
    verdict::Evidence,
};
use crate::Stopped;

/// A message that was on its way when the turn was given up has arrived by then, or never will.
const ARRIVAL: Duration = Duration::from_secs(2);
/// How long what a cancelled run may still store is waited for.
const LAST_STEP: Duration = Duration::from_secs(1);

impl Turn<'_> {
    /// `run` is the turn's, as far as it is known.
    pub(super) async fn stop(&self, run: Option<String>) -> Stopped {
        let cancelled = self.agent.cancel_runs(&self.request.conversation).await;
        let run = match run {
            Some(run) => run,
            None => match self.arrived().await {
                Ok(run) => run,
                Err(stopped) => return stopped,
            },
        };
        loop {
            match self.settled(&run).await {
                Ok(ended) if ended.is_cancelled() => return Stopped::Stopped { heard: self.was_heard(&run).await },
                Ok(ended) if ended.is_over() => return Stopped::Ended(self.conclude(ended, Evidence::default()).await),
                // Without Redis it goes on to its end.
                Ok(_) if Instant::now() < self.deadline => {}
                Ok(_) => {
                    let told = if cancelled.is_ok() { "did not end when cancelled" } else { "could not be cancelled" };
                    let reason = format!("the agent's run {run} was to be stopped and {told}; look at it in Letta");
                    return Stopped::Ended(TurnOutcome::Unknown(Failure::new(FailureClass::Timeout, reason)));
                }
                Err(error) if error.is_passing() && Instant::now() < self.deadline => {}
                Err(error) => return Stopped::Ended(TurnOutcome::Unknown(untold(&error))),
            }
        }
    }

    /// The run of a message that was sent, or perhaps was not.
    async fn arrived(&self) -> Result<String, Stopped> {
        let unless_found_by = Instant::now() + ARRIVAL;
        let mut pause = Pause::up_to(self.agent.options.poll_interval);
        loop {
            match self.search().await {
                Ok(Found::Run(run)) => return Ok(run),
                Ok(Found::Orphan) => return Err(Stopped::Stopped { heard: true }),
                Ok(Found::Absent) if Instant::now() >= unless_found_by => {
                    return Err(Stopped::Stopped { heard: false });
                }
                // It may have begun since it was last cancelled.
                Ok(Found::Running) if Instant::now() < self.deadline => {
                    if let Err(CallError::Refused(refusal)) = self.agent.cancel_runs(&self.request.conversation).await
                        && !refusal.is_passing()
                    {
                        return Err(Stopped::Ended(TurnOutcome::Unknown(refusal.failure("stop the turn"))));
                    }
                }
                Ok(Found::Absent) => {}
                Ok(Found::Running) => {
                    let reason = "the turn was to be stopped and Letta does not say what became of it";
                    let failure = Failure::new(FailureClass::Timeout, reason);
                    return Err(Stopped::Ended(TurnOutcome::Unknown(failure)));
                }
                Err(error) if error.is_passing() && Instant::now() < self.deadline => {}
                Err(error) => return Err(Stopped::Ended(TurnOutcome::Unknown(untold(&error)))),
            }
            pause.wait(Duration::ZERO, self.deadline).await;
        }
    }

    /// Whether a cancelled run has stored the message. Of one that cannot be told, the message counts as not heard: the
    /// agent then has it twice at worst.
    async fn was_heard(&self, run: &str) -> bool {
        let until = Instant::now() + LAST_STEP.min(self.agent.options.settle_timeout);
        let mut pause = Pause::up_to(self.agent.options.poll_interval.min(LAST_STEP / 4));
        loop {
            let stored = self.run_messages(run).await;
            if stored.is_ok_and(|messages| messages.iter().any(|message| self.is_ours(message))) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            pause.wait(Duration::ZERO, until).await;
        }
    }
}
