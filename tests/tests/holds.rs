//! Holds while everything runs: nothing is lost, nobody overtakes, the others go on.

use std::{collections::BTreeMap, time::Duration};

use broca_core::{MessageState, subject};
use broca_tests::{Crew, Database, Rig, RigOptions, Verdict, all_over, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a command prints with `--json`, and its exit code.
fn json(rig: &Rig, args: &[&str]) -> (Value, i32) {
    let output = rig.run(&[args, &["--json"]].concat());
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("broca {args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap_or(-1))
}

fn put(rig: &Rig, args: &[&str]) -> String {
    let (hold, code) = json(rig, &[&["hold", "add", "--reason", "a test"], args].concat());
    assert_eq!(code, 0, "{hold:#}");
    hold["id"].as_str().expect("it has an id").to_owned()
}

fn answered(rig: &Rig) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for sent in rig.platform.log() {
        *answers.entry(sent.user).or_default() += 1;
    }
    answers
}

/// Says `each` more messages of each person, numbered on from `from`.
fn say(rig: &Rig, people: &[&str], from: usize, each: usize) -> Vec<(String, String)> {
    let pairs = (from..from + each).flat_map(|m| people.iter().map(move |u| ((*u).to_owned(), format!("{u}-m{m:03}"))));
    let said: Vec<_> = pairs.collect();
    for (user, text) in &said {
        rig.platform.say(user, text);
    }
    said
}

/// Held in mid-stream, by three workers; one of them dies while it brings the messages back.
async fn a_person_is_held_in_mid_stream(database: Database) {
    let mut options = RigOptions::new(database);
    options.letta.min_ms = 20;
    options.letta.max_ms = 60;
    // Everybody shares one conversation: what is held leaves it, and the others go on.
    options.settings = "[[routes]]\nname = \"all\"\nscope = \"agent\"\n".to_owned();
    let rig = Rig::start(options).await;
    let marker = rig.folder().join("crashed");
    let env = [("BROCA_CRASH_AT", "hold-step"), ("BROCA_CRASH_ONCE", marker.to_str().expect("a plain path"))];
    let (mut workers, mut plugin) = (Crew::workers(&rig, 3, &env), Crew::plugin(&rig, &[]));
    let store = rig.store().await;
    let people = ["ann", "ben", "cem"];
    let mut said = say(&rig, &people, 0, 4);
    eventually("the first are answered", PATIENCE, || {
        let log = rig.platform.log();
        async move { log.len() >= 3 }
    })
    .await;

    let hold = put(&rig, &["--user", "ann"]);
    said.extend(say(&rig, &people, 4, 7));
    eventually("everybody else is answered", PATIENCE, || {
        workers.tend(&rig);
        let answers = answered(&rig);
        async move { answers.get("ben") == Some(&11) && answers.get("cem") == Some(&11) }
    })
    .await;
    eventually("all of hers is set aside", PATIENCE, || async {
        let messages = store.counts().await.expect("the store answers").messages;
        ["received", "processing"].iter().all(|state| !messages.contains_key(*state))
    })
    .await;
    let held = store.counts().await.expect("the store answers").messages[MessageState::Held.as_str()];
    let (listed, _) = json(&rig, &["hold", "list"]);
    assert_eq!(
        (listed["items"][0]["id"].as_str(), listed["items"][0]["messages"].as_i64()),
        (Some(&*hold), Some(held))
    );
    assert!(held >= 7, "she wrote seven more: {held}");
    assert_eq!(rig.is_sound(), Ok(()), "held is no fault");
    let (refused, code) = json(&rig, &["hold", "add", "--user", "demo/ann", "--reason", "again"]);
    assert_eq!((refused["error"]["code"].as_str(), code), (Some("conflict"), 4), "{refused:#}");

    // Only the row: the workers bring the messages back, and the first of them dies at it.
    let id = hold.parse().expect("an id");
    store.release_hold(id, "test").await.expect("the store answers").expect("it is there");
    said.extend(say(&rig, &["ann"], 11, 3));
    eventually("all is over", PATIENCE, || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let (count, store) = (rig.platform.log().len(), store.clone());
        async move { count >= 11 * 3 + 3 && all_over(&store).await }
    })
    .await;
    assert!(marker.exists() && workers.replaced == 1, "one worker died while it brought messages back");
    let verdict = Verdict::of(&rig, &said);
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_on_sqlite() {
    a_person_is_held_in_mid_stream(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_on_postgres() {
    a_person_is_held_in_mid_stream(Database::Postgres).await;
}

/// An agent until it is released by hand, then an instance until its time has come.
async fn an_agent_and_an_instance_wait(database: Database) {
    let rig = Rig::start(RigOptions::new(database)).await;
    let (_workers, _plugin) = (Crew::workers(&rig, 2, &[]), Crew::plugin(&rig, &[]));
    let (store, bus) = (rig.store().await, rig.bus().await);
    let hold = put(&rig, &["--agent", "default"]);
    let mut said = say(&rig, &["ann", "ben"], 0, 3);
    eventually("all is accepted", PATIENCE, || async {
        store.counts().await.expect("the store answers").messages.get("received") == Some(&6)
    })
    .await;
    eventually("every wake was heard", PATIENCE, || async {
        let lag = bus.backlog(subject::STREAM_IN, subject::CONSUMER_WORKERS).await.expect("NATS answers");
        lag.pending + lag.ack_pending == 0 && store.counts().await.expect("the store answers").outbox == 0
    })
    .await;
    assert_eq!(rig.letta.turns().len(), 0, "the agent heard of nothing");
    let (released, code) = json(&rig, &["hold", "release", &hold]);
    assert_eq!((released["items"][0]["hold"]["state"].as_str(), code), (Some("over"), 0), "{released:#}");
    eventually("all is answered", PATIENCE, || {
        let count = rig.platform.log().len();
        async move { count >= 6 }
    })
    .await;

    put(&rig, &["--instance", "demo", "--for", "3s"]);
    said.extend(say(&rig, &["ann", "ben"], 3, 2));
    eventually("the hold ends by itself, and all is over", PATIENCE, || {
        let (count, store) = (rig.platform.log().len(), store.clone());
        async move { count >= 10 && all_over(&store).await }
    })
    .await;
    let (listed, _) = json(&rig, &["hold", "list", "--all"]);
    let states: Vec<_> = listed["items"].as_array().into_iter().flatten().map(|hold| hold["state"].as_str()).collect();
    assert_eq!(states, [Some("over"), Some("over")], "{listed:#}");
    let verdict = Verdict::of(&rig, &said);
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(rig.is_sound(), Ok(()));
    for (args, wanted) in [
        (&["hold", "add", "--agent", "nobody", "--reason", "x"][..], 3),
        (&["hold", "add", "--user", "nobody", "--reason", "x"], 3),
        (&["hold", "add", "--reason", "x"], 2),
        (&["hold", "release", "01900000-0000-7000-8000-000000000000"], 3),
    ] {
        let (answer, code) = json(&rig, args);
        assert_eq!(code, wanted, "broca {args:?}: {answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_on_sqlite() {
    an_agent_and_an_instance_wait(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_on_postgres() {
    an_agent_and_an_instance_wait(Database::Postgres).await;
}
