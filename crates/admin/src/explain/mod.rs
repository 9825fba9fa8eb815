//! Why is there no answer? One verdict on where a message stands, in a sentence, with the evidence.
//!
//! The verdict is decided here, from rows that were read at one moment, and says first what would have to move first: a
//! message behind others is explained by the first of them. The words are in `words.rs`.

mod words;

use broca_core::{
    EventKind, Instance, MessageId, MessageState, ResponseId, ResponseKind, ResponseState, Timestamp,
    agent::FailureClass,
    route::{Facts, Routes},
};
use broca_store::{
    AnswerStanding, FirstInLine, HoldStanding, JourneyEvent, MessageRecord, Standing, Store, StoreError,
};
use serde::Serialize;

/// The answer of `broca explain`.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Explanation {
    pub message_id: MessageId,
    pub state: MessageState,
    /// The database's time when it was asked.
    pub now: Timestamp,
    pub sentence: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What the verdict rests on, one fact a line.
    pub evidence: Vec<String>,
    /// What happens next, or what somebody should do.
    pub next: Option<String>,
}

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Its conversation is done in order, and others are before it.
    Behind {
        ahead: u32,
        first: MessageId,
        first_is: Box<Verdict>,
    },
    HeldByWorker {
        worker: String,
        epoch: i64,
        /// When it took the conversation.
        since: Option<Timestamp>,
        renewed: Option<Timestamp>,
        lease_until: Timestamp,
        /// The attempt that is with the agent, and since when.
        attempt: Option<u32>,
        attempt_since: Option<Timestamp>,
    },
    /// Its worker went silent and no other has taken the conversation over.
    LeaseRanOut {
        worker: String,
        lease_until: Timestamp,
        sweep_at: Timestamp,
    },
    /// Nothing is attempted before `until`.
    Parked {
        until: Timestamp,
        class: Option<String>,
        reason: Option<String>,
        /// Attempts so far, of so many that the route allows; not known for another message's.
        attempts: Option<u32>,
        max_attempts: Option<u32>,
    },
    /// More messages may follow, and are to be answered with it.
    Gathering {
        until: Timestamp,
    },
    /// The broker has not confirmed its wake.
    Unpublished {
        since: Timestamp,
    },
    /// No worker has come for it.
    Queued {
        sweep_at: Timestamp,
    },
    /// A hold keeps it, its conversation or its answer back.
    OnHold {
        subject: String,
        actor: String,
        reason: String,
        since: Timestamp,
        until: Option<Timestamp>,
    },
    /// The hold that kept it back has ended, and it is about to go back into its queue.
    Returning,
    Stored,
    Suppressed {
        class: Option<String>,
        reason: Option<String>,
    },
    Cancelled {
        class: Option<String>,
        reason: Option<String>,
        /// The state of what the person is told of it.
        notice: Option<ResponseState>,
    },
    Failed {
        class: Option<String>,
        reason: Option<String>,
        /// The state of what the person is told of it.
        notice: Option<ResponseState>,
    },
    /// It was answered in one turn with others, the last of which has the answer.
    AnsweredWith {
        message: MessageId,
    },
    /// The agent's turn ended well, without an answer.
    NothingToSay,
    /// The broker has not confirmed the answer.
    AnswerUnpublished {
        response_id: ResponseId,
        since: Timestamp,
    },
    /// No process of its plugin has come for the answer.
    AnswerQueued {
        response_id: ResponseId,
        instance: Instance,
    },
    /// A chat gets its answers in order, and others are before it.
    AnswerBehind {
        response_id: ResponseId,
        ahead: u32,
        first: MessageId,
    },
    Delivering {
        response_id: ResponseId,
        host: String,
        since: Option<Timestamp>,
        lease_until: Timestamp,
    },
    /// The process that was delivering it went silent; the next one asks the platform.
    DeliveryCutOff {
        response_id: ResponseId,
        host: String,
        lease_until: Timestamp,
    },
    DeliveryParked {
        response_id: ResponseId,
        until: Timestamp,
        class: Option<String>,
        reason: Option<String>,
    },
    Delivered {
        response_id: ResponseId,
        at: Option<Timestamp>,
        receipt: Vec<String>,
    },
    DeliveryDead {
        response_id: ResponseId,
        class: Option<String>,
        reason: Option<String>,
    },
    /// The platform may have it, and cannot be asked.
    DeliveryUnknown {
        response_id: ResponseId,
        class: Option<String>,
        reason: Option<String>,
    },
    DeliverySuppressed {
        response_id: ResponseId,
        class: Option<String>,
        reason: Option<String>,
    },
}

/// Says where a message stands and why; `None` when there is no such message. `routes` are the ones that the workers have,
/// for what they allow.
///
/// # Errors
/// The database does not answer.
pub async fn explain(store: &Store, id: MessageId, routes: &Routes) -> Result<Option<Explanation>, StoreError> {
    Ok(store.standing(id).await?.map(|standing| judge(&standing, routes)))
}

fn judge(standing: &Standing, routes: &Routes) -> Explanation {
    let message = &standing.journey.message;
    let verdict = verdict(standing, routes);
    Explanation {
        message_id: message.id,
        state: message.state,
        now: standing.journey.now,
        sentence: words::sentence(&verdict, standing),
        evidence: words::evidence(&verdict, standing).into_iter().chain(mode_set(standing)).collect(),
        next: words::next(&verdict, message),
        verdict,
    }
}

/// It was last handled in another mode than the configured one.
fn mode_set(standing: &Standing) -> Option<String> {
    let id = standing.journey.message.id;
    let own = |event: &&JourneyEvent| event.kind == EventKind::ModeSet && event.message_id == Some(id);
    standing.journey.events.iter().rev().find(own).map(|event| crate::telling::sentence(event, id))
}

fn verdict(standing: &Standing, routes: &Routes) -> Verdict {
    let message = &standing.journey.message;
    let (class, reason) = (message.class.clone(), message.reason.clone());
    match message.state {
        MessageState::Received => standing.holds.first().map_or_else(|| waiting(standing, routes), on_hold),
        MessageState::Processing => waiting(standing, routes),
        MessageState::Held => standing.holds.first().map_or(Verdict::Returning, on_hold),
        MessageState::Stored => Verdict::Stored,
        MessageState::Suppressed => Verdict::Suppressed { class, reason },
        MessageState::Cancelled => Verdict::Cancelled { class, reason, notice: notice(standing) },
        MessageState::Failed => Verdict::Failed { class, reason, notice: notice(standing) },
        MessageState::Completed => match open_or_last(&standing.answers) {
            None => match message.answered_with {
                Some(message) => Verdict::AnsweredWith { message },
                None => Verdict::NothingToSay,
            },
            Some(answer) => answered(standing, answer),
        },
    }
}

fn on_hold(hold: &HoldStanding) -> Verdict {
    let HoldStanding { kind, actor, reason, since, until } = hold.clone();
    Verdict::OnHold { subject: kind, actor, reason, since, until }
}

fn waiting(standing: &Standing, routes: &Routes) -> Verdict {
    let (message, queue) = (&standing.journey.message, &standing.queue);
    match &queue.first {
        Some(first) if first.message != message.id && !queue.in_turn => Verdict::Behind {
            ahead: queue.ahead,
            first: first.message,
            first_is: Box::new(front(standing, Some(first), routes)),
        },
        first => front(standing, first.as_ref(), routes),
    }
}

/// What the conversation waits for.
fn front(standing: &Standing, first: Option<&FirstInLine>, routes: &Routes) -> Verdict {
    let (message, queue, now) = (&standing.journey.message, &standing.queue, standing.journey.now);
    let is_first = queue.in_turn || first.is_none_or(|first| first.message == message.id);
    if let Some(lease) = &queue.lease
        && lease.until > now
    {
        let turn = first.and_then(|first| first.turn.as_ref());
        return Verdict::HeldByWorker {
            worker: lease.worker.clone(),
            epoch: lease.epoch,
            since: lease.taken,
            renewed: lease.renewed,
            lease_until: lease.until,
            attempt: turn.map(|(_, _, attempt)| *attempt),
            attempt_since: turn.map(|(_, since, _)| *since),
        };
    }
    if queue.not_before > now {
        let (class, reason) = queue.parked_for.clone().unzip();
        if class.as_deref() == Some(FailureClass::Gathering.as_str()) {
            return Verdict::Gathering { until: queue.not_before };
        }
        return Verdict::Parked {
            until: queue.not_before,
            class,
            reason,
            attempts: is_first.then(|| attempts(&standing.journey.events, message.id)),
            max_attempts: is_first.then(|| max_attempts(message, routes)),
        };
    }
    if let Some(lease) = &queue.lease {
        let (worker, lease_until) = (lease.worker.clone(), lease.until);
        return Verdict::LeaseRanOut { worker, lease_until, sweep_at: queue.wake_at };
    }
    match standing.owed.iter().find(|owed| owed.kind == "wake" && is_first) {
        Some(owed) => Verdict::Unpublished { since: owed.since },
        None => Verdict::Queued { sweep_at: queue.wake_at },
    }
}

/// Attempts since it was accepted or last replayed: those before count against no budget.
fn attempts(events: &[JourneyEvent], message: MessageId) -> u32 {
    let own = || events.iter().filter(|event| event.message_id == Some(message));
    let replayed = own().rev().find(|event| event.kind == EventKind::Replayed && event.response_id.is_none());
    let since = replayed.map_or(Timestamp(0), |event| event.at);
    let started = own().filter(|event| event.kind == EventKind::TurnStarted && event.at >= since);
    u32::try_from(started.count()).unwrap_or(u32::MAX)
}

fn max_attempts(message: &MessageRecord, routes: &Routes) -> u32 {
    let facts = Facts {
        instance: &message.instance,
        platform: &message.platform,
        platform_user_id: &message.platform_user_id,
        chat_id: message.chat_id.as_deref(),
        is_group: message.is_group,
    };
    routes.resolve(&facts).retry.within(message.budget).max_attempts
}

/// A replay may have left more than one.
fn open_or_last(answers: &[AnswerStanding]) -> Option<&AnswerStanding> {
    let answers = || answers.iter().filter(|answer| answer.kind == ResponseKind::Answer);
    answers().find(|answer| !answer.state.is_terminal()).or_else(|| answers().last())
}

/// Of the notice that was written when the message ended; one from before a replay says nothing of this end.
fn notice(standing: &Standing) -> Option<ResponseState> {
    let message = &standing.journey.message;
    let notices = message.responses.iter().filter(|response| response.kind == ResponseKind::Notice);
    notices.filter(|notice| Some(notice.created_at) == message.finished_at).map(|notice| notice.state).next()
}

fn answered(standing: &Standing, answer: &AnswerStanding) -> Verdict {
    let (message, now) = (&standing.journey.message, standing.journey.now);
    // Other holds keep messages back; this one also what goes out.
    let hold = standing.holds.iter().find(|hold| hold.kind == "instance");
    if let (ResponseState::Pending | ResponseState::Retry, Some(hold)) = (answer.state, hold) {
        return on_hold(hold);
    }
    let record = message.responses.iter().find(|response| response.id == answer.id);
    let class = record.and_then(|record| record.class.clone());
    let reason = record.and_then(|record| record.reason.clone());
    let response_id = answer.id;
    let host = answer.host.clone().unwrap_or_default();
    let lease_until = answer.lease_until;
    match answer.state {
        ResponseState::Delivering if lease_until > now => {
            let begun = standing
                .journey
                .events
                .iter()
                .rev()
                .find(|event| event.kind == EventKind::DeliveryBegun && event.response_id == Some(response_id));
            Verdict::Delivering { response_id, host, since: begun.map(|event| event.at), lease_until }
        }
        ResponseState::Delivering => Verdict::DeliveryCutOff { response_id, host, lease_until },
        ResponseState::Pending | ResponseState::Retry => match answer.behind {
            Some(first) => Verdict::AnswerBehind { response_id, ahead: answer.ahead, first },
            None if answer.not_before > now => {
                Verdict::DeliveryParked { response_id, until: answer.not_before, class, reason }
            }
            None => match standing.owed.iter().find(|owed| owed.kind == "response") {
                Some(owed) => Verdict::AnswerUnpublished { response_id, since: owed.since },
                None => Verdict::AnswerQueued { response_id, instance: message.instance.clone() },
            },
        },
        ResponseState::Delivered => {
            let receipt = record.and_then(|record| record.receipt.clone());
            Verdict::Delivered {
                response_id,
                at: record.and_then(|record| record.finished_at),
                receipt: receipt.map(|receipt| receipt.platform_message_ids).unwrap_or_default(),
            }
        }
        ResponseState::Dead => Verdict::DeliveryDead { response_id, class, reason },
        ResponseState::Unknown => Verdict::DeliveryUnknown { response_id, class, reason },
        ResponseState::Suppressed => Verdict::DeliverySuppressed { response_id, class, reason },
    }
}
