//! What failed is brought back by an operator: seen before, done once, in order, while everything runs.

use std::{collections::BTreeMap, time::Duration};

use broca_core::{MessageState, ResponseState, subject};
use broca_store::Store;
use broca_tests::{Crew, Database, Process, Rig, RigOptions, all_over, answer_in, eventually, message_in};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// One attempt more than this and it is dead.
const SHORT: &str = r#"
[[routes]]
name = "short"
retry = { max_attempts = 3, initial_ms = 50, max_ms = 100 }
"#;

async fn rig(database: Database) -> Rig {
    Rig::start(RigOptions { settings: SHORT.to_owned(), ..RigOptions::new(database) }).await
}

/// What a command prints with `--json`, and its exit code.
fn json(rig: &Rig, args: &[&str]) -> (Value, i32) {
    let output = rig.run(&[args, &["--json"]].concat());
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("broca {args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap_or(-1))
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {path} of {value:#}"))
}

/// What a text is once its marker is off.
fn name(text: &str) -> String {
    let said = text.rsplit("] ").next().unwrap_or_default();
    said.split(" #").next().unwrap_or_default().to_owned()
}

/// How often each person got each answer, in order.
fn answers(rig: &Rig) -> BTreeMap<String, Vec<String>> {
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for sent in rig.platform.log() {
        answers.entry(sent.user).or_default().push(name(&sent.text));
    }
    answers
}

/// Four people say six things each. The agent refuses the second and the fourth; with the fifth it fails four times, one
/// time more than there are attempts.
fn says_what_fails(rig: &Rig) -> usize {
    for m in 0..6 {
        for user in ["ann", "ben", "cem", "dea"] {
            let marker = ["", " #letta(http=400)", "", " #letta(http=400)", " #letta(http=500 x4)", ""][m];
            rig.platform.say(user, &format!("{user}-{m}{marker}"));
        }
    }
    4 * 3
}

/// Whether a few items of a plan have their outcome.
async fn applied(store: &Store, plan: &str) -> bool {
    let plan = store.plan(plan.parse().expect("an id")).await.expect("the store answers").expect("the plan is there");
    plan.items.iter().filter(|item| item.outcome.is_some()).count() >= 3
}

async fn a_plan_brings_back_what_it_showed(database: Database) {
    let mut rig = rig(database).await;
    let (mut workers, mut plugin) = (Crew::workers(&rig, 2, &[]), Crew::plugin(&rig, &[]));
    let failing = says_what_fails(&rig);
    let store = rig.store().await;
    eventually("the others are answered", PATIENCE, || async { rig.platform.log().len() >= 12 }).await;
    eventually("all is over", PATIENCE, || all_over(&store)).await;

    let (letters, code) = json(&rig, &["dlq", "list"]);
    assert_eq!((letters["items"].as_array().map(Vec::len), code), (Some(failing), 0), "{letters:#}");
    let (page, _) = json(&rig, &["dlq", "list", "--limit", "7", "--stage", "turn"]);
    let cursor = page["next_cursor"].as_str().expect("there is another page").to_owned();
    let (rest, _) = json(&rig, &["dlq", "list", "--limit", "7", "--stage", "turn", "--cursor", &cursor]);
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(failing - 7), &Value::Null));
    let (mine, _) = json(&rig, &["dlq", "list", "--user", "ben", "--class", "rejected"]);
    assert_eq!(mine["items"].as_array().map(Vec::len), Some(2), "{mine:#}");

    let (draft, code) = json(&rig, &["replay", "--plan", "--since", "1h"]);
    assert_eq!((number(&draft, "/draft/summary/messages"), code), (failing as u64, 0));
    assert_eq!(number(&draft, "/draft/summary/conversations"), 4);
    assert_eq!(number(&draft, "/draft/summary/stages/turn"), failing as u64);
    let first = &draft["draft"]["items"][0];
    assert!(first["now"]["line"].as_str().is_some_and(|line| line.starts_with("[Username: @")), "{first:#}");
    assert_eq!(first["then"]["line"], first["now"]["line"]);
    assert!(rig.succeeds(&["dlq", "list"]).lines().count() > failing, "a plan moves nothing");

    // The broker is away: what is replayed waits for it, and nothing else does. The operator's own process is killed too.
    let plan = draft["plan"].as_str().expect("it is a plan").to_owned();
    rig.nats.node_mut(0).kill9();
    let mut cut_off = rig.spawn("cut-off", &["replay", "--apply", &plan, "--rate", "5"], &[]);
    eventually("some are replayed", PATIENCE, || applied(&store, &plan)).await;
    cut_off.kill9();
    let (report, code) = json(&rig, &["replay", "--apply", &plan, "--rate", "50/s"]);
    let (now, before) = (number(&report, "/report/replayed"), number(&report, "/report/replayed_before"));
    assert_eq!((now + before, code), (failing as u64, 0), "{report:#}");
    assert!(now > 0 && before >= 3, "{report:#}");
    let (again, code) = json(&rig, &["replay", "--apply", &plan]);
    assert_eq!((number(&again, "/report/replayed"), number(&again, "/report/replayed_before")), (0, failing as u64));
    assert_eq!(code, 0, "twice is harmless");
    rig.nats.node_mut(0).restart();

    eventually("everything is answered", PATIENCE, || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let answered = rig.platform.log().len();
        async move { answered >= 24 }
    })
    .await;
    eventually("all is over", PATIENCE, || all_over(&store)).await;
    for (user, got) in answers(&rig) {
        let order = [0, 2, 5, 1, 3, 4].map(|m| format!("{user}-{m}"));
        assert_eq!(got, order, "each once, and the replayed ones in their order at the end");
    }
    let (letters, _) = json(&rig, &["dlq", "list"]);
    assert_eq!(letters["items"].as_array().map(Vec::len), Some(0), "{letters:#}");
    assert_eq!(workers.replaced + plugin.replaced, 0, "everybody lived through it");
    rig.succeeds(&["check"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_on_sqlite() {
    a_plan_brings_back_what_it_showed(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_on_postgres() {
    a_plan_brings_back_what_it_showed(Database::Postgres).await;
}

struct Running {
    /// Before the rig, whose folder has their logs.
    _processes: Vec<Process>,
    rig: Rig,
}

async fn running(database: Database) -> Running {
    let rig = rig(database).await;
    Running { _processes: vec![rig.plugin("plugin"), rig.worker("worker")], rig }
}

/// The person blocked the bot: the answer is there, and only its delivery is made up for.
async fn an_answer_is_delivered_later(database: Database) {
    let Running { rig, _processes } = running(database).await;
    let (store, bus) = (rig.store().await, rig.bus().await);
    rig.platform.script(|script| script.blocked.extend(["ann".to_owned()]));
    rig.platform.say("ann", "while blocked");
    let message = answer_in(&store, "ann", "while blocked", ResponseState::Dead).await;
    let id = message.id.to_string();
    let (letters, _) = json(&rig, &["dlq", "list", "--stage", "delivery", "--class", "blocked", "--contains", "WHILE"]);
    assert_eq!(letters["items"][0]["message_id"], id.as_str(), "{letters:#}");

    rig.platform.script(|script| script.blocked.clear());
    rig.platform.say("ann", "after");
    answer_in(&store, "ann", "after", ResponseState::Delivered).await;
    let (draft, _) = json(&rig, &["replay", &id, "--dry-run"]);
    assert_eq!(draft["draft"]["items"][0]["stage"], "delivery");
    let (report, code) = json(&rig, &["replay", &id]);
    assert_eq!((number(&report, "/report/replayed"), code), (1, 0), "{report:#}");
    let message = answer_in(&store, "ann", "while blocked", ResponseState::Delivered).await;
    assert_eq!((message.responses[0].attempts, message.turns.len(), message.replays.len()), (2, 1, 1));
    assert_eq!(answers(&rig)["ann"], ["after", "while blocked"]);
    assert_eq!(rig.letta.turns().len(), 2, "the agent was not asked again");

    // A second time there is nothing to bring back, unless the agent is to be asked again.
    let (refused, code) = json(&rig, &["replay", &id]);
    assert_eq!((refused["error"]["code"].as_str(), code), (Some("conflict"), 4), "{refused:#}");

    eventually("the copy is in the stream", PATIENCE, || all_over(&store)).await;
    let (purged, code) = json(&rig, &["dlq", "purge", "--older-than", "0s"]);
    assert_eq!((number(&purged, "/letters"), number(&purged, "/copies"), code), (1, 1, 0), "{purged:#}");
    let (purged, _) = json(&rig, &["dlq", "purge", "--older-than", "0s"]);
    assert_eq!((number(&purged, "/letters"), number(&purged, "/copies")), (0, 0), "{purged:#}");
    let letter = subject::dead_letter("delivery", &message.instance, message.id);
    assert_eq!(bus.purge(subject::STREAM_DLQ, &letter).await.expect("NATS answers"), 0, "the copy was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_on_sqlite() {
    an_answer_is_delivered_later(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_on_postgres() {
    an_answer_is_delivered_later(Database::Postgres).await;
}

async fn an_edit_and_what_is_refused(rig: &Rig) {
    let store = rig.store().await;
    let wrong = "teh qestion #letta(http=400 x9)";
    rig.platform.say("ann", wrong);
    let message = message_in(&store, "ann", wrong, MessageState::Failed).await;
    let id = message.id.to_string();

    let (report, code) = json(rig, &["replay", "--edit", &id, "--text", "the question"]);
    assert_eq!((number(&report, "/report/replayed"), code), (1, 0), "{report:#}");
    answer_in(&store, "ann", "the question", ResponseState::Delivered).await;
    assert_eq!(answers(rig)["ann"], ["the question"]);
    let (shown, _) = json(rig, &["message", "show", &id]);
    assert_eq!((shown["text"].as_str(), shown["replays"][0]["was_text"].as_str()), (Some("the question"), Some(wrong)));
    let text = rig.succeeds(&["dlq", "show", &id]);
    assert!(text.contains("dead letter   no") && text.contains(&format!("text before   {wrong}")), "{text}");

    let nobody = "01900000-0000-7000-8000-000000000000";
    let other = "another #letta(http=400 x9)";
    rig.platform.say("ann", other);
    let other = message_in(&store, "ann", other, MessageState::Failed).await.id.to_string();
    for (args, wanted) in [
        (&["replay", nobody][..], 3),
        (&["replay", &id], 4),
        (&["replay", "--apply", nobody], 3),
        (&["replay"], 2),
        (&["replay", "--user", "ann"], 2),
        (&["replay", &id, "--user", "ann"], 2),
        (&["replay", "--edit", &id, "--text", " "], 2),
        (&["dlq", "show", nobody], 3),
        (&["dlq", "resolve"], 2),
        (&["dlq", "resolve", &id], 3),
        (&["dlq", "resolve", &id, &other, "--note", "known"], 7),
        (&["replay", "--plan", "--user", "ann"], 0),
        (&["replay", nobody, &other], 7),
    ] {
        let (answer, code) = json(rig, args);
        assert_eq!(code, wanted, "broca {args:?}: {answer:#}");
    }
    let record = message_in(&store, "ann", "another #letta(http=400 x9)", MessageState::Failed).await;
    assert_eq!((record.replays.len(), record.turns.len()), (1, 2), "it failed once more: {record:?}");
    let (letters, _) = json(rig, &["dlq", "list"]);
    assert_eq!(letters["items"][0]["replays"], 1, "which is another letter than the resolved one: {letters:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_on_sqlite() {
    let running = running(Database::Sqlite).await;
    an_edit_and_what_is_refused(&running.rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_on_postgres() {
    let running = running(Database::Postgres).await;
    an_edit_and_what_is_refused(&running.rig).await;
}
