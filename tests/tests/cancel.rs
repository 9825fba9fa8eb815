//! An operator ends messages before their time, while everything runs.

use std::time::Duration;

use broca_core::{MessageState, ResponseState};
use broca_tests::{Database, Process, Rig, RigOptions, all_over, answer_in, eventually, message_in};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(40);

/// What `broca message cancel` prints with `--json`, and its exit code.
fn cancel(rig: &Rig, id: &str) -> (Value, i32) {
    let output = rig.run(&["message", "cancel", id, "--reason", "not wanted", "--json"]);
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), output.status.code().unwrap_or(-1))
}

/// The texts that reached the agent, without their headers.
fn turns(rig: &Rig) -> Vec<String> {
    let body = |text: &str| text.rsplit("] ").next().unwrap_or_default().to_owned();
    rig.letta.turns().iter().map(|turn| body(&turn.text)).collect()
}

async fn the_second_of_three_is_cancelled(database: Database) {
    let rig = Rig::start(RigOptions::new(database)).await;
    let store = rig.store().await;
    let running: Vec<Process> = vec![rig.plugin("plugin"), rig.worker("worker")];
    rig.platform.say("ann", "first #letta(takes=8000)");
    message_in(&store, "ann", "first #letta(takes=8000)", MessageState::Processing).await;
    rig.platform.say("ann", "second");
    rig.platform.say("ann", "third");
    let second = message_in(&store, "ann", "second", MessageState::Received).await.id.to_string();
    message_in(&store, "ann", "third", MessageState::Received).await;

    let (report, code) = cancel(&rig, &second);
    assert_eq!((report["outcome"].as_str(), code), (Some("message"), 0), "{report}");
    let (report, code) = cancel(&rig, &second);
    assert_eq!((report["error"]["code"].as_str(), code), (Some("conflict"), 4), "it is over");
    assert_eq!(cancel(&rig, "00000000-0000-7000-8000-000000000000").1, 3);
    answer_in(&store, "ann", "third", ResponseState::Delivered).await;
    let cancelled = message_in(&store, "ann", "second", MessageState::Cancelled).await;
    assert!(cancelled.reason.is_some_and(|reason| reason.ends_with(": not wanted")));
    assert_eq!((cancelled.turns.len(), cancelled.responses.len()), (0, 0));
    assert_eq!(turns(&rig), ["first #letta(takes=8000)", "third"]);
    eventually("everything is over", PATIENCE, || all_over(&store)).await;
    rig.succeeds(&["check"]);
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_three_is_cancelled_on_sqlite() {
    the_second_of_three_is_cancelled(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_three_is_cancelled_on_postgres() {
    the_second_of_three_is_cancelled(Database::Postgres).await;
}
