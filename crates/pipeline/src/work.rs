//! A wake becomes a held conversation, and its messages are brought to their ends in order.
//!
//! Two workers never run turns of one conversation at once: the claim gives one of them an epoch, and every write
//! names it. A worker that lost its lease finds that out at its next write, or at the next heartbeat, and stops.

use std::time::{Duration, Instant};

use broca_bus::Job;
use broca_core::{
    ConversationId, ResponseId, TurnOutcome,
    agent::{Failure, FailureClass},
    envelope::Envelope,
    live::ModeSubject,
    retry::{Decision, RetryPolicy},
    route::{Facts, Mode, OnUnknown, Resolved},
    subject,
};
use broca_store::{
    ClaimRequest, Claimed, End, Fenced, Finish, Finished, Lease, NewResponse, Owed, OwedKind, PendingMessage,
};

use crate::{
    crash::{CrashPoint, point},
    held::Held,
    meter, modes,
    mutate::{self, Protection},
    pacing::gate::{self, Candidate, Gate},
    shared::{Gone, Worker, unless_gone},
    turn,
};

/// A worker that died in a turn leaves it open. A successor may ask the agent about it this many times more than
/// the policy allows attempts, because asking is what tells a lost answer from a lost message.
const EXTRA_RECOVERIES: u32 = 2;

/// What to do after one message.
enum Next {
    /// The conversation is still ours and has more.
    Continue,
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
    let mut agent = turn::AgentSide { name: lease.agent, conversation: lease.agent_conversation };
    let mut open_turn = lease.open_turn;
    let mut pending = lease.pending;
    let started = Instant::now();
    let mut done = 0;
    loop {
        for message in pending {
            let open = open_turn.take_if(|t| t.message == message.id);
            match one(worker, &held, &mut agent, message, open).await {
                Next::Continue => done += 1,
                Next::Released | Next::Lost => return,
                Next::HandOver => return hand_over(worker, &held).await,
            }
            let options = &worker.options;
            let share_used = done >= options.yield_after_messages || started.elapsed() >= options.yield_after;
            if share_used || worker.draining.is_cancelled() {
                return hand_over(worker, &held).await;
            }
        }
        let more = worker.persist(&held, || worker.store.pending(held.conversation, held.epoch)).await;
        pending = match more {
            Some(more) if !more.is_empty() => more,
            _ => return hand_over(worker, &held).await,
        };
    }
}

/// Brings one message to its end, or its attempt.
async fn one(
    worker: &Worker,
    held: &Held,
    agent: &mut turn::AgentSide,
    mut message: PendingMessage,
    open: Option<broca_store::StartedTurn>,
) -> Next {
    if worker.draining.is_cancelled() {
        return Next::HandOver;
    }
    let mut route = resolve(worker, &message);
    let begun_in = match &open {
        Some(turn) => modes::begun_in(worker, held, &message, turn).await,
        None => None,
    };
    // What is begun stays as it was begun; everything else is handled as the modes say now.
    let set = if open.is_none() { worker.modes.over(&mut route, &message) } else { None };
    route.mode = begun_in.unwrap_or(route.mode);
    let policy = route.retry.within(message.budget);
    let budget = policy.max_attempts.saturating_add(if open.is_some() { EXTRA_RECOVERIES } else { 0 });
    let spent = message.attempts.saturating_sub(message.attempts_before);
    let (turn, end) = if spent >= budget {
        let reason = format!("{spent} attempts were started and none came to an end");
        let failure = Failure::new(FailureClass::Exhausted, reason);
        (open.map(|t| t.id), End::Failed { failure, turn_unknown: true })
    } else if route.mode == Mode::Listen && open.is_none() {
        note_mode(worker, held, &message, &route, set.as_ref()).await;
        (None, End::Stored)
    } else {
        let candidate = Candidate { message: &message, route: &route, policy, is_open: open.is_some(), begun_in };
        match gate::enter(worker, held, agent, &candidate).await {
            Gate::Open(pass) => {
                note_mode(worker, held, &message, &route, set.as_ref()).await;
                match turn::run(worker, held, agent, (&message, &route), open, &pass).await {
                    turn::Ended::Outcome { turn, attempt, outcome } => {
                        // The attempt is recorded by now: what is said of the message from here on counts it.
                        message.attempts = attempt;
                        (Some(turn), decide(&route, &policy, &message, outcome))
                    }
                    turn::Ended::LeaseLost => return Next::Lost,
                    turn::Ended::NotBegun(Gone::LeftQueue) => return Next::Continue,
                    turn::Ended::NotBegun(Gone::KeptBack) | turn::Ended::ShutDown => return Next::HandOver,
                }
            }
            Gate::Parked => return Next::Released,
            Gate::TooOld(failure) => {
                let turn_unknown = open.is_some();
                (open.map(|t| t.id), End::Failed { failure, turn_unknown })
            }
            Gate::LeaseLost => return Next::Lost,
            Gate::Stopping => return Next::HandOver,
        }
    };
    finish(worker, held, &message, turn, end).await
}

/// Only of a message that is not handled as configured: all others cost no statement here.
async fn note_mode(
    worker: &Worker,
    held: &Held,
    message: &PendingMessage,
    route: &Resolved,
    set: Option<&ModeSubject>,
) {
    if let Some(of) = set {
        modes::note(worker, held, message, route, of).await;
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

/// The one place where an outcome becomes a state.
fn decide(route: &Resolved, policy: &RetryPolicy, message: &PendingMessage, outcome: TurnOutcome) -> End {
    let spent = message.attempts.saturating_sub(message.attempts_before);
    match outcome {
        TurnOutcome::Answered(answer) => {
            let response = answer.joined().map(|text| NewResponse { id: ResponseId::new(), text });
            End::Answered { answer, response }
        }
        TurnOutcome::Dead(failure) | TurnOutcome::NoConversation(failure) => {
            End::Failed { failure, turn_unknown: false }
        }
        TurnOutcome::Unknown(failure) if route.on_unknown == OnUnknown::DeadLetter => {
            End::Failed { failure, turn_unknown: true }
        }
        TurnOutcome::Unknown(failure) => again(policy.decide(spent, message.age, None), failure, true),
        TurnOutcome::Retry { after, failure } => again(policy.decide(spent, message.age, after), failure, false),
    }
}

/// Another attempt, unless the message has had all that it is allowed.
fn again(decision: Decision, failure: Failure, turn_unknown: bool) -> End {
    match decision {
        Decision::RetryAfter(delay) => End::Retry { failure, delay, turn_unknown },
        Decision::GiveUp(why) => {
            let reason = format!("{} ({why})", failure.reason);
            End::Failed { failure: Failure::new(failure.class, reason), turn_unknown }
        }
    }
}

async fn finish(
    worker: &Worker,
    held: &Held,
    message: &PendingMessage,
    turn: Option<broca_core::TurnId>,
    end: End,
) -> Next {
    let finish = Finish { conversation: held.conversation, epoch: held.epoch, message: message.id, turn, end };
    let finished = || async { unless_gone(worker.store.finish(finish.clone()).await) };
    match worker.persist(held, finished).await {
        Some(Err(Gone::LeftQueue)) => Next::Continue,
        Some(Err(Gone::KeptBack)) => Next::HandOver,
        Some(Ok(Fenced::Done(finished))) => {
            point(CrashPoint::TurnFinished);
            log(&finish);
            meter::ended(message, &finish.end);
            worker.events.ended(held.conversation, message, &finish.end);
            let next = if finished.released { Next::Released } else { Next::Continue };
            publish(worker, held.conversation, message, finish.end, finished);
            next
        }
        Some(Ok(Fenced::LeaseLost)) => {
            held.lose();
            if mutate::is_off(Protection::Fence) { Next::Continue } else { Next::Lost }
        }
        None => Next::Lost,
    }
}

fn log(finish: &Finish) {
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
}

fn publish(worker: &Worker, conversation: ConversationId, message: &PendingMessage, end: End, finished: Finished) {
    let Some((id, at)) = finished.owed else { return };
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
    worker.relay.publish_soon(Owed { id, what, instance, message: message.id, conversation, text, trace, at });
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
