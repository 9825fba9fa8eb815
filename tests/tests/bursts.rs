//! Several messages in one turn, and turns that are stopped, with real processes that are killed in between.

use std::time::Duration;

use broca_core::{MessageState, ResponseState, TurnState};
use broca_pipeline::crash::CrashPoint;
use broca_rehearsal::letta::Behaviour;
use broca_store::{MessageRecord, Store};
use broca_tests::{
    Database, Process, Rig, RigOptions, Verdict, all_over, answer_in, eventually, message_in, message_of,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const BOTH: [Database; 2] = [Database::Sqlite, Database::Postgres];

fn route(more: &str) -> String {
    format!("[[routes]]\nname = \"burst\"\nplatform = \"demo\"\n{more}\n")
}

fn window(ms: u64) -> String {
    route(&format!("coalesce = {{ window_ms = {ms} }}"))
}

async fn stage(database: Database, settings: String) -> (Rig, Store) {
    let mut options = RigOptions::new(database);
    options.settings = settings;
    let rig = Rig::start(options).await;
    let store = rig.store().await;
    (rig, store)
}

fn said(rig: &Rig, count: usize) -> Vec<(String, String)> {
    rig.say(1, count)
}

async fn accepted(store: &Store, said: &[(String, String)]) {
    for (user, text) in said {
        eventually("it is accepted", PATIENCE, || async { message_of(store, user, text).await.is_some() }).await;
    }
}

async fn all_completed(store: &Store, said: &[(String, String)]) -> Vec<MessageRecord> {
    let mut messages = Vec::new();
    for (user, text) in said {
        messages.push(message_in(store, user, text, MessageState::Completed).await);
    }
    eventually("everything is over", PATIENCE, || all_over(store)).await;
    messages
}

fn clean(rig: &Rig, said: &[(String, String)]) {
    let verdict = Verdict::of(rig, said);
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(rig.is_sound(), Ok(()));
}

/// `broca explain --json`
fn explained(rig: &Rig, message: &MessageRecord) -> Value {
    serde_json::from_str(&rig.succeeds(&["explain", &message.id.to_string(), "--json"])).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_one_turn_and_each_message_is_completed() {
    for database in BOTH {
        let (rig, store) = stage(database, window(2_500)).await;
        let _processes = [rig.plugin("plugin"), rig.worker("worker")];
        let said = said(&rig, 5);
        accepted(&store, &said[..1]).await;
        let first = message_of(&store, &said[0].0, &said[0].1).await.expect("it is there");
        eventually("it waits for more", PATIENCE, || async { explained(&rig, &first)["verdict"] == "gathering" }).await;
        let messages = all_completed(&store, &said).await;
        let turns = rig.letta.turns();
        assert_eq!(turns.len(), 1, "{turns:?}");
        let text: Vec<String> = said.iter().map(|(_, t)| format!("[Username: @u00, Demo ID: u00] {t}")).collect();
        assert_eq!(turns[0].text, text.join("\n\n"), "each with its own header");
        clean(&rig, &said);
        let (last, others) = messages.split_last().expect("five");
        assert_eq!((rig.platform.log().len(), last.responses.len()), (1, 1), "one answer, to the last one");
        for message in others {
            assert_eq!((message.answered_with, message.attempts), (Some(last.id), 1));
            let why = explained(&rig, message);
            assert_eq!((&why["verdict"], &why["message"]), (&"answered_with".into(), &last.id.to_string().into()));
            let shown = rig.succeeds(&["message", "show", &message.id.to_string()]);
            assert!(shown.contains("said in one turn with others") && shown.contains("of 5"), "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_in_a_joint_turn_it_is_asked_and_answered_once() {
    use CrashPoint::{AgentAnswered, Claimed, RunKnown, TurnFinished, TurnStarted};
    for (n, point) in [Claimed, TurnStarted, RunKnown, AgentAnswered, TurnFinished].into_iter().enumerate() {
        let (rig, store) = stage(BOTH[n % 2], window(1_000)).await;
        let _plugin = rig.plugin("plugin");
        let said = said(&rig, 4);
        accepted(&store, &said).await;
        let mut first = rig.spawn("first", &["worker"], &[("BROCA_CRASH_AT", point.name())]);
        assert!(first.wait(PATIENCE).is_some(), "it dies at {}", point.name());
        let _second = rig.worker("second");
        let messages = all_completed(&store, &said).await;
        assert_eq!(rig.letta.turns().len(), 1, "{}", point.name());
        clean(&rig, &said);
        let turns: Vec<_> = messages.iter().map(|message| (message.turns.len(), message.turns[0].id)).collect();
        assert!(turns.iter().all(|turn| *turn == turns[0]), "{}: {turns:?}", point.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_a_joint_turn_leaves_it_to_the_next() {
    let (rig, store) = stage(Database::Postgres, window(500)).await;
    let _plugin = rig.plugin("plugin");
    let mut first = rig.worker("first");
    rig.letta.push(Behaviour::Takes(3_000));
    let said = said(&rig, 5);
    message_in(&store, &said[4].0, &said[4].1, MessageState::Processing).await;
    eventually("the agent has it", PATIENCE, || async { rig.letta.arrived() > 0 }).await;
    first.kill9();
    let _second = rig.worker("second");
    all_completed(&store, &said).await;
    assert_eq!(rig.letta.turns().len(), 1);
    clean(&rig, &said);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_message_ends_the_window() {
    for database in BOTH {
        let (rig, store) = stage(database, window(600_000)).await;
        let _processes = [rig.plugin("plugin"), rig.worker("worker")];
        for text in ["ann-1", "ann-2"] {
            rig.platform.say("ann", text);
            message_in(&store, "ann", text, MessageState::Received).await;
        }
        assert!(rig.letta.turns().is_empty());
        rig.platform.say("ann", "ann-3 now?");
        answer_in(&store, "ann", "ann-3 now?", ResponseState::Delivered).await;
        assert_eq!(rig.letta.turns().len(), 1);
        let said = ["ann-1", "ann-2", "ann-3 now?"].map(|text| ("ann".to_owned(), text.to_owned()));
        all_completed(&store, &said).await;
        clean(&rig, &said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_piles_up_behind_a_turn_is_the_next_one() {
    let (rig, store) = stage(Database::Sqlite, route("busy = \"collect\"")).await;
    let _processes = [rig.plugin("plugin"), rig.worker("worker")];
    rig.letta.push(Behaviour::Takes(2_000));
    let first = rig.say(1, 1);
    message_in(&store, "u00", "u00-m000", MessageState::Processing).await;
    let more: Vec<_> = (1..=4).map(|n| ("u00".to_owned(), format!("u00-m00{n}"))).collect();
    for (user, text) in &more {
        rig.platform.say(user, text);
    }
    let said = [first, more].concat();
    all_completed(&store, &said).await;
    assert_eq!(rig.letta.turns().len(), 2, "the first alone, and the others together");
    clean(&rig, &said);
}

/// The first message's turn is under way at an agent that takes its time.
async fn interrupted(rig: &Rig, store: &Store) {
    rig.letta.push(Behaviour::Takes(6_000));
    rig.platform.say("ann", "ann-1");
    let known =
        async || message_of(store, "ann", "ann-1").await.is_some_and(|m| m.turns.iter().any(|t| t.run.is_some()));
    eventually("the agent works on it", PATIENCE, known).await;
    rig.platform.say("ann", "ann-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_message_interrupts_and_both_are_answered_together() {
    for database in BOTH {
        let (rig, store) = stage(database, route("busy = \"interrupt\"")).await;
        let _processes = [rig.plugin("plugin"), rig.worker("worker")];
        interrupted(&rig, &store).await;
        let second = answer_in(&store, "ann", "ann-2", ResponseState::Delivered).await;
        let first = message_in(&store, "ann", "ann-1", MessageState::Completed).await;
        let turns: Vec<_> = first.turns.iter().map(|turn| (turn.state, turn.messages)).collect();
        assert_eq!(turns, [(TurnState::Cancelled, 1), (TurnState::Answered, 2)], "{first:?}");
        assert_eq!((first.answered_with, second.attempts), (Some(second.id), 1));
        assert_eq!(rig.platform.log().len(), 1, "one answer");
        assert!(rig.platform.log()[0].text.contains("ann-1\n\n["), "{:?}", rig.platform.log());
        eventually("everything is over", PATIENCE, || all_over(&store)).await;
        assert_eq!(rig.is_sound(), Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_survives_the_worker() {
    for (n, point) in [CrashPoint::StopAsked, CrashPoint::Stopped].into_iter().enumerate() {
        let (rig, store) = stage(BOTH[n % 2], route("busy = \"interrupt\"")).await;
        let _plugin = rig.plugin("plugin");
        let mut first = rig.spawn("first", &["worker"], &[("BROCA_CRASH_AT", point.name())]);
        interrupted(&rig, &store).await;
        assert!(first.wait(PATIENCE).is_some(), "it dies at {}", point.name());
        let _second = rig.worker("second");
        answer_in(&store, "ann", "ann-2", ResponseState::Delivered).await;
        let first = message_in(&store, "ann", "ann-1", MessageState::Completed).await;
        let states: Vec<_> = first.turns.iter().map(|turn| turn.state).collect();
        assert_eq!(states, [TurnState::Cancelled, TurnState::Answered], "{}: {first:?}", point.name());
        eventually("everything is over", PATIENCE, || all_over(&store)).await;
        assert_eq!((rig.platform.log().len(), rig.is_sound()), (1, Ok(())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_has_heard_is_not_said_again() {
    let mut options = RigOptions::new(Database::Sqlite);
    options.settings = route("busy = \"interrupt\"");
    (options.letta.min_ms, options.letta.max_ms) = (10_000, 10_000);
    let rig = Rig::start(options).await;
    let store = rig.store().await;
    let _processes = [rig.plugin("plugin"), rig.worker("worker")];
    // The message is stored with the first step, when half of the time is over.
    rig.letta.push(Behaviour::Several);
    rig.platform.say("ann", "ann-1");
    let journal = rig.folder().join("letta.jsonl");
    let stored = || {
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        async move { text.contains("user_message") }
    };
    eventually("the agent's conversation has the message", PATIENCE, stored).await;
    rig.letta.script(|script| (script.min_ms, script.max_ms) = (5, 20));
    rig.platform.say("ann", "ann-2");
    let second = answer_in(&store, "ann", "ann-2", ResponseState::Delivered).await;
    let first = message_in(&store, "ann", "ann-1", MessageState::Completed).await;
    assert_eq!((first.answered_with, first.turns.len(), second.turns[0].messages), (Some(second.id), 2, 2));
    let answer = rig.platform.log().pop().expect("it is delivered").text;
    assert!(answer.contains("ann-2") && !answer.contains("ann-1"), "{answer}");
    eventually("everything is over", PATIENCE, || all_over(&store)).await;
    assert_eq!(rig.is_sound(), Ok(()));
}

/// `broca message cancel` of a message that the agent works on.
fn cancel(rig: &Rig, message: &MessageRecord) {
    let id = message.id.to_string();
    let report: Value =
        serde_json::from_str(&rig.succeeds(&["message", "cancel", &id, "--reason", "not wanted", "--json"]))
            .expect("JSON");
    assert_eq!(report["outcome"], "stopping", "{report}");
}

async fn with_the_agent(rig: &Rig, store: &Store) -> (MessageRecord, Vec<Process>) {
    let running = vec![rig.plugin("plugin"), rig.worker("worker")];
    rig.letta.push(Behaviour::Takes(5_000));
    rig.platform.say("ann", "first");
    let message = message_in(store, "ann", "first", MessageState::Processing).await;
    eventually("the agent has it", PATIENCE, || async { rig.letta.arrived() > 0 }).await;
    (message, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_message_is_cancelled() {
    for database in BOTH {
        let (rig, store) = stage(database, String::new()).await;
        let (message, _running) = with_the_agent(&rig, &store).await;
        cancel(&rig, &message);
        let cancelled = message_in(&store, "ann", "first", MessageState::Cancelled).await;
        assert_eq!((cancelled.turns[0].state, cancelled.class.as_deref()), (TurnState::Cancelled, Some("operator")));
        assert!(cancelled.reason.as_ref().is_some_and(|reason| reason.contains("not wanted")), "{cancelled:?}");
        rig.platform.say("ann", "second");
        answer_in(&store, "ann", "second", ResponseState::Delivered).await;
        assert_eq!(rig.platform.log().len(), 1, "the first is not answered");
        eventually("everything is over", PATIENCE, || all_over(&store)).await;
        assert_eq!(rig.is_sound(), Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_be_stopped_has_its_answer_kept_back() {
    let mut options = RigOptions::new(Database::Sqlite);
    options.letta.redis = false;
    let rig = Rig::start(options).await;
    let store = rig.store().await;
    let (message, _running) = with_the_agent(&rig, &store).await;
    cancel(&rig, &message);
    let cancelled = message_in(&store, "ann", "first", MessageState::Cancelled).await;
    assert!(cancelled.reason.as_ref().is_some_and(|reason| reason.contains("kept back")), "{cancelled:?}");
    assert_eq!((rig.letta.turns().len(), cancelled.responses.len()), (1, 0), "the agent answered all the same");
    rig.platform.say("ann", "second");
    answer_in(&store, "ann", "second", ResponseState::Delivered).await;
    assert_eq!(rig.platform.log().len(), 1);
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_together_is_replayed_one_by_one() {
    let (rig, store) = stage(Database::Sqlite, window(1_500)).await;
    let _processes = [rig.plugin("plugin"), rig.worker("worker")];
    let doomed = format!("ann-2 {}", broca_tests::DOOMED);
    for text in ["ann-1", &doomed, "ann-3"] {
        rig.platform.say("ann", text);
    }
    let mut failed = Vec::new();
    for text in ["ann-1", &doomed, "ann-3"] {
        failed.push(message_in(&store, "ann", text, MessageState::Failed).await);
    }
    assert!(failed.iter().all(|message| message.turns[0].id == failed[0].turns[0].id), "{failed:?}");
    let list: Value = serde_json::from_str(&rig.succeeds(&["dlq", "list", "--json"])).expect("JSON");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3), "{list}");
    for (text, state) in
        [("ann-3", MessageState::Completed), (&doomed, MessageState::Failed), ("ann-1", MessageState::Completed)]
    {
        let id = message_of(&store, "ann", text).await.expect("it is there").id.to_string();
        rig.succeeds(&["replay", &id]);
        let again =
            || async { message_of(&store, "ann", text).await.is_some_and(|m| m.state == state && m.turns.len() == 2) };
        eventually("it has had a turn of its own", PATIENCE, again).await;
        let turns = message_of(&store, "ann", text).await.expect("it is there").turns;
        assert_eq!(turns[1].messages, 1, "{text}");
    }
    eventually("everything is over", PATIENCE, || all_over(&store)).await;
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_one_turn_when_somebody_says_so() {
    for database in BOTH {
        let (rig, store) = stage(database, String::new()).await;
        let _plugin = rig.plugin("plugin");
        let said = said(&rig, 30);
        accepted(&store, &said).await;
        let conversation = message_of(&store, &said[0].0, &said[0].1).await.expect("it is there").conversation_id;
        let joined = store.join_waiting(&[conversation]).await.expect("the store answers");
        assert_eq!(joined, [(conversation, 30)]);
        let _worker = rig.worker("worker");
        all_completed(&store, &said).await;
        assert_eq!(rig.letta.turns().len(), 1);
        clean(&rig, &said);
    }
}
