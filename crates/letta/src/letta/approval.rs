//! Tool calls that wait for somebody's permission. Nobody is there to give it, and until it is answered Letta refuses
//! every further message with 409, so Broca denies it and lets the agent say what it has to say without the tool.

use std::time::Duration;

use broca_core::{
    Answer, TurnOutcome,
    agent::{Failure, FailureClass},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    http::CallError,
    pause::Pause,
    refusal::BUSY_PAUSE,
    turn::{Turn, untold},
    verdict::{Evidence, Verdict, judge},
    watch::{Watch, WatchEnd, Watcher},
    wire::{Message, Run, added, awaiting_approval, said},
};

/// An approval that is open is among the last messages: nothing else is taken behind it.
const LATEST: usize = 20;
/// An agent may ask again after a denial; this often it is denied within one turn.
const MAX_DENIALS: usize = 8;

impl Turn<'_> {
    /// Denies what this turn's run asks for, and adds what the agent says then to `answer`.
    pub(super) async fn deny_own(&self, mut answer: Answer, mut messages: Vec<Message>) -> TurnOutcome {
        for _ in 0..MAX_DENIALS {
            messages.reverse();
            let calls = awaiting_approval(&messages);
            if calls.is_empty() {
                let reason = "the agent waits for an approval that names no tool call; answer it in Letta, then replay";
                return TurnOutcome::Dead(Failure::new(FailureClass::Protocol, reason));
            }
            let (run, evidence) = match self.deny(&calls).await {
                Ok(ended) => ended,
                Err(failure) => return TurnOutcome::Unknown(failure),
            };
            messages = match self.patiently(|| self.run_messages(&run.id)).await {
                Ok(messages) => messages,
                Err(error) => return TurnOutcome::Unknown(untold(&error)),
            };
            answer.parts.extend(said(&messages));
            answer.usage = added(answer.usage, self.usage(&run.id, &evidence).await);
            // The message itself is stored since the run that asked: no failure from here on is a clean one.
            match judge(&run, &evidence, !answer.parts.is_empty(), true) {
                Verdict::Answered => return TurnOutcome::Answered(answer),
                Verdict::Dead(failure) | Verdict::Retry(failure) => return TurnOutcome::Dead(failure),
                Verdict::AsksApproval | Verdict::BlockedByApproval => {}
            }
        }
        let reason = format!("the agent asked {MAX_DENIALS} times for approvals that nobody gives; change its tools");
        TurnOutcome::Dead(Failure::new(FailureClass::AgentError, reason))
    }

    /// Denies what an earlier turn left open. This turn did not happen; it comes again in a moment.
    pub(super) async fn deny_earlier(&self) -> TurnOutcome {
        let calls = match self.conversation_page(None, LATEST).await {
            Ok(newest_first) => awaiting_approval(&newest_first),
            Err(_) => Vec::new(),
        };
        let denied = !calls.is_empty() && self.deny(&calls).await.is_ok();
        let (after, how) = if denied { (Duration::ZERO, "was denied") } else { (BUSY_PAUSE, "could not be denied") };
        let reason = format!("an approval left open by an earlier turn {how}; the message is said again");
        TurnOutcome::Retry { after: Some(after), failure: Failure::new(FailureClass::Busy, reason) }
    }

    /// Sends the denial and waits for the run that follows from it. Its key follows from the turn and the calls, so
    /// that a successor who repeats it gets the same run.
    async fn deny(&self, calls: &[String]) -> Result<(Run, Evidence), Failure> {
        let key = Uuid::new_v5(&self.request.turn.uuid(), calls.join("\n").as_bytes()).to_string();
        let denials: Vec<Value> = calls.iter().map(|call| denial(call)).collect();
        let message = json!({"type": "approval", "otid": key, "approvals": denials});
        let mut pause = Pause::up_to(self.agent.options.poll_interval);
        while Instant::now() < self.deadline {
            let background = self.in_background();
            match self.send(&message, background).await {
                Ok(stream) => {
                    let watcher = Watcher { notes: None, ..self.watcher() };
                    let mut watch = Watch::of_stream(watcher, stream, background);
                    match watch.end().await {
                        WatchEnd::Ended(run) => return Ok((run, watch.evidence)),
                        WatchEnd::NoRun if background => {}
                        _ => break,
                    }
                }
                Err(CallError::Refused(refusal)) if refusal.needs_redis => {}
                Err(CallError::Refused(refusal)) if refusal.status == 409 || refusal.is_passing() => {}
                Err(CallError::NotSent(_)) => {}
                Err(CallError::Lost(_)) if self.repeatable() => {}
                Err(error) => return Err(untold(&error)),
            }
            pause.wait(Duration::ZERO, self.deadline).await;
        }
        let reason = "the agent's tool call was denied, but its reply to that did not come; look into the conversation";
        Err(Failure::new(FailureClass::Interrupted, reason))
    }
}

fn denial(tool_call_id: &str) -> Value {
    json!({
        "type": "approval", "approve": false, "tool_call_id": tool_call_id,
        "reason": "Nobody is here to approve tool calls; go on without it.",
    })
}
