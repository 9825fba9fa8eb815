//! A wake becomes a held conversation, and its messages are brought to their ends in order.
//!
//! Two workers never run turns of one conversation at once: the claim gives one of them an epoch, and every write
//! names it. A worker that lost its lease finds that out at its next write, or at the next heartbeat, and stops.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use broca_bus::Job;
use broca_core::{
    ConversationId, HoldId, OutboxId,
    agent::{Failure, FailureClass},
    envelope::Envelope,
    route::{Facts, Mode, Resolved},
    subject,
};
use broca_letta::Stopped;
use broca_store::{
    ClaimRequest, Claimed, End, Fenced, Finish, Finished, IfFailed, Lease, Owed, OwedKind, PendingMessage, StartedTurn,
    StoreError,
};

use crate::{
    burst::{self, Said},
    crash::{CrashPoint, point},
    ending,
    held::Held,
    meter,
    modes::InMode,
    mutate::{self, Protection},
    outcome::{came_to, decide, if_failed},
    pacing::gate::{self, Candidate, Gate},
    shared::{Gone, Worker, unless_gone},
    stopping, turn,
};

/// A worker that died in a turn leaves it open. A successor may ask the agent about it this many times more than
/// the policy allows attempts, because asking is what tells a lost answer from a lost message.
const EXTRA_RECOVERIES: u32 = 2;

/// What to do after one turn.
pub(crate) enum Next {
    /// The conversation is still ours and has more.
    Continue,
    /// The same, and what was read of its queue is not so any more.
    Changed,
    /// It was released: nothing is pending, or it is parked.
    Released,
    /// Somebody else has it.
    Lost,
    /// We must give it up with work pending: shutdown, or what we read of its queue is not so any more.
    HandOver,
}

/// Handles one wake to its end. The wake is acked when the conversation needs it no more.
pub(crate) async fn wake(worker: &Worker, job: Job) {
    let envelope = match read(&job) {
        Ok(envelope) => envelope,
        Err(why) => {
            tracing::warn!(subject = job.subject(), why, "not a wake of ours, dropped");
            return settle(job.term(why).await);
        }
    };
    if worker.yielded.supersedes(envelope.conversation_id, envelope.at) {
        meter::superseded();
        return settle(job.ack().await);
    }
    let request = ClaimRequest {
        message: envelope.message_id,
        instance: envelope.instance,
        worker: worker.id.clone(),
        ttl: worker.options.lease_ttl,
    };
    let claimed = worker.store.claim(request).await;
    meter::claimed(&claimed);
    match claimed {
        Ok(Claimed::Held(lease)) => {
            point(CrashPoint::Claimed);
            hold(worker, *lease, &job).await;
            point(CrashPoint::Released);
            settle(job.ack().await);
        }
        // Whoever holds it, or the sweep when its time has come, sees the message.
        Ok(Claimed::Busy | Claimed::Parked { .. } | Claimed::OnHold { .. } | Claimed::Idle) => {
            stopping::wrote(worker, envelope.conversation_id);
            settle(job.ack().await);
        }
        Ok(Claimed::Unknown) => {
            tracing::warn!(subject = job.subject(), "wake for a message that this instance does not have, dropped");
            settle(job.term("no such message").await);
        }
        Err(error) => {
            tracing::warn!(%error, "conversation not claimed, wake handed back");
            settle(job.nak(Duration::from_secs(1)).await);
        }
    }
}

/// An ack that does not arrive only costs a redelivery, which finds nothing to do.
fn settle(acked: Result<(), broca_bus::BusError>) {
    if let Err(error) = acked {
        tracing::debug!(%error, "ack not sent");
    }
}

/// What the wake says: its instance is checked against its subject here, and against the row by the claim.
fn read(job: &Job) -> Result<Envelope, &'static str> {
    let envelope = Envelope::decode(job.payload()).map_err(|_| "not an envelope of a version that is understood")?;
    let instance = subject::instance_of(job.subject()).ok_or("not a subject of an instance")?;
    if instance != envelope.instance {
        return Err("its instance is not its subject's");
    }
    Ok(envelope)
}

/// Runs the conversation until it is released, lost, or has had its share.
async fn hold(worker: &Worker, lease: Lease, job: &Job) {
    let held = worker.held.hold(lease.conversation, lease.epoch, job.progress_handle());
    let mut agent = turn::AgentSide { name: lease.agent, conversation: lease.agent_conversation, trace: None };
    let mut open_turn = lease.open_turn;
    let mut pending = VecDeque::from(lease.pending);
    let started = Instant::now();
    let mut done = 0;
    loop {
        while let Some(message) = pending.pop_front() {
            let open = open_turn.take_if(|t| t.message == message.id);
            if worker.draining.is_cancelled() {
                return hand_over(worker, &held).await;
            }
            let mut route = resolve(worker, &message);
            let in_mode = InMode::of(worker, &held, &mut route, &message, open.as_ref()).await;
            let said = burst::gather(worker, &held, message, (&agent.name, &route, open.as_ref())).await;
            let mut messages = match said {
                Said::Messages { messages, fresh } => {
                    if fresh {
                        pending.clear();
                    }
                    messages
                }
                Said::Parked | Said::Lost => return,
                Said::Changed => return hand_over(worker, &held).await,
            };
            match one(worker, &held, &mut agent, (&mut messages, &route, &in_mode), open).await {
                Next::Continue => done += messages.len(),
                Next::Changed => {
                    done += messages.len();
                    pending.clear();
                }
                Next::Released | Next::Lost => return,
                Next::HandOver => return hand_over(worker, &held).await,
            }
            let options = &worker.options;
            let share_used = done >= options.yield_after_messages as usize || started.elapsed() >= options.yield_after;
            if share_used || worker.draining.is_cancelled() {
                return hand_over(worker, &held).await;
            }
        }
        let more = worker.persist(&held, || worker.store.pending(held.conversation, held.epoch)).await;
        pending = match more {
            Some(more) if !more.is_empty() => more.into(),
            _ => return hand_over(worker, &held).await,
        };
    }
}

/// Brings one message to its end, or its attempt; or several that are said together.
async fn one(
    worker: &Worker,
    held: &Held,
    agent: &mut turn::AgentSide,
    (messages, route, in_mode): (&mut [PendingMessage], &Resolved, &InMode),
    open: Option<StartedTurn>,
) -> Next {
    let first = &messages[0];
    let policy = route.retry.within(first.budget);
    let budget = policy.max_attempts.saturating_add(if open.is_some() { EXTRA_RECOVERIES } else { 0 });
    let spent = first.attempts.saturating_sub(first.attempts_before);
    let (several, mut too_old) = (messages.len() > 1, false);
    // Its predecessor may have been about to stop it.
    let given_up = spent >= budget && open.is_some();
    let (turn, end) = if spent >= budget {
        let reason = format!("{spent} attempts were started and none came to an end");
        let failure = Failure::new(FailureClass::Exhausted, reason);
        (open.map(|t| t.id), End::Failed { failure, turn_unknown: true })
    } else if route.mode == Mode::Listen && open.is_none() {
        in_mode.note(worker, held, messages, route).await;
        (None, End::Stored)
    } else {
        let is_open = open.is_some();
        let candidate = Candidate { message: first, route, policy, is_open, begun_in: in_mode.begun_in };
        match gate::enter(worker, held, agent, &candidate).await {
            Gate::Open(pass) => {
                in_mode.note(worker, held, messages, route).await;
                match turn::run(worker, held, agent, (messages, route), open, &pass).await {
                    turn::Ended::Outcome { turn, attempt, outcome } => {
                        // The attempts are recorded by now: what is said of the messages from here on counts them.
                        count(messages, attempt);
                        if several {
                            let came = Stopped::Ended(outcome);
                            return ending::end(worker, held, (messages, route), turn, &came).await;
                        }
                        (Some(turn), decide(route, &policy, &messages[0], outcome))
                    }
                    turn::Ended::Stopped { turn, came } => {
                        return ending::end(worker, held, (messages, route), turn, &came).await;
                    }
                    turn::Ended::LeaseLost => return Next::Lost,
                    turn::Ended::NotBegun(Gone::LeftQueue) => return Next::Continue,
                    turn::Ended::NotBegun(Gone::Changed) => return Next::Changed,
                    turn::Ended::NotBegun(Gone::KeptBack) | turn::Ended::ShutDown => return Next::HandOver,
                }
            }
            Gate::Parked => return Next::Released,
            Gate::TooOld(failure) => {
                too_old = true;
                let turn_unknown = open.is_some();
                (open.map(|t| t.id), End::Failed { failure, turn_unknown })
            }
            Gate::LeaseLost => return Next::Lost,
            Gate::Stopping => return Next::HandOver,
        }
    };
    match turn {
        Some(turn) if several || given_up => ending::end(worker, held, (messages, route), turn, &came_to(end)).await,
        _ => {
            let if_failed = if_failed(route, &end, too_old);
            finish(worker, held, (&messages[0], route), (turn, end, if_failed)).await
        }
    }
}

/// `attempt` is the first one's number.
fn count(messages: &mut [PendingMessage], attempt: u32) {
    let more = attempt.saturating_sub(messages[0].attempts);
    for message in messages {
        message.attempts += more;
    }
}

fn resolve(worker: &Worker, message: &PendingMessage) -> Resolved {
    worker.routes.resolve(&Facts {
        instance: &message.instance,
        platform: &message.profile.platform,
        platform_user_id: &message.profile.platform_user_id,
        chat_id: message.chat_id.as_deref(),
        is_group: message.is_group,
    })
}

async fn finish(
    worker: &Worker,
    held: &Held,
    (message, route): (&PendingMessage, &Resolved),
    (turn, end, if_failed): (Option<broca_core::TurnId>, End, IfFailed),
) -> Next {
    let (conversation, epoch) = (held.conversation, held.epoch);
    let finish = Finish { conversation, epoch, message: message.id, turn, end, if_failed };
    let finished = || async {
        match worker.store.finish(finish.clone()).await {
            Err(StoreError::StopAsked(_)) => Ok(None),
            finished => Ok(Some(unless_gone(finished)?)),
        }
    };
    match worker.persist(held, finished).await {
        // Taken back in the last moment.
        Some(None) => match turn {
            Some(turn) => {
                let messages = std::slice::from_ref(message);
                ending::end(worker, held, (messages, route), turn, &came_to(finish.end)).await
            }
            None => Next::Lost,
        },
        Some(Some(Err(Gone::LeftQueue))) => Next::Continue,
        Some(Some(Err(Gone::Changed))) => Next::Changed,
        Some(Some(Err(Gone::KeptBack))) => Next::HandOver,
        Some(Some(Ok(Fenced::Done(finished)))) => {
            point(CrashPoint::TurnFinished);
            log(&finish, &finished);
            meter::ended(message, &finish);
            worker.events.ended(held.conversation, message, &finish.end);
            let next = if finished.released { Next::Released } else { Next::Continue };
            publish(worker, message, finish, finished);
            next
        }
        Some(Some(Ok(Fenced::LeaseLost))) => {
            held.lose();
            if mutate::is_off(Protection::Fence) { Next::Continue } else { Next::Lost }
        }
        None => Next::Lost,
    }
}

fn log(finish: &Finish, finished: &Finished) {
    let (message, turn) = (finish.message, finish.turn.map(tracing::field::display));
    match &finish.end {
        End::Answered { .. } => tracing::debug!(message_id = %message, turn, "answered"),
        End::Stored => tracing::debug!(message_id = %message, "stored"),
        End::Retry { failure, delay, .. } => {
            tracing::warn!(message_id = %message, turn, class = %failure.class, reason = failure.reason, delay_ms = delay.as_millis(), "tried again later");
        }
        End::Failed { failure, .. } => {
            tracing::error!(message_id = %message, turn, class = %failure.class, reason = failure.reason, "failed, dead-lettered");
        }
    }
    tell_quarantine(finish.conversation, finished.quarantined);
}

pub(crate) fn tell_quarantine(conversation: ConversationId, hold: Option<HoldId>) {
    if let Some(hold) = hold {
        tracing::warn!(%conversation, %hold, "failed too often in a row, quarantined; `broca hold release` ends it");
    }
}

fn publish(worker: &Worker, message: &PendingMessage, finish: Finish, finished: Finished) {
    let Some((id, at)) = finished.owed else { return };
    let Finish { conversation, end, if_failed, .. } = finish;
    let failed = matches!(end, End::Failed { .. });
    let (what, text) = match end {
        End::Answered { response: Some(response), .. } => (OwedKind::Response(response.id), response.text),
        End::Failed { failure, .. } => {
            let attempts = message.attempts;
            let class = failure.class.to_string();
            (
                OwedKind::DeadLetter { stage: "turn".into(), class, reason: failure.reason, attempts },
                message.text.clone(),
            )
        }
        End::Answered { response: None, .. } | End::Stored | End::Retry { .. } => return,
    };
    let (instance, trace) = (message.instance.clone(), message.trace);
    let owed = Owed { id, what, instance, message: message.id, conversation, text, trace, at };
    if let Some(notice) = if_failed.notice.filter(|_| failed) {
        let (id, what) = (OutboxId(notice.id.0), OwedKind::Response(notice.id));
        worker.relay.publish_soon(Owed { id, what, text: notice.text, ..owed.clone() });
    }
    worker.relay.publish_soon(owed);
}

/// Gives the conversation up in good order; whatever is pending gets a fresh wake.
async fn hand_over(worker: &Worker, held: &Held) {
    match worker.persist(held, || worker.store.release(held.conversation, held.epoch)).await {
        Some(Fenced::Done(Some(owed))) => {
            worker.yielded.note(owed.conversation, owed.at);
            worker.relay.publish_soon(owed);
        }
        Some(Fenced::Done(None) | Fenced::LeaseLost) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of what is returned for such arguments.
    fn size_of_future<A, F>(_: impl Fn(&'static Worker, A) -> F) -> usize {
        size_of::<F>()
    }

    /// Each turn that waits for its agent holds as much, and ten thousand of them wait in one process. What is rarely
    /// awaited belongs into a `Box`: the largest thing that may be awaited anywhere counts for all.
    #[test]
    fn a_waiting_turn_holds_little() {
        let size = size_of_future(wake);
        assert!(size <= 10 << 10, "{size} bytes");
    }
}
