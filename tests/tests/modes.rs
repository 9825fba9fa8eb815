//! What becomes of a message: by the mode of its route, by what its agent does, and beside others that are slow,
//! parked, poisonous or too many.

use std::time::Duration;

use broca_core::{MessageState, ResponseState, envelope::Body};
use broca_tests::{
    Crew, Database, DeadLetters, Process, Rig, RigOptions, all_over, answer_in, eventually, message_in, message_of,
};

/// Routes for the people of these tests: two with a mode, one who is patient, one whose agent may be taken away.
const ROUTES: &str = r#"
[[routes]]
name = "listening"
user = "listener"
mode = "listen"
[[routes]]
name = "echoing"
user = "echoer"
mode = "echo"
format = { timestamp = true }
[[routes]]
name = "three-attempts"
user = "unlucky"
retry = { max_attempts = 3, initial_ms = 100, max_ms = 200 }
[[routes]]
name = "poisonous"
user = "poisoner"
retry = { max_attempts = 2, initial_ms = 100, max_ms = 200 }
[[routes]]
name = "an-hour-later"
user = "patient"
retry = { max_attempts = 3, initial_ms = 3000000, max_ms = 3600000 }
[[routes]]
name = "elsewhere"
user = "orphan"
agent = "extra"
retry = { max_attempts = 2, initial_ms = 100, max_ms = 200 }
[agents.extra]
kind = "echo"
"#;

struct Stage {
    /// Before the rig, whose folder has their logs.
    processes: Vec<Process>,
    rig: Rig,
}

impl Stage {
    /// A plugin, and no worker yet.
    async fn set(database: Database) -> Self {
        let options = RigOptions { settings: ROUTES.to_owned(), ..RigOptions::new(database) };
        let rig = Rig::start(options).await;
        Self { processes: vec![rig.plugin("plugin")], rig }
    }

    fn worker(&mut self, env: &[(&str, &str)]) {
        let name = format!("worker-{}", self.processes.len());
        self.processes.push(self.rig.spawn(&name, &["worker"], env));
    }

    async fn ends_well(mut self) {
        let store = self.rig.store().await;
        eventually("everything is over", Duration::from_secs(60), || all_over(&store)).await;
        for process in &mut self.processes {
            assert!(process.has_ended().is_none(), "{} died", process.name);
        }
    }

    /// What the platform got for `user`, in order.
    fn answers(&self, user: &str) -> Vec<String> {
        self.rig.platform.log().into_iter().filter(|sent| sent.user == user).map(|sent| sent.text).collect()
    }

    /// The texts that reached the agent from `user`, in the order of their ends.
    fn turns(&self, user: &str) -> Vec<String> {
        let header = format!("[Username: @{user}, Demo ID: {user}] ");
        let turns = self.rig.letta.turns();
        turns.iter().filter_map(|turn| turn.text.strip_prefix(&header)).map(str::to_owned).collect()
    }

    /// An ordinary message, said now, is answered: the conversation is not stuck.
    async fn goes_on(&self, user: &str) {
        let text = format!("{user} goes on");
        self.rig.platform.say(user, &text);
        answer_in(&self.rig.store().await, user, &text, ResponseState::Delivered).await;
    }
}

async fn each_route_has_its_mode(stage: &Stage) {
    let store = stage.rig.store().await;
    for user in ["listener", "echoer", "somebody"] {
        stage.rig.platform.say(user, "first\n  second 🦀");
    }
    let stored = message_in(&store, "listener", "first\n  second 🦀", MessageState::Stored).await;
    assert_eq!((stored.attempts, stored.turns.len(), stored.responses.len()), (0, 0, 0), "{stored:?}");
    for user in ["echoer", "somebody"] {
        answer_in(&store, user, "first\n  second 🦀", ResponseState::Delivered).await;
    }
    let echoed = stage.answers("echoer").remove(0);
    let (header, body) = echoed.split_once("] ").expect("a header");
    assert!(
        header.starts_with("[Username: @echoer, Demo ID: echoer, Timestamp: 20") && header.ends_with('Z'),
        "{header}"
    );
    assert_eq!(body, "first\n  second 🦀");
    assert_eq!(stage.answers("somebody"), ["You said: [Username: @somebody, Demo ID: somebody] first\n  second 🦀"]);
    assert_eq!(stage.answers("listener"), [""; 0]);
    assert_eq!((stage.turns("listener").len(), stage.turns("echoer").len()), (0, 0), "an agent was called");
}

async fn attempts_are_limited(stage: &Stage, dead_letters: &mut DeadLetters) {
    let store = stage.rig.store().await;
    let (text, before) = ("it fails #letta(http=500 x99)", stage.rig.letta.arrived());
    stage.rig.platform.say("unlucky", text);
    stage.rig.platform.say("unlucky", "behind it");
    let failed = message_in(&store, "unlucky", text, MessageState::Failed).await;
    assert_eq!((failed.attempts, failed.class.as_deref()), (3, Some("agent_error")), "{failed:?}");
    let reason = failed.reason.clone().unwrap_or_default();
    assert!(reason.contains("HTTP 500") && reason.contains("all 3 attempts failed"), "{reason}");
    let turns: Vec<_> = failed.turns.iter().map(|turn| (turn.attempt, turn.state.as_str())).collect();
    assert_eq!(turns, [(1, "retry"), (2, "retry"), (3, "dead")]);

    let (subject, letter) = dead_letters.next().await;
    assert_eq!(subject, format!("broca.dlq.turn.demo.{}", failed.id));
    assert_eq!((letter.message_id, letter.text.as_deref()), (failed.id, Some(text)));
    let Body::DeadLetter { stage: at, class, reason: why, attempts } = letter.body else { panic!("{letter:?}") };
    assert_eq!((at.as_str(), class.as_str(), why, attempts), ("turn", "agent_error", reason, 3));

    answer_in(&store, "unlucky", "behind it", ResponseState::Delivered).await;
    assert_eq!(stage.rig.letta.arrived() - before, 4, "three attempts and the next message");
    assert_eq!(stage.turns("unlucky"), ["behind it"]);
}

async fn what_will_never_work_is_tried_once(stage: &Stage, dead_letters: &mut DeadLetters) {
    let store = stage.rig.store().await;
    for (user, behaviour, class) in [
        ("refused", "http=400", "rejected"),
        ("stranger", "http=401", "unauthorised"),
        ("lost", "http=404", "not_found"),
        ("long-winded", "overflow", "context_overflow"),
    ] {
        let text = format!("no #letta({behaviour})");
        stage.rig.platform.say(user, &text);
        let failed = message_in(&store, user, &text, MessageState::Failed).await;
        assert_eq!((failed.attempts, failed.class.as_deref()), (1, Some(class)), "{failed:?}");
        let (_, letter) = dead_letters.next().await;
        assert!(matches!(letter.body, Body::DeadLetter { attempts: 1, .. }), "{letter:?}");
        stage.goes_on(user).await;
    }
}

async fn a_rate_limit_is_waited_for(stage: &Stage) {
    let text = "soon #letta(rate_limited=2)";
    stage.rig.platform.say("hasty", text);
    let done = answer_in(&stage.rig.store().await, "hasty", text, ResponseState::Delivered).await;
    let [first, second] = &done.turns[..] else { panic!("{done:?}") };
    assert_eq!((first.state.as_str(), first.class.as_deref()), ("retry", Some("rate_limited")));
    let pause = second.started_at.micros() - first.finished_at.expect("it ended").micros();
    assert!((2_000_000..6_000_000).contains(&pause), "{pause} us after Retry-After: 2");
}

async fn an_agent_says_nothing_or_much(stage: &Stage) {
    let store = stage.rig.store().await;
    stage.rig.platform.say("quiet", "hm #letta(empty)");
    let silent = message_in(&store, "quiet", "hm #letta(empty)", MessageState::Completed).await;
    assert_eq!((silent.attempts, silent.responses.len()), (1, 0), "{silent:?}");
    stage.goes_on("quiet").await;
    assert_eq!(stage.answers("quiet").len(), 1);

    stage.rig.platform.say("curious", "well? #letta(several)");
    answer_in(&store, "curious", "well? #letta(several)", ResponseState::Delivered).await;
    let [answer] = &stage.answers("curious")[..] else { panic!("{:?}", stage.answers("curious")) };
    let parts: Vec<_> = answer.split("\n\n").collect();
    assert!(parts.len() == 2 && parts[0] == "Let me look." && parts[1].contains("well?"), "{answer}");

    stage.rig.platform.say("careful", "do it #letta(approval)");
    answer_in(&store, "careful", "do it #letta(approval)", ResponseState::Delivered).await;
    assert_eq!(stage.answers("careful"), ["I would like to use a tool.\n\nI go on without the tool."]);
    stage.goes_on("careful").await;
}

/// One after the other on one rig: each has people of its own.
async fn by_route_and_by_agent(database: Database) {
    let mut stage = Stage::set(database).await;
    stage.worker(&[]);
    let mut dead_letters = DeadLetters::open(&stage.rig).await;
    each_route_has_its_mode(&stage).await;
    attempts_are_limited(&stage, &mut dead_letters).await;
    what_will_never_work_is_tried_once(&stage, &mut dead_letters).await;
    a_rate_limit_is_waited_for(&stage).await;
    an_agent_says_nothing_or_much(&stage).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_route_and_by_agent_on_sqlite() {
    by_route_and_by_agent(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_route_and_by_agent_on_postgres() {
    by_route_and_by_agent(Database::Postgres).await;
}

/// Every worker that takes the answer of this message dies of it, until the message is given up.
async fn a_poisonous_message_ends(database: Database) {
    let mut stage = Stage::set(database).await;
    let store = stage.rig.store().await;
    let mut crew = Crew::workers(&stage.rig, 2, &[("BROCA_CRASH_AT", "agent-answered")]);
    stage.rig.platform.say("poisoner", "deadly");
    stage.rig.platform.say("poisoner", "harmless");
    eventually("it is given up", Duration::from_secs(60), || {
        crew.tend(&stage.rig);
        let store = store.clone();
        async move { message_of(&store, "poisoner", "deadly").await.is_some_and(|m| m.state == MessageState::Failed) }
    })
    .await;
    let failed = message_in(&store, "poisoner", "deadly", MessageState::Failed).await;
    // Two attempts by the route, and two looks at what became of them.
    assert_eq!((failed.attempts, failed.class.as_deref()), (4, Some("exhausted")), "{failed:?}");
    assert!(crew.replaced >= 4, "{}", crew.replaced);
    assert_eq!(stage.turns("poisoner").iter().filter(|text| *text == "deadly").count(), 1, "the agent was asked again");
    drop(crew);
    stage.worker(&[]);
    answer_in(&store, "poisoner", "harmless", ResponseState::Delivered).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_message_ends_on_sqlite() {
    a_poisonous_message_ends(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_message_ends_on_postgres() {
    a_poisonous_message_ends(Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_taken_away_is_named() {
    let mut stage = Stage::set(Database::Sqlite).await;
    let store = stage.rig.store().await;
    stage.rig.platform.say("orphan", "hello?");
    message_in(&store, "orphan", "hello?", MessageState::Received).await;

    let settings = std::fs::read_to_string(stage.rig.folder().join("broca.toml")).expect("the rig's settings");
    let settings = settings.replace("[agents.extra]\nkind = \"echo\"\n", "").replace("agent = \"extra\"\n", "");
    let without = stage.rig.folder().join("without.toml");
    std::fs::write(&without, settings).expect("a file is written");
    stage.worker(&[("BROCA_CONFIG", without.to_str().expect("a plain path"))]);
    eventually("it waits for its agent", Duration::from_secs(60), || async {
        message_of(&store, "orphan", "hello?").await.is_some_and(|m| m.class.as_deref() == Some("misconfigured"))
    })
    .await;
    let waits = message_of(&store, "orphan", "hello?").await.expect("it is there");
    assert_eq!((waits.state, waits.attempts), (MessageState::Received, 0), "waiting costs no attempt");
    let reason = waits.reason.unwrap_or_default();
    assert!(reason.contains("no agent named 'extra' is configured: add [agents.extra]"), "{reason}");
    stage.goes_on("somebody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slow_and_the_parked_slow_nobody_else() {
    let mut stage = Stage::set(Database::Sqlite).await;
    let store = stage.rig.store().await;
    // One slot: a parked conversation must not occupy it.
    stage.worker(&[("BROCA_WORKER__SLOTS", "1")]);
    let parked = "later #letta(http=503 x99)";
    stage.rig.platform.say("patient", parked);
    eventually("its first attempt failed", Duration::from_secs(60), || async {
        message_of(&store, "patient", parked)
            .await
            .is_some_and(|m| m.attempts == 1 && m.state == MessageState::Received)
    })
    .await;
    stage.rig.platform.say("patient", "behind it");
    for user in ["a", "b", "c"] {
        stage.goes_on(user).await;
    }
    let waits = message_of(&store, "patient", parked).await.expect("it is there");
    assert_eq!((waits.state, waits.attempts, waits.class.as_deref()), (MessageState::Received, 1, Some("unavailable")));
    assert_eq!(stage.answers("patient"), [""; 0], "what stands behind it does not overtake it");

    // A second slot, and somebody whose turn takes as long as all the others together.
    stage.worker(&[("BROCA_WORKER__SLOTS", "1")]);
    stage.rig.platform.say("slow", "think #letta(takes=15000)");
    eventually("the slow turn runs", Duration::from_secs(60), || async {
        message_of(&store, "slow", "think #letta(takes=15000)")
            .await
            .is_some_and(|m| m.state == MessageState::Processing)
    })
    .await;
    for user in ["d", "e", "f", "g"] {
        stage.goes_on(user).await;
    }
    assert_eq!(stage.answers("slow"), [""; 0], "the others were answered meanwhile");
    answer_in(&store, "slow", "think #letta(takes=15000)", ResponseState::Delivered).await;
}

/// One slot in all, and twenty messages of one person before the only one of another.
async fn a_flood_lets_others_through(database: Database) {
    const FLOOD: usize = 20;
    let mut stage = Stage::set(database).await;
    let store = stage.rig.store().await;
    for number in 0..FLOOD {
        stage.rig.platform.say("flooder", &format!("{number:02}"));
    }
    stage.rig.platform.say("modest", "me too");
    message_in(&store, "modest", "me too", MessageState::Received).await;
    stage.worker(&[("BROCA_WORKER__SLOTS", "1"), ("BROCA_WORKER__YIELD_AFTER_MESSAGES", "2")]);
    answer_in(&store, "modest", "me too", ResponseState::Delivered).await;
    answer_in(&store, "flooder", &format!("{:02}", FLOOD - 1), ResponseState::Delivered).await;
    let turns = stage.rig.letta.turns();
    let place = turns.iter().position(|turn| turn.text.ends_with("] me too")).expect("the agent was asked");
    assert!(place <= 4, "{place} turns of the flood came first, with a share of two");
    let order: Vec<String> = (0..FLOOD).map(|number| format!("{number:02}")).collect();
    assert_eq!(stage.turns("flooder"), order);
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_lets_others_through_on_sqlite() {
    a_flood_lets_others_through(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_lets_others_through_on_postgres() {
    a_flood_lets_others_through(Database::Postgres).await;
}
