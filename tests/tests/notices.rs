//! A message that finally failed: its person is told once, whoever is killed in between, and it is no answer.

use std::time::Duration;

use broca_core::{MessageState, ResponseKind, ResponseState};
use broca_tests::{Crew, Database, NOTICE, Rig, RigOptions, Verdict, all_over, answer_in, eventually, message_in};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a command prints with `--json`, and its exit code.
fn json(rig: &Rig, args: &[&str]) -> (Value, i32) {
    let output = rig.run(&[args, &["--json"]].concat());
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("broca {args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap_or(-1))
}

fn texts(rig: &Rig, user: &str) -> Vec<String> {
    rig.platform.log().into_iter().filter(|sent| sent.user == user).map(|sent| sent.text).collect()
}

async fn a_person_is_told_once(database: Database) {
    let mut options = RigOptions::new(database);
    options.settings = format!(
        "[notice]\nenabled = true\ntext = \"{NOTICE} sorry\"\n[notice.texts]\nrejected = \"{NOTICE} refused\"\n"
    );
    let rig = Rig::start(options).await;
    let once = |point: &'static str| {
        let marker = rig.folder().join(point);
        (point, marker.to_str().expect("a plain path").to_owned(), marker)
    };
    // The worker dies between the end of the turn and its publishes, the plugin between the send and its receipt.
    let (finished, mark, worker_died) = once("turn-finished");
    let mut workers = Crew::workers(&rig, 2, &[("BROCA_CRASH_AT", finished), ("BROCA_CRASH_ONCE", &mark)]);
    let (sent, mark, plugin_died) = once("platform-sent");
    let mut plugin = Crew::plugin(&rig, &[("BROCA_CRASH_AT", sent), ("BROCA_CRASH_ONCE", &mark)]);
    rig.platform.script(|script| script.blocked.extend(["ben".to_owned()]));
    let store = rig.store().await;
    let wrong = "ann-m1 #letta(http=400 x9)";
    rig.platform.say("ann", wrong);
    eventually("she is told", PATIENCE, || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let told = !texts(&rig, "ann").is_empty();
        async move { told }
    })
    .await;
    // Whoever blocked us cannot be told, and that is no dead letter of its own.
    rig.platform.say("ben", "ben-m1 #letta(http=400 x9)");
    rig.platform.say("ann", "ann-m2");
    eventually("both are over", PATIENCE, || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let store = store.clone();
        async move {
            let counts = store.counts().await.expect("the store answers");
            counts.messages.values().sum::<i64>() == 3 && all_over(&store).await
        }
    })
    .await;
    let ben = message_in(&store, "ben", "ben-m1 #letta(http=400 x9)", MessageState::Failed).await;
    answer_in(&store, "ann", "ann-m2", ResponseState::Delivered).await;
    assert!(worker_died.exists() && plugin_died.exists(), "somebody died at each of the two points");
    assert_eq!(texts(&rig, "ann")[0], format!("{NOTICE} refused"), "by the class of the failure");
    let verdict = Verdict::of(&rig, &[("ann".to_owned(), "ann-m2".to_owned())]);
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(verdict.notices, ["ann"], "once");

    let ann = message_in(&store, "ann", wrong, MessageState::Failed).await;
    let kinds = |record: &broca_store::MessageRecord| -> Vec<_> {
        record.responses.iter().map(|response| (response.kind, response.state)).collect()
    };
    assert_eq!(kinds(&ann), [(ResponseKind::Notice, ResponseState::Delivered)]);
    let ben = store.message(ben.id).await.expect("the store answers").expect("it is there");
    assert_eq!(kinds(&ben), [(ResponseKind::Notice, ResponseState::Dead)]);
    let (letters, _) = json(&rig, &["dlq", "list"]);
    let stages: Vec<_> = letters["items"].as_array().into_iter().flatten().map(|letter| &letter["stage"]).collect();
    assert_eq!(stages, ["turn", "turn"], "{letters:#}");
    assert_eq!(rig.nats.messages_in("BROCA_DLQ").expect("the stream is there"), 2);

    let id = ann.id.to_string();
    let (explained, _) = json(&rig, &["explain", &id]);
    assert!(explained["sentence"].as_str().is_some_and(|s| s.ends_with("; the person was told so")), "{explained:#}");
    let shown = rig.succeeds(&["message", "show", &id]);
    for line in
        ["notice        ", "the person is told, by a notice", "notice confirmed by the broker", "notice delivered"]
    {
        assert!(shown.contains(line), "'{line}' is missing:\n{shown}");
    }
    assert!(rig.succeeds(&["status"]).contains("notices         1 dead, 1 delivered"), "{}", rig.succeeds(&["status"]));
    assert_eq!(rig.is_sound(), Ok(()));

    // A replay brings the real answer, and the notice stays what it was.
    let (report, code) = json(&rig, &["replay", "--edit", &id, "--text", "ann-m3"]);
    assert_eq!(code, 0, "{report:#}");
    let ann = answer_in(&store, "ann", "ann-m3", ResponseState::Delivered).await;
    assert_eq!(kinds(&ann)[0], (ResponseKind::Notice, ResponseState::Delivered));
    let (explained, _) = json(&rig, &["explain", &id]);
    assert_eq!(explained["verdict"], "delivered", "{explained:#}");
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    a_person_is_told_once(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    a_person_is_told_once(Database::Postgres).await;
}
