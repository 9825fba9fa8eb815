//! One attempt to have an agent answer. It is recorded before the agent hears of it; a turn that a predecessor
//! left open is not begun anew: the agent is asked what became of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use broca_core::{
    Clock, SystemClock, Timestamp, TraceParent, TurnId, TurnOutcome,
    agent::{Failure, FailureClass},
    clock::micros,
    route::Resolved,
};
use broca_letta::{Agent, OpenTurn, RunProgress, Stopped, TurnRequest};
use broca_store::{Fenced, PendingMessage, ResumeTurn, StartJoint, StartTurn, StartedTurn, Stop, StopKind, Store};

use crate::{
    agents::NamedAgent,
    burst,
    crash::{CrashPoint, point},
    held::Held,
    memory, meter,
    mutate::{self, Protection},
    pacing::gate::Pass,
    saying::{self, Saying},
    shared::{Gone, Worker, unless_gone},
    spans,
    stopping::Messages,
};

/// The agent's side of a held conversation.
pub(crate) struct AgentSide {
    pub(crate) name: String,
    /// The agent's own id of the conversation, once it has one.
    pub(crate) conversation: Option<String>,
    /// What the agent does in the turn under way belongs there.
    pub(crate) trace: Option<TraceParent>,
}

pub(crate) enum Ended {
    Outcome {
        turn: TurnId,
        attempt: u32,
        outcome: TurnOutcome,
    },
    /// Somebody wanted it stopped, and this is what it came to.
    Stopped {
        turn: TurnId,
        came: Stopped,
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
    (messages, route): (&[PendingMessage], &Resolved),
    open: Option<StartedTurn>,
    pass: &Pass<'_>,
) -> Ended {
    let turn = open.as_ref().map_or_else(TurnId::new, |t| t.id);
    // Not recorded means not begun: the lease then runs out and the message is taken up again.
    let recorded = || async { unless_gone(record(worker, held, turn, messages, open.is_some()).await) };
    let attempt = match worker.persist(held, recorded).await {
        Some(Ok(Fenced::Done(attempt))) => attempt,
        Some(Ok(Fenced::LeaseLost)) if mutate::is_off(Protection::Fence) => messages[0].attempts + 1,
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
    let span = spans::Turn::begins(messages, turn, &side.name);
    side.trace = span.own();
    for message in messages {
        worker.events.begun(held.conversation, message);
    }
    // The answer goes to whoever wrote last.
    let last = messages.last().unwrap_or(&messages[0]);
    let ended = tokio::select! {
        ended = until_stopped(worker, held, side, (messages, route), (turn, open), pass) => ended,
        never = worker.typist.show(last) => match never {},
        () = held.lost.cancelled() => Came::Lost,
        () = worker.stopping.cancelled() => Came::ShutDown,
    };
    if let (Came::Outcome(_) | Came::Stopped(_), Some(memory)) = (&ended, pass.named.agent.memory()) {
        Box::pin(memory::end(&worker.store, memory, turn)).await;
    }
    match ended {
        Came::Outcome(outcome) => {
            point(CrashPoint::AgentAnswered);
            measured.ends(&outcome);
            span.ends(attempt, &outcome);
            pass.ends(&outcome).await;
            Ended::Outcome { turn, attempt, outcome }
        }
        Came::Stopped(came) => {
            point(CrashPoint::Stopped);
            measured.ends_stopped();
            span.stops();
            pass.is_stopped().await;
            Ended::Stopped { turn, came }
        }
        Came::Lost => {
            measured.loses_its_lease();
            span.leaves();
            pass.is_left().await;
            Ended::LeaseLost
        }
        Came::ShutDown => {
            measured.goes_on_elsewhere();
            span.leaves();
            pass.is_left().await;
            Ended::ShutDown
        }
    }
}

enum Came {
    Outcome(TurnOutcome),
    Stopped(Stopped),
    Lost,
    ShutDown,
}

/// Speaks to the agent until the turn is over, or somebody wants it stopped. A turn that is taken up again and was to be
/// stopped goes on with that.
async fn until_stopped(
    worker: &Worker,
    held: &Held,
    side: &mut AgentSide,
    (messages, route): (&[PendingMessage], &Resolved),
    (turn, open): (TurnId, Option<StartedTurn>),
    pass: &Pass<'_>,
) -> Came {
    let (ids, seq) = (messages.iter().map(|m| m.id).collect(), messages.last().map_or(0, |m| m.seq));
    held.turn.begins(Messages { ids, seq, gives_way: burst::gives_way(route, messages) });
    if open.is_some() {
        match worker.persist(held, || worker.store.stops()).await {
            Some(stops) => held.turn.tell(stops),
            None => return Came::Lost,
        }
    }
    let (known, started, began) = (Known::of(open.as_ref()), open.clone(), Instant::now());
    let stops = tokio::select! {
        biased;
        stops = held.turn.stopped() => stops,
        outcome = speak(worker, held, side, (messages, route), (turn, started), (pass, &known)) => {
            held.turn.ends();
            return Came::Outcome(outcome);
        }
    };
    held.turn.ends();
    if !is_on_record(worker, held, &stops).await {
        return Came::Lost;
    }
    point(CrashPoint::StopAsked);
    tracing::info!(%turn, messages = messages.len(), reason = stops[0].reason, "the agent is asked to stop");
    let Some(conversation) = side.conversation.clone().or_else(|| known.conversation()) else {
        return Came::Stopped(Stopped::Stopped { heard: false });
    };
    // Its agent has the text, or never gets it: what is stopped is not said.
    let said = Saying { text: saying::text_of(messages, route), images: Vec::new() };
    let request = request(messages, said, (turn, side.trace), conversation, pass.named.turn_timeout);
    let (run, seq) = (known.run(), open.as_ref().map_or(0, |open| open.run_seq));
    let (sent_at, age) = match &open {
        Some(open) => (open.started_at, open.age + began.elapsed()),
        None => {
            let age = began.elapsed();
            (Timestamp(SystemClock.now().micros().saturating_sub(micros(age))), age)
        }
    };
    let progress = Progress { store: worker.store.clone(), epoch: held.epoch, held, pass, known: &known };
    Came::Stopped(pass.named.agent.stop(OpenTurn { request, run, seq, sent_at, age }, &progress).await)
}

/// A person's wish is a row already; a route's becomes one, so that a successor does not take what is stopped for broken.
async fn is_on_record(worker: &Worker, held: &Held, stops: &[Stop]) -> bool {
    for stop in stops.iter().filter(|stop| stop.kind == StopKind::Interrupt) {
        let write = || worker.store.interrupt(held.conversation, held.epoch, stop.message, &stop.reason);
        match worker.persist(held, write).await {
            Some(Fenced::Done(())) => {}
            Some(Fenced::LeaseLost) => {
                held.lose();
                return false;
            }
            None => return false,
        }
    }
    true
}

/// What is known by now of a turn under way, for whoever has to stop it.
#[derive(Debug, Default)]
struct Known {
    run: Mutex<Option<String>>,
    conversation: Mutex<Option<String>>,
}

impl Known {
    fn of(open: Option<&StartedTurn>) -> Self {
        let run = open.and_then(|open| open.run.clone());
        Self { run: Mutex::new(run), conversation: Mutex::default() }
    }

    fn note(place: &Mutex<Option<String>>, name: &str) {
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
    }

    fn run(&self) -> Option<String> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn conversation(&self) -> Option<String> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn record(
    worker: &Worker,
    held: &Held,
    turn: TurnId,
    messages: &[PendingMessage],
    resumed: bool,
) -> Result<Fenced<u32>, broca_store::StoreError> {
    let (conversation, epoch, worker_id) = (held.conversation, held.epoch, worker.id.clone());
    if resumed {
        worker.store.resume_turn(ResumeTurn { turn, conversation, epoch, worker: worker_id }).await
    } else if messages.len() > 1 {
        let messages = messages.iter().map(|message| message.id).collect();
        worker.store.start_joint(StartJoint { turn, conversation, epoch, messages, worker: worker_id }).await
    } else {
        let message = messages[0].id;
        worker.store.start_turn(StartTurn { turn, conversation, epoch, message, worker: worker_id }).await
    }
}

async fn speak(
    worker: &Worker,
    held: &Held,
    side: &mut AgentSide,
    (messages, route): (&[PendingMessage], &Resolved),
    (turn, open): (TurnId, Option<StartedTurn>),
    (pass, known): (&Pass<'_>, &Known),
) -> TurnOutcome {
    // A turn is sent only after its conversation is recorded: an open turn without one never left.
    let was_sent = open.is_some() && side.conversation.is_some();
    let NamedAgent { agent, turn_timeout, .. } = pass.named;
    let remembered = side.conversation.is_some();
    let patient = !was_sent && messages.iter().all(|message| saying::waits_for_images(message, route));
    let said = match saying::compose(worker, held, (messages, route), patient).await {
        Ok(said) => said,
        Err(failure) => return TurnOutcome::Retry { after: None, failure },
    };
    let conversation = match conversation(worker, held, side, turn, agent).await {
        Ok(conversation) => conversation,
        Err(outcome) => return outcome,
    };
    Known::note(&known.conversation, &conversation);
    let identity = match remember(worker, pass, (turn, &conversation), (messages, was_sent)).await {
        Ok(identity) => identity,
        Err(outcome) => return outcome,
    };
    let progress = Progress { store: worker.store.clone(), epoch: held.epoch, held, pass, known };
    let mut request = request(messages, said, (turn, side.trace), conversation, *turn_timeout);
    request.sender = identity.or(request.sender);
    let outcome = match open.filter(|_| was_sent) {
        Some(started) => agent.recover(open_turn(request.clone(), started), &progress).await,
        None => agent.run_turn(request.clone(), &progress).await,
    };
    match outcome {
        TurnOutcome::NoConversation(failure) if remembered => {
            tracing::warn!(conversation = %held.conversation, reason = failure.reason, "the agent lost its conversation, a new one is begun");
            side.conversation = None;
            match self::conversation(worker, held, side, turn, agent).await {
                Ok(conversation) => {
                    Known::note(&known.conversation, &conversation);
                    if let Err(outcome) = remember(worker, pass, (turn, &conversation), (messages, false)).await {
                        return outcome;
                    }
                    agent.run_turn(TurnRequest { conversation, ..request }, &progress).await
                }
                Err(outcome) => outcome,
            }
        }
        outcome => outcome,
    }
}

/// Has the agent see what it keeps of whoever speaks, where it keeps anything. Gives their identity there.
async fn remember(
    worker: &Worker,
    pass: &Pass<'_>,
    (turn, conversation): (TurnId, &str),
    (messages, said): (&[PendingMessage], bool),
) -> Result<Option<String>, TurnOutcome> {
    let Some(memory) = pass.named.agent.memory() else { return Ok(None) };
    let wish = memory::Wish { turn, conversation, messages, said, deadline: pass.named.turn_timeout };
    Box::pin(memory::begin(&worker.store, memory, &wish)).await
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
    messages: &[PendingMessage],
    Saying { text, images }: Saying,
    (turn, trace): (TurnId, Option<TraceParent>),
    conversation: String,
    deadline: Duration,
) -> TurnRequest {
    let last = messages.last().unwrap_or(&messages[0]);
    let one_sender = messages.iter().all(|message| message.profile.user_id == last.profile.user_id);
    TurnRequest {
        turn,
        conversation,
        text,
        images: images.into(),
        sender: one_sender.then(|| last.profile.user_id.to_string()),
        trace,
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
    known: &'a Known,
}

#[async_trait]
impl RunProgress for Progress<'_> {
    async fn run_known(&self, turn: TurnId, run: &str) {
        Known::note(&self.known.run, run);
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
