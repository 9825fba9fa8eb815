//! After an outage: what is too old is passed over, the rest is answered at a pace that survives a worker's death, and
//! everything is accounted for.

use std::{collections::BTreeMap, time::Duration};

use broca_core::{Clock, SystemClock};
use broca_tests::{Crew, Database, NOTICE, Rig, RigOptions, Verdict, all_over, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const PEOPLE: usize = 10;

/// What a command prints with `--json`, and its exit code.
fn json(rig: &Rig, args: &[&str]) -> (Value, i32) {
    let output = rig.run(&[args, &["--json"]].concat());
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("broca {args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap_or(-1))
}

/// Everybody says one thing; it is accepted.
async fn say(rig: &Rig, number: usize) -> Vec<(String, String)> {
    let said: Vec<_> = (0..PEOPLE).map(|u| (format!("u{u:02}"), format!("u{u:02}-m{number:03}"))).collect();
    for (user, text) in &said {
        rig.platform.say(user, text);
    }
    let (store, all) = (rig.store().await, i64::try_from(PEOPLE * (number + 1)).expect("a small number"));
    eventually("all of it is accepted", PATIENCE, || async {
        store.counts().await.expect("the store answers").messages.values().sum::<i64>() >= all
    })
    .await;
    said
}

fn plan_of(draft: &Value) -> String {
    draft["plan"].as_str().unwrap_or_else(|| panic!("no plan: {draft:#}")).to_owned()
}

async fn after_an_outage(database: Database) {
    let rig = Rig::start(RigOptions::new(database)).await;
    let mut plugin = Crew::plugin(&rig, &[]);
    let store = rig.store().await;
    say(&rig, 0).await;
    let (backlog, code) = json(&rig, &["backlog"]);
    assert_eq!((backlog["messages"].as_u64(), code), (Some(PEOPLE as u64), 0), "{backlog:#}");
    let (refused, code) = json(&rig, &["backlog", "skip"]);
    assert_eq!((refused["error"]["code"].as_str(), code), (Some("usage"), 2), "{refused:#}");

    // What is planned is what waits now, and not what comes later.
    let notice = format!("{NOTICE} we were away");
    let (draft, code) = json(&rig, &["backlog", "skip", "--older-than", "0s", "--notice", &notice]);
    assert_eq!((draft["draft"]["messages"].as_u64(), code), (Some(PEOPLE as u64), 0), "{draft:#}");
    let skip = plan_of(&draft);
    let mut said = say(&rig, 1).await;
    said.extend(say(&rig, 2).await);
    let (report, code) = json(&rig, &["backlog", "apply", &skip]);
    assert_eq!((report["done"].as_u64(), code), (Some(PEOPLE as u64), 0), "{report:#}");
    let (again, code) = json(&rig, &["backlog", "apply", &skip]);
    assert_eq!((again["done"].as_u64(), again["done_before"].as_u64(), code), (Some(0), Some(PEOPLE as u64), 0));
    let (wrong, code) = json(&rig, &["replay", "--apply", &skip]);
    assert_eq!(code, 4, "{wrong:#}");

    let (draft, _) = json(&rig, &["backlog", "answer", "--rate", "2"]);
    let drafted = &draft["draft"];
    assert_eq!((drafted["messages"].as_u64(), drafted["conversations"].as_u64()), (Some(20), Some(10)), "{draft:#}");
    let answer = plan_of(&draft);
    let begun = SystemClock.now().micros();
    let (report, code) = json(&rig, &["backlog", "apply", &answer]);
    assert_eq!((report["done"].as_u64(), code), (Some(PEOPLE as u64), 0), "{report:#}");
    let (status, _) = json(&rig, &["status"]);
    let paced = &status["status"]["pace"]["paced"][0];
    assert_eq!(paced["plan"].as_str(), Some(&*answer), "{status:#}");
    assert!(paced["waiting"].as_u64().is_some_and(|left| (1..PEOPLE as u64).contains(&left)), "{status:#}");

    let mut workers = Crew::workers(&rig, 2, &[]);
    eventually("the first are answered", PATIENCE, || {
        let turns = rig.letta.turns().len();
        async move { turns >= 4 }
    })
    .await;
    workers.member(0).kill9();
    eventually("everything is answered", PATIENCE, || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let answers = rig.platform.log().into_iter().filter(|sent| !sent.text.starts_with(NOTICE)).count();
        async move { answers >= 2 * PEOPLE }
    })
    .await;
    eventually("all is over", PATIENCE, || all_over(&store)).await;

    let verdict = Verdict::of(&rig, &said);
    assert!(verdict.is_clean(), "{verdict:#?}");
    let mut told = verdict.notices.clone();
    told.sort();
    assert_eq!(told, (0..PEOPLE).map(|u| format!("u{u:02}")).collect::<Vec<_>>(), "each of them once");
    let mut first_turns: BTreeMap<String, i64> = BTreeMap::new();
    for turn in rig.letta.turns() {
        let at = turn.started_at_us;
        let first = first_turns.entry(turn.conversation).or_insert(at);
        *first = at.min(*first);
    }
    let mut starts: Vec<i64> = first_turns.into_values().collect();
    starts.sort_unstable();
    assert_eq!(starts.len(), PEOPLE);
    for (n, start) in (0..).zip(starts) {
        // SQLite's clock has milliseconds.
        assert!(start - begun >= n * 500_000 - 2_000, "conversation {n} after {} ms", (start - begun) / 1_000);
    }
    let counts = store.counts().await.expect("the store answers");
    assert_eq!((counts.messages["cancelled"], counts.messages["completed"]), (10, 20), "{counts:?}");
    assert_eq!(counts.notices["delivered"], 10);
    let (status, _) = json(&rig, &["status"]);
    assert_eq!(status["status"]["pace"]["paced"].as_array().map(Vec::len), Some(0));
    assert_eq!(json(&rig, &["backlog"]).0["messages"], 0);
    assert_eq!(rig.is_sound(), Ok(()));
}

async fn one_turn_for_each_conversation(database: Database) {
    let rig = Rig::start(RigOptions::new(database)).await;
    let _plugin = Crew::plugin(&rig, &[]);
    let store = rig.store().await;
    for number in 0..4 {
        say(&rig, number).await;
    }
    let (draft, _) = json(&rig, &["backlog", "catch-up", "--rate", "50"]);
    let drafted = &draft["draft"];
    assert_eq!((drafted["messages"].as_u64(), drafted["conversations"].as_u64()), (Some(40), Some(10)), "{draft:#}");
    let (report, code) = json(&rig, &["backlog", "apply", &plan_of(&draft)]);
    assert_eq!((report["done"].as_u64(), code), (Some(PEOPLE as u64), 0), "{report:#}");
    let _workers = Crew::workers(&rig, 2, &[]);
    eventually("each of them has an answer", PATIENCE, || {
        let answers = rig.platform.log().len();
        async move { answers >= PEOPLE }
    })
    .await;
    eventually("all is over", PATIENCE, || all_over(&store)).await;
    let turns = rig.letta.turns();
    assert_eq!((turns.len(), rig.platform.log().len()), (PEOPLE, PEOPLE), "one turn and one answer for each");
    for turn in turns {
        let places: Vec<_> = (0..4).map(|m| turn.text.find(&format!("-m{m:03}"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "all that was said, in order: {}", turn.text);
    }
    let counts = store.counts().await.expect("the store answers");
    assert_eq!(counts.messages["completed"], 40, "{counts:?}");
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    after_an_outage(Database::Sqlite).await;
    one_turn_for_each_conversation(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    after_an_outage(Database::Postgres).await;
    one_turn_for_each_conversation(Database::Postgres).await;
}
