//! What a message must pass before a turn of it is recorded.

use std::time::Duration;

use broca_core::{
    ConversationId, Timestamp, TurnOutcome,
    agent::{Failure, FailureClass},
    retry::{Exhausted, RetryPolicy},
    route::{Mode, Resolved},
};
use broca_store::{Fenced, Park, Parked, PendingMessage};

use super::{
    breakers::{Entry, Look, spread},
    slots::Taken,
};
use crate::{agents::NamedAgent, held::Held, meter, shared::Worker, turn::AgentSide};

/// What was parked for a slot is woken when there is one; this is for when whoever would wake it dies.
const SLOT_PAUSE: Duration = Duration::from_secs(30);

pub(crate) enum Gate<'w> {
    Open(Pass<'w>),
    /// The conversation was given up until a later time.
    Parked,
    /// It has waited for as long as it may.
    TooOld(Failure),
    LeaseLost,
    /// The process begins nothing new.
    Stopping,
}

/// A turn that may begin, and what must be told when it ends.
pub(crate) struct Pass<'w> {
    worker: &'w Worker,
    pub(crate) named: &'w NamedAgent,
    conversation: ConversationId,
    has_slot: bool,
}

impl Pass<'_> {
    /// The agent has begun the turn: somebody is there.
    pub(crate) async fn answers(&self) {
        self.worker.pacing.breakers.answered(self.worker, self.named).await;
    }

    /// The turn is over at the agent.
    pub(crate) async fn ends(&self, outcome: &TurnOutcome) {
        self.free().await;
        let breakers = &self.worker.pacing.breakers;
        match outcome {
            TurnOutcome::Retry { failure, .. } | TurnOutcome::Unknown(failure) if outcome.blames_endpoint() => {
                breakers.failed(self.worker, self.named, failure.clone()).await;
            }
            _ => breakers.answered(self.worker, self.named).await,
        }
    }

    /// It was stopped: somebody is there.
    pub(crate) async fn is_stopped(&self) {
        self.free().await;
        self.answers().await;
    }

    /// It did not begin.
    pub(crate) async fn is_not_used(&self) {
        self.free().await;
        self.worker.pacing.breakers.give_back(self.worker, self.named).await;
    }

    /// It goes on at the agent, and a successor finds it there.
    pub(crate) async fn is_left(&self) {
        if self.has_slot {
            self.worker.pacing.slots.leave(self.conversation);
        }
        self.worker.pacing.breakers.give_back(self.worker, self.named).await;
    }

    async fn free(&self) {
        if self.has_slot {
            self.worker.pacing.slots.free(self.worker, self.conversation).await;
        }
    }
}

/// A message at the gate.
pub(crate) struct Candidate<'m> {
    pub(crate) message: &'m PendingMessage,
    pub(crate) route: &'m Resolved,
    pub(crate) policy: RetryPolicy,
    /// A predecessor left a turn of it open.
    pub(crate) is_open: bool,
    /// The mode in which it did, where that is on record.
    pub(crate) begun_in: Option<Mode>,
}

impl Candidate<'_> {
    /// How long it may still wait; `None` is as long as it takes.
    fn time_left(&self) -> Option<Duration> {
        self.policy.time_left(self.message.age + self.message.read_at.elapsed())
    }

    fn is_too_old(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }

    fn too_old<'w>(&self, class: FailureClass, why: &str) -> Gate<'w> {
        Gate::TooOld(Failure::new(class, format!("{why} ({})", Exhausted::Age(self.policy.max_age_s))))
    }
}

/// Lets a message through, or gives its conversation up until a later time.
pub(crate) async fn enter<'w>(
    worker: &'w Worker,
    held: &Held,
    side: &AgentSide,
    candidate: &Candidate<'_>,
) -> Gate<'w> {
    let Some(named) = agent_of(worker, side, candidate) else {
        return unconfigured(worker, held, side, candidate).await;
    };
    // An open turn may have been answered long ago: it is asked after, however old its message is.
    if candidate.is_too_old() && !candidate.is_open {
        return candidate.too_old(FailureClass::Exhausted, "nobody asked the agent in time");
    }
    if let Look::Wait { until, left } = worker.pacing.breakers.look(named) {
        return away(worker, held, side, candidate, named, (until, left)).await;
    }
    let has_slot = match worker.pacing.slots.take(worker, held, &side.name, named).await {
        Taken::Yes(taken) => taken,
        Taken::Full => return full(worker, held, side, candidate).await,
        Taken::Lost => return Gate::LeaseLost,
        Taken::Stopping => return Gate::Stopping,
    };
    let pass = Pass { worker, named, conversation: held.conversation, has_slot };
    match worker.pacing.breakers.enter(worker, named).await {
        Entry::Free | Entry::Probe => Gate::Open(pass),
        Entry::Wait { until, left } => {
            pass.free().await;
            away(worker, held, side, candidate, named, (until, left)).await
        }
    }
}

/// Whose turn it is. One that was sent is asked after at its agent, whatever the mode is by now.
fn agent_of<'w>(worker: &'w Worker, side: &AgentSide, candidate: &Candidate<'_>) -> Option<&'w NamedAgent> {
    let was_sent = candidate.is_open && side.conversation.is_some();
    if candidate.route.mode == Mode::Echo && (!was_sent || candidate.begun_in.is_some()) {
        return Some(worker.agents.echo());
    }
    worker.agents.get(&side.name)
}

/// Somebody may still configure it: the message waits, in pauses that grow with its age.
async fn unconfigured<'w>(worker: &Worker, held: &Held, side: &AgentSide, candidate: &Candidate<'_>) -> Gate<'w> {
    let name = &side.name;
    let reason = format!("no agent named '{name}' is configured: add [agents.{name}], or change the message's route");
    if candidate.is_too_old() {
        return candidate.too_old(FailureClass::Misconfigured, &reason);
    }
    if worker.pacing.is_news(name) {
        tracing::error!(agent = name, "no such agent is configured; its messages wait");
    }
    let millis = Duration::from_millis;
    let pause = (candidate.message.age / 2).clamp(millis(candidate.policy.initial_ms), millis(candidate.policy.max_ms));
    let why = Failure::new(FailureClass::Misconfigured, reason);
    park(worker, held, side, candidate, (Parked::Agent, Timestamp::default(), pause, why)).await
}

/// The endpoint is not asked before `until`.
async fn away<'w>(
    worker: &Worker,
    held: &Held,
    side: &AgentSide,
    candidate: &Candidate<'_>,
    named: &NamedAgent,
    (until, left): (Timestamp, Duration),
) -> Gate<'w> {
    let endpoint = named.agent.endpoint().unwrap_or_default();
    let reason = format!("the agent's endpoint {endpoint} does not answer; it is asked again later");
    if candidate.is_too_old() {
        return candidate.too_old(FailureClass::Unavailable, &reason);
    }
    let later = spread(worker.pacing.parked(&side.name, Parked::Endpoint), share_of(held.conversation));
    let until = if until == Timestamp::default() { until } else { until.after(later) };
    let why = Failure::new(FailureClass::Unavailable, reason);
    park(worker, held, side, candidate, (Parked::Endpoint, until, left + later, why)).await
}

/// All turns that its agent may have are taken, and enough others wait for one in this process.
async fn full<'w>(worker: &Worker, held: &Held, side: &AgentSide, candidate: &Candidate<'_>) -> Gate<'w> {
    let why = Failure::new(FailureClass::Busy, "all turns that its agent may have at a time are taken");
    park(worker, held, side, candidate, (Parked::Slot, Timestamp::default(), SLOT_PAUSE, why)).await
}

/// Gives the conversation up until `until`, or for `pause` when that is not known, and never past the message's age.
async fn park<'w>(
    worker: &Worker,
    held: &Held,
    side: &AgentSide,
    candidate: &Candidate<'_>,
    (what_for, until, pause, why): (Parked, Timestamp, Duration, Failure),
) -> Gate<'w> {
    let left = candidate.time_left();
    let (until, delay) = match left {
        // It comes back just when it is too old, and ends.
        Some(left) if left < pause && !candidate.is_too_old() => (Timestamp::default(), left),
        _ if until == Timestamp::default() => (until, pause),
        _ => (until, Duration::ZERO),
    };
    let (conversation, epoch, message) = (held.conversation, held.epoch, candidate.message.id);
    let park = Park { conversation, epoch, message, what_for, until, delay, seen: None, why };
    match worker.persist(held, || worker.store.park(park.clone())).await {
        Some(Fenced::Done(until)) => {
            worker.pacing.note_parked(&side.name, what_for);
            meter::parked(&side.name, what_for);
            tracing::debug!(message_id = %message, %conversation, what_for = %what_for, until = until.micros(), "parked");
            Gate::Parked
        }
        Some(Fenced::LeaseLost) => {
            held.lose();
            Gate::LeaseLost
        }
        None => Gate::LeaseLost,
    }
}

/// A number from 0 to 1 that is a conversation's own.
fn share_of(conversation: ConversationId) -> f64 {
    let [.., high, low] = *conversation.0.as_bytes();
    f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX)
}
