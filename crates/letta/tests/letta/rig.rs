//! A scripted server, a client with short times, and a record of what the client reports.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use broca_core::{Answer, Clock, ConversationId, SystemClock, TurnId, TurnOutcome, agent::FailureClass};
use broca_letta::{Agent, Image, LettaAgent, LettaOptions, OpenTurn, RunProgress, TurnRequest};
use broca_rehearsal::letta::{Behaviour, LettaScript, ScriptedLetta};
use tokio::{net::TcpListener, sync::watch};

pub(crate) const AGENT: &str = "agent-11111111-1111-4111-8111-111111111111";

pub(crate) struct Rig {
    pub(crate) server: ScriptedLetta,
    pub(crate) agent: LettaAgent,
    pub(crate) conversation: String,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(script()).await
    }

    pub(crate) async fn with(script: LettaScript) -> Self {
        let server = ScriptedLetta::start(script).await.expect("the scripted server starts");
        let agent = client(&server.url());
        let conversation =
            agent.create_conversation(ConversationId::of("default", "test"), "a test").await.expect("a conversation");
        Self { server, agent, conversation }
    }

    /// One turn, with something in store for it.
    pub(crate) async fn turn(&self, behaviour: Behaviour) -> TurnOutcome {
        self.server.push(behaviour);
        self.agent.run_turn(self.request("hello"), &Notes::default()).await
    }

    pub(crate) fn request(&self, text: &str) -> TurnRequest {
        request(&self.conversation, text)
    }

    /// The server dies and comes back at its address, with what its journal kept.
    pub(crate) async fn restarted(self, script: LettaScript) -> Self {
        let Self { server, agent, conversation } = self;
        Self { server: restarted(server, script).await, agent, conversation }
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.server.turns().into_iter().map(|turn| turn.text).collect()
    }
}

pub(crate) async fn restarted(server: ScriptedLetta, script: LettaScript) -> ScriptedLetta {
    let address = server.address();
    server.kill().await;
    let listener = TcpListener::bind(address).await.expect("the old address is free again");
    ScriptedLetta::on(listener, script).expect("the scripted server starts again")
}

/// Short times, and only this agent.
pub(crate) fn script() -> LettaScript {
    LettaScript { min_ms: 1, max_ms: 4, ping_ms: 25, agent_id: Some(AGENT.to_owned()), ..LettaScript::default() }
}

pub(crate) fn options(url: &str) -> LettaOptions {
    drop(rustls::crypto::ring::default_provider().install_default());
    LettaOptions {
        poll_interval: Duration::from_millis(20),
        request_timeout: Duration::from_millis(1000),
        stream_idle: Duration::from_millis(1000),
        stuck_after: Duration::from_millis(400),
        settle_timeout: Duration::from_millis(300),
        ..LettaOptions::new(url, AGENT)
    }
}

pub(crate) fn client(url: &str) -> LettaAgent {
    LettaAgent::new(options(url)).expect("the options are good")
}

pub(crate) fn request(conversation: &str, text: &str) -> TurnRequest {
    TurnRequest {
        turn: TurnId::new(),
        conversation: conversation.to_owned(),
        text: text.to_owned(),
        images: Arc::default(),
        sender: Some("user-1".to_owned()),
        trace: None,
        deadline: Duration::from_secs(20),
    }
}

/// The same with a picture behind the text.
pub(crate) fn with_image(request: TurnRequest) -> TurnRequest {
    let data = "aGVs".repeat(4_000);
    let image = Image { at: request.text.len(), media_type: "image/png".to_owned(), data };
    TurnRequest { images: Arc::new([image]), ..request }
}

/// The turn as a successor finds it in the record.
pub(crate) fn open(request: TurnRequest, run: Option<String>, seq: i64) -> OpenTurn {
    OpenTurn { request, run, seq, sent_at: SystemClock.now(), age: Duration::from_millis(10) }
}

/// What a turn's runner was told, and a way to wait for it.
#[derive(Default)]
pub(crate) struct Notes {
    run: watch::Sender<Option<String>>,
    seen: Mutex<Vec<i64>>,
}

impl Notes {
    /// The run's id, once it is known.
    pub(crate) async fn run(&self) -> String {
        let mut runs = self.run.subscribe();
        let run = tokio::time::timeout(Duration::from_secs(10), runs.wait_for(Option::is_some)).await;
        run.expect("a run is known in time").expect("the notes are alive").clone().expect("it is some")
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Vec<i64>> {
        self.seen.lock().expect("no test panics while it holds this")
    }
}

#[async_trait]
impl RunProgress for Notes {
    async fn run_known(&self, _turn: TurnId, run: &str) {
        assert_eq!(self.run.send_replace(Some(run.to_owned())), None, "a run is made known once");
    }

    fn seen(&self, _turn: TurnId, seq: i64) {
        self.seen().push(seq);
    }
}

/// Starts a turn, and drops it as soon as its run is known: what a worker does that dies. Returns the run.
pub(crate) async fn abandoned(agent: &LettaAgent, request: &TurnRequest) -> String {
    let notes = Notes::default();
    tokio::select! {
        outcome = agent.run_turn(request.clone(), &notes) => panic!("the turn ended before it was dropped: {outcome:?}"),
        run = notes.run() => run,
    }
}

/// Looks again and again until `met`, and fails after ten seconds.
pub(crate) async fn eventually(met: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !met().await {
        assert!(Instant::now() < deadline, "not within ten seconds");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Starts a turn, and drops it as soon as the server has it, before anything came back.
pub(crate) async fn cut_off(rig: &Rig, request: &TurnRequest) {
    let (notes, before) = (Notes::default(), rig.server.arrived());
    let arrived = eventually(async || rig.server.arrived() > before);
    tokio::select! {
        outcome = rig.agent.run_turn(request.clone(), &notes) => panic!("the turn ended before it was dropped: {outcome:?}"),
        () = arrived => {}
    }
}

pub(crate) fn answer(outcome: TurnOutcome) -> Answer {
    match outcome {
        TurnOutcome::Answered(answer) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

pub(crate) fn parts(outcome: TurnOutcome) -> Vec<String> {
    answer(outcome).parts
}

/// A server that keeps what it has over its death.
pub(crate) fn journaled(folder: &std::path::Path) -> LettaScript {
    LettaScript { journal: Some(folder.join("journal")), turn_log: Some(folder.join("turns")), ..script() }
}

/// `retry busy`, `dead rejected`, `unknown timeout`, `answered`: an outcome in a word or two.
pub(crate) fn summary(outcome: &TurnOutcome) -> String {
    let class = |kind: &str, class: FailureClass| format!("{kind} {class}");
    match outcome {
        TurnOutcome::Answered(_) => "answered".to_owned(),
        TurnOutcome::Retry { failure, .. } => class("retry", failure.class),
        TurnOutcome::NoConversation(failure) => class("no conversation", failure.class),
        TurnOutcome::Dead(failure) => class("dead", failure.class),
        TurnOutcome::Unknown(failure) => class("unknown", failure.class),
    }
}
