//! One attempt to have an agent answer. It is recorded before the agent hears of it; a turn that a predecessor
//! left open is not begun anew: the agent is asked what became of it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use broca_core::{
    TurnId, TurnOutcome,
    agent::{Failure, FailureClass},
    format::{Header, format_for_agent},
    route::Resolved,
};
use broca_letta::{Agent, OpenTurn, RunProgress, TurnRequest};
use broca_store::{Fenced, PendingMessage, ResumeTurn, StartTurn, StartedTurn, Store};

use crate::{
    agents::NamedAgent,
    crash::{CrashPoint, point},
    held::Held,
    meter,
    mutate::{self, Protection},
    pacing::gate::Pass,
    shared::{Gone, Worker, unless_gone},
};

/// The agent's side of a held conversation.
pub(crate) struct AgentSide {
    pub(crate) name: String,
    /// The agent's own id of the conversation, once it has one.
    pub(crate) conversation: Option<String>,
}

pub(crate) enum Ended {
    Outcome {
        turn: TurnId,
        attempt: u32,
        outcome: TurnOutcome,
    },
    LeaseLost,
    /// An operator took the message away, or keeps it back, before its turn began.
    NotBegun(Gone),
    /// The process ends before the turn does; the turn goes on at the agent and a successor finds it there.
    ShutDown,
}

pub(crate) async fn run(
    worker: &Worker,
    held: &Held,
    side: &mut AgentSide,
    (message, route): (&PendingMessage, &Resolved),
    open: Option<StartedTurn>,
    pass: &Pass<'_>,
) -> Ended {
    let turn = open.as_ref().map_or_else(TurnId::new, |t| t.id);
    // Not recorded means not begun: the lease then runs out and the message is taken up again.
    let recorded = || async { unless_gone(record(worker, held, turn, message, open.is_some()).await) };
    let attempt = match worker.persist(held, recorded).await {
        Some(Ok(Fenced::Done(attempt))) => attempt,
        Some(Ok(Fenced::LeaseLost)) if mutate::is_off(Protection::Fence) => message.attempts + 1,
        Some(Ok(Fenced::LeaseLost)) => {
            held.lose();
            pass.is_left().await;
            return Ended::LeaseLost;
        }
        None => {
            pass.is_left().await;
            return Ended::LeaseLost;
        }
        Some(Err(gone)) => {
            pass.is_not_used().await;
            return Ended::NotBegun(gone);
        }
    };
    point(CrashPoint::TurnStarted);
    let measured = meter::Turn::begins(&side.name);
    worker.events.begun(held.conversation, message);
    tokio::select! {
        outcome = speak(worker, held, side, (message, route), (turn, open), pass) => {
            point(CrashPoint::AgentAnswered);
            measured.ends(&outcome);
            pass.ends(&outcome).await;
            Ended::Outcome { turn, attempt, outcome }
        }
        never = worker.typist.show(message) => match never {},
        () = held.lost.cancelled() => {
            measured.loses_its_lease();
            pass.is_left().await;
            Ended::LeaseLost
        }
        () = worker.stopping.cancelled() => {
            measured.goes_on_elsewhere();
            pass.is_left().await;
            Ended::ShutDown
        }
    }
}

async fn record(
    worker: &Worker,
    held: &Held,
    turn: TurnId,
    message: &PendingMessage,
    resumed: bool,
) -> Result<Fenced<u32>, broca_store::StoreError> {
    let (conversation, epoch, worker_id) = (held.conversation, held.epoch, worker.id.clone());
    if resumed {
        worker.store.resume_turn(ResumeTurn { turn, conversation, epoch, worker: worker_id }).await
    } else {
        let message = message.id;
        worker.store.start_turn(StartTurn { turn, conversation, epoch, message, worker: worker_id }).await
    }
}

async fn speak(
    worker: &Worker,
    held: &Held,
    side: &mut AgentSide,
    (message, route): (&PendingMessage, &Resolved),
    (turn, open): (TurnId, Option<StartedTurn>),
    pass: &Pass<'_>,
) -> TurnOutcome {
    // A turn is sent only after its conversation is recorded: an open turn without one never left.
    let was_sent = open.is_some() && side.conversation.is_some();
    let NamedAgent { agent, turn_timeout, .. } = pass.named;
    let remembered = side.conversation.is_some();
    let conversation = match conversation(worker, held, side, turn, agent).await {
        Ok(conversation) => conversation,
        Err(outcome) => return outcome,
    };
    let progress = Progress { store: worker.store.clone(), epoch: held.epoch, held, pass };
    let request = request(message, route, turn, conversation, *turn_timeout);
    let outcome = match open.filter(|_| was_sent) {
        Some(started) => agent.recover(open_turn(request.clone(), started), &progress).await,
        None => agent.run_turn(request.clone(), &progress).await,
    };
    match outcome {
        TurnOutcome::NoConversation(failure) if remembered => {
            tracing::warn!(conversation = %held.conversation, reason = failure.reason, "the agent lost its conversation, a new one is begun");
            side.conversation = None;
            match self::conversation(worker, held, side, turn, agent).await {
                Ok(conversation) => agent.run_turn(TurnRequest { conversation, ..request }, &progress).await,
                Err(outcome) => outcome,
            }
        }
        outcome => outcome,
    }
}

/// The agent's conversation: created once, and recorded, with the turn too, before anything is said in it.
async fn conversation(
    worker: &Worker,
    held: &Held,
    side: &mut AgentSide,
    turn: TurnId,
    agent: &Arc<dyn Agent>,
) -> Result<String, TurnOutcome> {
    if !agent.keeps_conversations() {
        return Ok(held.conversation.to_string());
    }
    if let Some(known) = &side.conversation {
        return Ok(known.clone());
    }
    let created = agent.create_conversation(held.conversation, &format!("broca {}", held.conversation)).await?;
    let unrecorded =
        |reason: String| TurnOutcome::Retry { after: None, failure: Failure::new(FailureClass::Interrupted, reason) };
    match worker.store.set_agent_conversation(held.conversation, held.epoch, turn, &created).await {
        Ok(Fenced::Done(())) => Ok(side.conversation.insert(created).clone()),
        Ok(Fenced::LeaseLost) => Err(unrecorded("the lease was lost before anything was said".into())),
        Err(error) => Err(unrecorded(format!("the agent's conversation could not be recorded: {error}"))),
    }
}

fn request(
    message: &PendingMessage,
    route: &Resolved,
    turn: TurnId,
    conversation: String,
    deadline: Duration,
) -> TurnRequest {
    let header = Header {
        platform: &message.profile.platform,
        platform_user_id: &message.profile.platform_user_id,
        username: message.profile.username.as_deref(),
        at: message.received_at,
    };
    TurnRequest {
        turn,
        conversation,
        text: format_for_agent(&header, &message.text, route.format),
        sender: Some(message.profile.user_id.to_string()),
        trace: message.trace.map(broca_core::TraceParent::child),
        deadline,
    }
}

fn open_turn(request: TurnRequest, started: StartedTurn) -> OpenTurn {
    OpenTurn { request, run: started.run, seq: started.run_seq, sent_at: started.started_at, age: started.age }
}

/// Notes where the agent runs the turn, so that a successor finds it.
struct Progress<'a> {
    store: Store,
    epoch: i64,
    held: &'a Held,
    pass: &'a Pass<'a>,
}

#[async_trait]
impl RunProgress for Progress<'_> {
    async fn run_known(&self, turn: TurnId, run: &str) {
        match self.store.record_run(turn, self.epoch, run).await {
            Ok(Fenced::Done(())) => point(CrashPoint::RunKnown),
            Ok(Fenced::LeaseLost) => self.held.lose(),
            // The turn is found again by its idempotency key.
            Err(error) => tracing::warn!(%turn, %error, "run not recorded"),
        }
        self.pass.answers().await;
    }

    fn seen(&self, turn: TurnId, seq: i64) {
        self.held.seen.note(turn, seq);
    }
}
