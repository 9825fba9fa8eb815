//! Agents that are away, limited or not configured: messages wait and lose no attempt, over all workers.

use std::time::Duration;

use broca_core::{
    MessageState,
    breaker::{Breaker, BreakerState},
};
use broca_rehearsal::letta::{Behaviour, TurnLine};
use broca_store::{Parked, Store};
use broca_tests::{Crew, Database, Rig, RigOptions, Verdict, all_over, answer_in, eventually, message_in, message_of};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const BOTH: [Database; 2] = [Database::Sqlite, Database::Postgres];

const BREAKER: [(&str, &str); 3] = [
    ("BROCA_AGENTS__DEFAULT__BREAKER_FAILURES", "3"),
    ("BROCA_AGENTS__DEFAULT__BREAKER_OPEN_MS", "400"),
    ("BROCA_AGENTS__DEFAULT__BREAKER_OPEN_MAX_MS", "400"),
];

/// The breaker of the one endpoint; `None` while nothing is wrong with it.
async fn breaker(store: &Store) -> Option<Breaker> {
    store.pace().await.expect("the store answers").endpoints.into_iter().next().map(|endpoint| endpoint.breaker)
}

/// Waits until it has been opened so often, and nobody is asking the endpoint; how often it was by then.
async fn openings(store: &Store, least: u32) -> u32 {
    let opened = async || breaker(store).await.filter(|b| b.state == BreakerState::Open).map_or(0, |b| b.openings);
    eventually(&format!("the breaker is opened {least} times"), PATIENCE, || async { opened().await >= least }).await;
    opened().await.max(least)
}

/// How often it was opened and how many messages the agent got, at one moment at which nobody asks it.
async fn at_rest(rig: &Rig, store: &Store, least: u32) -> (u32, usize) {
    loop {
        openings(store, least).await;
        let before = breaker(store).await;
        let arrived = rig.letta.arrived();
        let after = breaker(store).await;
        if let (Some(before), Some(after)) = (before, after)
            && before == after
            && after.state == BreakerState::Open
        {
            return (after.openings, arrived);
        }
    }
}

async fn attempts(store: &Store, said: &[(String, String)]) -> u32 {
    let mut sum = 0;
    for (user, text) in said {
        sum += message_of(store, user, text).await.map_or(0, |message| message.attempts);
    }
    sum
}

async fn all_answered(rig: &Rig, store: &Store, said: &[(String, String)]) {
    eventually("everything is over", PATIENCE, || all_over(store)).await;
    let verdict = Verdict::of(rig, said);
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_away_costs_no_attempts() {
    for database in BOTH {
        let mut rig = Rig::start(RigOptions::new(database)).await;
        let store = rig.store().await;
        rig.letta.die().await;
        let mut workers = Crew::workers(&rig, 2, &BREAKER);
        let _plugin = rig.plugin("plugin");
        let said = rig.say(6, 3);
        openings(&store, 4).await;
        // Both workers know by now, and none of the turns from before is under way any more.
        let before = attempts(&store, &said).await;
        let opened = openings(&store, 7).await;
        assert_eq!(attempts(&store, &said).await, before, "after {opened} openings");
        let parked = store.pace().await.expect("the store answers").parked;
        assert!(parked.iter().all(|p| p.what_for == Parked::Endpoint) && !parked.is_empty(), "{parked:?}");
        let shown: Value = serde_json::from_str(&rig.succeeds(&["status", "--json"])).expect("JSON");
        let endpoint = &shown["status"]["pace"]["endpoints"][0];
        assert_eq!(
            (&endpoint["endpoint"], endpoint["failures"].as_u64()),
            (&rig.letta_url().into(), Some(3)),
            "{endpoint}"
        );
        assert!(rig.succeeds(&["status"]).contains("its endpoint to answer"));

        rig.revive_letta().await;
        all_answered(&rig, &store, &said).await;
        assert_eq!(breaker(&store).await, None);
        assert!(workers.stop(PATIENCE).iter().all(|(_, well)| *well));
        let log = workers.output();
        assert_eq!(log.matches("is not asked for now").count(), 1, "{log}");
        assert_eq!(log.matches("answers again").count(), 1, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_turn_at_a_time_finds_out_whether_it_is_back() {
    let rig = Rig::start(RigOptions::new(Database::Postgres)).await;
    let store = rig.store().await;
    // It is there, and says so when it is asked for its health, but takes no message.
    rig.letta.script(|script| script.behaviours = std::iter::repeat_n(Behaviour::Http(503), 10_000).collect());
    let _workers = Crew::workers(&rig, 2, &BREAKER);
    let _plugin = rig.plugin("plugin");
    let said = rig.say(8, 1);
    let (first, before) = at_rest(&rig, &store, 2).await;
    let (last, after) = at_rest(&rig, &store, first + 5).await;
    let probes = usize::try_from(last - first).expect("a small number");
    assert_eq!(after - before, probes, "one message for each opening");
    rig.letta.script(|script| script.behaviours.clear());
    all_answered(&rig, &store, &said).await;
}

/// The most turns that the agent ever had at a time, by its own log.
fn most_at_once(turns: &[TurnLine]) -> usize {
    let at = |moment: i64| turns.iter().filter(|t| t.started_at_us <= moment && moment < t.finished_at_us).count();
    turns.iter().map(|turn| at(turn.started_at_us)).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_over_two_workers_also_while_one_dies() {
    for database in BOTH {
        let mut options = RigOptions::new(database);
        (options.letta.min_ms, options.letta.max_ms) = (100, 250);
        let rig = Rig::start(options).await;
        let store = rig.store().await;
        // So few slots of its own that most conversations cannot stand in line.
        let limits = [("BROCA_AGENTS__DEFAULT__MAX_CONCURRENT_TURNS", "2"), ("BROCA_WORKER__SLOTS", "4")];
        let mut workers = Crew::workers(&rig, 2, &limits);
        let _plugin = rig.plugin("plugin");
        let said = rig.say(10, 3);
        eventually("a third is answered", PATIENCE, || {
            let answered = rig.platform.log().len();
            async move { answered >= 10 }
        })
        .await;
        workers.member(0).kill9();
        workers.tend(&rig);
        all_answered(&rig, &store, &said).await;
        assert_eq!(most_at_once(&rig.letta.turns()), 2);
        assert_eq!(store.pace().await.expect("the store answers").turn_slots, []);
        assert!(workers.stop(PATIENCE).iter().all(|(_, well)| *well));
        let left = store.pace().await.expect("the store answers").workers;
        assert!(left.iter().all(|worker| !worker.alive), "who ends in good order takes leave: {left:?}");
        assert_eq!(left.len(), 1, "who was killed is remembered: {left:?}");
    }
}

async fn cli_listens(rig: &Rig) {
    let socket = rig.socket();
    eventually("the terminals' plugin listens", PATIENCE, || async { socket.exists() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_nobody_configured_is_waited_for() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let store = rig.store().await;
    let url = rig.letta_url();
    // The plugin's process knows an agent that the worker's does not.
    let known = [
        ("BROCA_ROUTES", r#"[{"name": "vip", "agent": "vip"}]"#),
        ("BROCA_AGENTS__VIP__ENDPOINT", url.as_str()),
        ("BROCA_AGENTS__VIP__AGENT_ID", "agent-vip"),
    ];
    let _plugins =
        [rig.spawn("plugin", &["plugin", "run", "demo"], &known), rig.spawn("cli", &["plugin", "run", "cli"], &known)];
    let mut stranger = rig.worker("stranger");
    rig.platform.say("alice", "anybody there?");
    let waits = |class: &'static str| {
        let store = store.clone();
        async move { message_of(&store, "alice", "anybody there?").await.is_some_and(|m| m.class.as_deref() == Some(class)) }
    };
    eventually("it waits for its agent", PATIENCE, || waits("misconfigured")).await;
    cli_listens(&rig).await;
    // What may not wait for so long ends, without a single attempt.
    let impatient = rig.run(&["send", "--as", "bob", "--max-age", "1s", "now or never"]);
    let told = String::from_utf8_lossy(&impatient.stderr).into_owned();
    assert!(
        told.contains("no agent named 'vip' is configured") && told.contains("older than the limit of 1 s"),
        "{told}"
    );
    let message = message_of(&store, "alice", "anybody there?").await.expect("it is there");
    assert_eq!((message.state, message.attempts), (MessageState::Received, 0), "{message:?}");
    assert!(stranger.stop(PATIENCE).is_some_and(|status| status.success()));

    let _worker = rig.spawn("knows", &["worker"], &known);
    let message = message_in(&store, "alice", "anybody there?", MessageState::Completed).await;
    assert_eq!((message.attempts, message.class), (1, None));
    answer_in(&store, "alice", "anybody there?", broca_core::ResponseState::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_have_its_own_budget() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let _processes = [rig.worker("worker"), rig.spawn("cli", &["plugin", "run", "cli"], &[])];
    cli_listens(&rig).await;
    let fails_twice = "#letta(http=503 x2)";
    let once = rig.run(&["send", "--as", "alice", "--max-attempts", "1", &format!("{fails_twice} once")]);
    let told = String::from_utf8_lossy(&once.stderr).into_owned();
    assert!(!once.status.success() && told.contains("all 1 attempts failed"), "{told}");
    let answer = rig.succeeds(&["send", "--as", "alice", &format!("{fails_twice} as often as the route says")]);
    assert!(answer.contains("as often as the route says"), "{answer}");
}
