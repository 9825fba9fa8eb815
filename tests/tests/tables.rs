//! What people are shown: the tables of a deployment with something of everything in it, as they were before.

use std::time::Duration;

use broca_tests::{Crew, Database, Rig, RigOptions, all_over, eventually, snapshot};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// ann is answered, ben's message failed, cem's waits; operators did a few things.
async fn prepared() -> Rig {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let (mut workers, mut plugin) = (Crew::workers(&rig, 1, &[]), Crew::plugin(&rig, &[]));
    let store = rig.store().await;
    for (person, text, state) in [("ann", "hello", "completed"), ("ben", "no #letta(http=400)", "failed")] {
        rig.platform.say(person, text);
        eventually("it is over", PATIENCE, || {
            workers.tend(&rig);
            plugin.tend(&rig);
            let store = store.clone();
            async move {
                let counts = store.counts().await.expect("the store answers");
                counts.messages.get(state) == Some(&1) && all_over(&store).await
            }
        })
        .await;
    }
    assert!(workers.stop(PATIENCE).iter().all(|(_, well)| *well));
    rig.platform.say("cem", "is anybody there?");
    eventually("it waits", PATIENCE, || {
        plugin.tend(&rig);
        let store = store.clone();
        async move { store.counts().await.expect("the store answers").messages.get("received") == Some(&1) }
    })
    .await;
    assert!(plugin.stop(PATIENCE).iter().all(|(_, well)| *well));
    let me = ["--actor", "ops"];
    for act in [
        &["hold", "add", "--agent", "default", "--reason", "the model is upgraded", "--for", "2d"][..],
        &["ignore", "add", "demo/mallory", "--reason", "spam"],
        &["access", "allow", "demo/ann"],
        &["token", "add", "ci", "--access", "read", "--expires", "30d"],
        &["users", "update", "demo/ann", "--display-name", "Ann"],
    ] {
        rig.succeeds(&[&me, act].concat());
    }
    rig
}

fn first(rig: &Rig, args: &[&str], key: &str) -> String {
    let told: Value = serde_json::from_str(&rig.succeeds(&[args, &["--json"]].concat())).expect("JSON");
    told["items"][0][key].as_str().unwrap_or_else(|| panic!("no {key} in {told}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_shown_what_they_were_shown_before() {
    let rig = prepared().await;
    let conversation = first(&rig, &["conversations", "list", "--user", "demo/ann"], "id");
    let (answered, failed) = (
        first(&rig, &["messages", "list", "--user", "ann"], "message_id"),
        first(&rig, &["dlq", "list"], "message_id"),
    );
    let shown: [&[&str]; 28] = [
        &["queue", "list"],
        &["queue", "stats"],
        &["queue", "flush", "--all", "--dry-run"],
        &["messages", "list"],
        &["conversations", "list"],
        &["conversations", "show", &conversation],
        &["users", "list"],
        &["users", "get", "demo/ann"],
        &["users", "conversations", "demo/ann"],
        &["routes", "list"],
        &["routes", "explain", &answered],
        &["agents", "list"],
        &["agents", "info"],
        &["agents", "status"],
        &["dlq", "list"],
        &["dlq", "show", &failed],
        &["replay", "--dry-run"],
        &["explain", &failed],
        &["hold", "list"],
        &["ignore", "list"],
        &["access", "list"],
        &["pairing", "list"],
        &["targets", "list"],
        &["token", "list"],
        &["audit", "list"],
        &["mode", "show"],
        &["config", "get", "retry"],
        &["check", "--overdue", "1h"],
    ];
    for args in shown {
        let output = rig.run(&[args, &["--color", "never"]].concat());
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let words = args.iter().take_while(|word| !word.starts_with('-') && !word.contains(['/', '0'])).copied();
        let name = words.collect::<Vec<_>>().join("-");
        snapshot::holds(&name, &snapshot::alike(&text, rig.folder()));
    }
}
