//! A conversation that keeps failing waits, in order and until somebody releases it; the others never notice.

use std::time::Duration;

use broca_core::MessageState;
use broca_tests::{Crew, Database, Rig, RigOptions, Verdict, all_over, eventually, message_in, message_of};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a command prints with `--json`, and its exit code.
fn json(rig: &Rig, args: &[&str]) -> (Value, i32) {
    let output = rig.run(&[args, &["--json"]].concat());
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("broca {args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap_or(-1))
}

async fn one_conversation_is_quarantined(database: Database) {
    let mut options = RigOptions::new(database);
    options.settings = "[[routes]]\nname = \"all\"\nquarantine_after = 3\n".to_owned();
    let rig = Rig::start(options).await;
    let (mut workers, mut plugin) = (Crew::workers(&rig, 2, &[]), Crew::plugin(&rig, &[]));
    let store = rig.store().await;
    let poison = |n: usize| format!("bad-m00{n} #letta(http=400 x9)");
    let mut said = Vec::new();
    for n in 0..6 {
        let text = if n < 3 { poison(n) } else { format!("bad-m00{n}") };
        rig.platform.say("bad", &text);
        if n >= 3 {
            said.push(("bad".to_owned(), text));
        }
        for user in ["ann", "ben"] {
            let text = format!("{user}-m00{n}");
            rig.platform.say(user, &text);
            said.push((user.to_owned(), text));
        }
    }
    message_in(&store, "bad", &poison(2), MessageState::Failed).await;
    eventually("everybody else is answered", PATIENCE, || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let log = rig.platform.log();
        async move { log.iter().filter(|sent| sent.user != "bad").count() >= 12 }
    })
    .await;

    // What is behind the failed ones waits, and everybody can see why.
    let (holds, _) = json(&rig, &["hold", "list"]);
    let hold = &holds["items"][0];
    assert_eq!((hold["actor"].as_str(), hold["kind"].as_str()), (Some("broca"), Some("conversation")), "{holds:#}");
    assert_eq!(hold["reason"], "quarantined after 3 failures in a row: rejected");
    assert_eq!(holds["items"].as_array().map(Vec::len), Some(1));
    for n in 3..6 {
        let waiting = message_of(&store, "bad", &format!("bad-m00{n}")).await.expect("it was accepted");
        assert_eq!((waiting.state, waiting.turns.len()), (MessageState::Received, 0));
    }
    let first = message_of(&store, "bad", "bad-m003").await.expect("it was accepted").id.to_string();
    let (explained, _) = json(&rig, &["explain", &first]);
    assert_eq!((explained["verdict"].as_str(), explained["actor"].as_str()), (Some("on_hold"), Some("broca")));
    assert!(rig.succeeds(&["message", "show", &first]).contains("its conversation quarantined"));
    assert!(rig.succeeds(&["status"]).contains("1 quarantined"));
    let (backlog, _) = json(&rig, &["backlog"]);
    assert_eq!(
        (backlog["messages"].as_i64(), backlog["backlog"]["groups"][0]["stand"].as_str()),
        (Some(3), Some("held"))
    );
    let (letters, _) = json(&rig, &["dlq", "list", "--user", "bad"]);
    assert_eq!(letters["items"].as_array().map(Vec::len), Some(3), "{letters:#}");
    assert_eq!(rig.is_sound(), Ok(()), "a quarantine is in order");

    let id = hold["id"].as_str().expect("it has an id");
    let (released, code) = json(&rig, &["hold", "release", id]);
    assert_eq!(code, 0, "{released:#}");
    eventually("the rest is answered", PATIENCE, || {
        let log = rig.platform.log();
        async move { log.len() >= 15 }
    })
    .await;
    eventually("all is over", PATIENCE, || all_over(&store)).await;
    let verdict = Verdict::of(&rig, &said);
    // The agent refused each of the three before it began a turn.
    assert!(verdict.is_clean(), "{verdict:#?}");
    let warned = workers.output().matches("quarantined; `broca hold release` ends it").count();
    assert_eq!(warned, 1, "it is said once");
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    one_conversation_is_quarantined(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    one_conversation_is_quarantined(Database::Postgres).await;
}
