//! Turns that do not end by themselves: past their deadline, or with a run that died with its server.

use std::time::Duration;

use broca_core::{
    TurnOutcome,
    agent::{Failure, FailureClass},
};
use tokio::time::Instant;

use super::{
    http::Call,
    pause::Pause,
    search::Found,
    turn::{Turn, untold},
    verdict::Evidence,
    wire::Run,
};

impl Turn<'_> {
    /// The deadline passed: what runs is cancelled, and then looked at. The answer counts if the run completed after
    /// all. Otherwise the turn is dead when Letta confirms that it ended, and unknown when it does not; it is never
    /// tried again by itself, because a cancelled run may still store what its model was saying.
    pub(super) async fn overdue(&self, run: Option<String>) -> TurnOutcome {
        let cancelled = self.agent.cancel_runs(&self.request.conversation).await;
        let Some(run) = run.or(self.stored_run().await) else {
            let reason = "the time for the turn ran out before Letta confirmed it; look into its conversation";
            return TurnOutcome::Unknown(Failure::new(FailureClass::Timeout, reason));
        };
        match self.settled(&run).await {
            Ok(ended) if ended.status.as_deref() == Some("cancelled") => {
                let reason =
                    format!("the agent's run {run} took longer than allowed and was cancelled; replay if wanted");
                TurnOutcome::Dead(Failure::new(FailureClass::Timeout, reason))
            }
            Ok(ended) if ended.is_over() => self.conclude(ended, Evidence::default()).await,
            Ok(_) => {
                let told = if cancelled.is_ok() { "did not end when cancelled" } else { "could not be cancelled" };
                let reason = format!("the agent's run {run} took longer than allowed and {told}; look at it in Letta");
                TurnOutcome::Unknown(Failure::new(FailureClass::Timeout, reason))
            }
            Err(error) => TurnOutcome::Unknown(untold(&error)),
        }
    }

    /// A run that gave no sign since its stream broke. A Letta that is killed leaves such runs: the row stays
    /// `running` for ever and nothing of the turn is stored. It is cancelled, which also frees the conversation.
    pub(super) async fn stuck(&self, run: &str) -> TurnOutcome {
        let cancelled = self.agent.cancel_runs(&self.request.conversation).await;
        let ended = match self.settled(run).await {
            Ok(ended) => ended,
            Err(error) => return TurnOutcome::Unknown(untold(&error)),
        };
        if ended.is_over() && ended.status.as_deref() != Some("cancelled") {
            return self.conclude(ended, Evidence::default()).await;
        }
        let stored = match self.patiently(|| self.run_messages(run)).await {
            Ok(messages) => messages.iter().any(|message| self.is_ours(message)),
            Err(error) => return TurnOutcome::Unknown(untold(&error)),
        };
        let failure = |advice: &str| {
            Failure::new(FailureClass::AgentError, format!("the agent's run {run} died silently: {advice}"))
        };
        if stored {
            return TurnOutcome::Dead(failure(
                "the message is already in the agent's context; replay it only if a second copy does no harm",
            ));
        }
        if !ended.is_over() || cancelled.is_err() {
            return TurnOutcome::Unknown(failure("Letta would not cancel it; look at it in Letta before replaying"));
        }
        TurnOutcome::Retry { after: None, failure: failure("nothing of the turn was stored") }
    }

    /// The run, read until it is over or the settling time is up.
    pub(super) async fn settled(&self, run: &str) -> Call<Run> {
        let until = Instant::now() + self.agent.options.settle_timeout;
        let mut pause = Pause::up_to(self.agent.options.poll_interval);
        loop {
            let answer: Call<Run> = self.agent.http.get(&["runs", run], &[], self.request.trace).await;
            let open = match &answer {
                Ok(run) => !run.is_over(),
                Err(error) => error.is_passing(),
            };
            if !open || Instant::now() >= until {
                return answer;
            }
            pause.wait(Duration::ZERO, until).await;
        }
    }

    async fn stored_run(&self) -> Option<String> {
        match self.search().await {
            Ok(Found::Run(run)) => Some(run),
            Ok(Found::Orphan | Found::Running | Found::Absent) => None,
            Err(_) => None,
        }
    }
}
