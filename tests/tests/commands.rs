//! Broca as somebody uses it from a shell: one folder, `broca up`, and the other commands beside it.

use std::{fs, time::Duration};

use broca_tests::{Home, Process, Said, documented, eventually, shape};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that takes its time, and leases that are short enough for a test.
const SLOW: &str = r#"
mode = "live"
[agents.default]
kind = "echo"
delay_ms = 2000
[worker]
lease_ttl_ms = 1500
sweep_interval_ms = 200
[up]
workers = 1
"#;

async fn ends_and_leaves_nothing(home: &Home, up: &mut Process) {
    assert_eq!(up.stop(PATIENCE).map(|status| status.code()), Some(Some(0)), "{}", up.output());
    assert_eq!(home.processes(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_hour() {
    let home = Home::new("");
    let mut up = home.up(&[]).await;
    let ready = up.output();
    let line = ready.lines().find(|line| line.starts_with("Broca is ready: ")).expect("the readiness line");
    for part in ["2 workers", "plugins: cli", "NATS 2.", "SQLite in "] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    sends_and_chats(&home);
    looks(&home);
    keeps_the_broker_in_line(&home);

    let second = home.run(&["up"]);
    assert!(second.code == 4 && second.stderr.contains(&format!("process {} already runs", up.pid())), "{second:?}");
    assert_eq!(home.run(&["send", "--as", "alice", "still there"]).code, 0);
    ends_and_leaves_nothing(&home, &mut up).await;
}

fn sends_and_chats(home: &Home) {
    let sent = home.run(&["send", "--as", "alice", "hi"]);
    let hello = "[Username: @alice, CLI ID: alice] hi";
    assert_eq!((sent.code, sent.stdout.as_str(), sent.stderr.as_str()), (0, &*format!("{hello}\n"), ""));
    let json = home.run(&["send", "--as", "alice", "hi", "--json"]).json();
    let keys: Vec<_> = json.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["answer", "message_id", "state"]);
    assert_eq!((&json["answer"], &json["state"]), (&hello.into(), &"completed".into()));
    let empty = home.run(&["send", "--as", "alice", " "]);
    assert!(empty.code == 2 && empty.stderr.contains("the message is empty"), "{empty:?}");
    let dashed = home.run(&["send", "--as", "alice", "--", "--json"]);
    assert!(dashed.code == 0 && dashed.stdout.ends_with("] --json\n"), "{dashed:?}");

    let chat = home.run_with(&["chat", "--as", "bob"], "one\n\ntwo\nthree");
    let answers = ["one", "two", "three"].map(|text| format!("[Username: @bob, CLI ID: bob] {text}\n")).concat();
    assert_eq!((chat.code, chat.stdout.as_str(), chat.stderr.as_str()), (0, answers.as_str(), ""));
    let long = "x".repeat(70_000);
    let partly = home.run_with(&["chat", "--as", "bob"], &format!("four\n{long}\nfive\n"));
    assert!(partly.code == 7 && partly.stdout.lines().count() == 2, "{partly:?}");
    assert!(partly.stderr.contains("2 messages were answered, 1 failed, 0 are open"), "{}", partly.stderr);
}

fn looks(home: &Home) {
    let json = home.run(&["send", "--as", "carol", "look at me", "--json"]).json();
    let id = json["message_id"].as_str().expect("an id");
    // The answer is printed here before its receipt is written down.
    let watched = home.run(&["message", "show", id, "--watch"]);
    assert!(watched.code == 0 && watched.stdout.contains("delivered, receipt terminal\n"), "{watched:?}");
    let shown = home.run(&["message", "show", id]);
    for part in [id, "completed", "carol on cli", "look at me", "attempt 1", "delivered"] {
        assert!(shown.code == 0 && shown.stdout.contains(part), "{part} is not in {shown:?}");
    }
    assert_eq!(shape(&shown.stdout), shape(&documented("broca message show")), "{}", shown.stdout);
    let record = home.run(&["message", "show", id, "--json"]).json();
    assert_eq!((&record["id"], &record["turns"][0]["state"]), (&id.into(), &"answered".into()));
    let missing = home.run(&["message", "show", "01a205ff-1364-71f9-abe3-141f16fdfaaa"]);
    assert!(missing.code == 3 && missing.stderr.contains("there is no message"), "{missing:?}");

    let status = home.run(&["status"]);
    for part in ["messages", "9 completed", "people", "workers", "out-cli", "worker-2", "NATS", "0 of 1000"] {
        assert!(status.code == 0 && status.stdout.contains(part), "{part} is not in {status:?}");
    }
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["status"]["counts"]["messages"]["completed"], 9);
    assert_eq!(status["status"]["counts"]["pending_conversations"], 0);
    let pace = &status["status"]["pace"];
    assert_eq!(pace["workers"].as_array().map(Vec::len), Some(2), "{pace}");
    assert_eq!((&pace["workers"][0]["alive"], &pace["endpoints"]), (&true.into(), &serde_json::json!([])));
    let names: Vec<_> = status["processes"].as_array().expect("a list").iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["nats", "worker-1", "worker-2", "cli"]);
}

fn keeps_the_broker_in_line(home: &Home) {
    let apply = |args: &[&str]| home.run(&[&["nats", "apply"], args].concat());
    let unchanged = |said: &Said| said.code == 0 && said.stdout.lines().all(|line| line.contains("unchanged"));
    for _ in 0..2 {
        let again = apply(&[]);
        assert!(unchanged(&again) && again.stdout.lines().count() >= 7, "{again:?}");
    }
    assert_eq!(apply(&["--check"]).code, 0);

    let files = home.path().join("other/streams");
    fs::create_dir_all(&files).expect("a folder is made");
    let stream = include_str!("../../nats/streams/BROCA_DLQ.json").replace("1073741824", "536870912");
    fs::write(files.join("BROCA_DLQ.json"), stream).expect("a file is written");
    for (check, code) in [(true, 1), (false, 0)] {
        let args = ["--files", "other", "--check"];
        let said = apply(&args[..if check { 3 } else { 2 }]);
        assert!(
            said.code == code && said.stdout.contains("BROCA_DLQ") && said.stdout.contains("max_bytes"),
            "{said:?}"
        );
    }
    let drifted = apply(&["--check"]);
    assert!(drifted.code == 1 && drifted.stderr.contains("broca nats apply"), "{drifted:?}");
    assert_eq!(apply(&[]).code, 0);
    assert!(unchanged(&apply(&["--check"])));
}

#[test]
fn where_nothing_runs() {
    let home = Home::new("");
    for args in [&["send", "--as", "alice", "hi"][..], &["chat", "--as", "alice"], &["status"], &["nats", "apply"]] {
        let said = home.run(args);
        assert!(said.code == 6 && said.stdout.is_empty() && said.stderr.contains("broca up"), "{args:?}: {said:?}");
    }
    for args in [&[][..], &["send"], &["send", "hi"], &["message", "show", "seven"], &["up", "--mode", "loud"]] {
        let said = home.run(args);
        let helps = said.stderr.contains("Usage: broca") || said.stderr.contains("try '--help'");
        assert!(said.code == 2 && said.stdout.is_empty() && helps, "{args:?}: {said:?}");
    }
    let timeless = home.run(&["send", "--as", "alice", "hi", "--timeout", "soon"]);
    assert!(timeless.code == 2 && timeless.stderr.contains("'soon' is no duration"), "{timeless:?}");
}

#[test]
fn secrets_stay_secret_and_placeholders_are_refused() {
    const SECRETS: [&str; 4] = ["hunter2-key", "hunter2-db", "hunter2-nats", "hunter2-file"];
    let home = Home::new("");
    fs::write(home.path().join("key"), "hunter2-file\n").expect("a file is written");
    home.settings(
        "[agents.default]\nendpoint = 'http://127.0.0.1:1'\nagent_id = 'agent-1'\napi_key = 'hunter2-key'\n\
         [agents.second]\nendpoint = 'http://127.0.0.1:1'\nagent_id = 'agent-2'\napi_key_file = 'key'\n\
         [database]\nurl = 'postgres://broca:hunter2-db@127.0.0.1:1/broca'\n\
         [nats]\nurl = 'nats://127.0.0.1:1'\nuser = 'u'\npassword = 'hunter2-nats'\n",
    );
    // What fails shows no more than what succeeds.
    for (args, code) in [
        (&["config", "show"][..], 0),
        (&["config", "show", "--json"], 0),
        (&["migrate"], 6),
        (&["migrate", "--json"], 6),
        (&["config", "show", "--log-level", "trace"], 0),
    ] {
        let said = home.run(args);
        assert_eq!(said.code, code, "{args:?}: {said:?}");
        for secret in SECRETS {
            let shown = format!("{}{}", said.stdout, said.stderr);
            assert!(!shown.contains(secret), "{args:?} shows {secret}");
        }
    }
    assert!(home.run(&["config", "show"]).stdout.contains("agents.default.api_key"));

    let placeholder =
        "[agents.default]\nendpoint = 'http://127.0.0.1:1'\nagent_id = 'agent-1'\napi_key = 'your_api_key'\n";
    home.settings(placeholder);
    let refused = home.run(&["up"]);
    assert!(refused.code == 2 && refused.stderr.contains("agents.default.api_key"), "{refused:?}");
    assert!(refused.stderr.contains("placeholder") && !refused.stderr.contains("your_api_key"), "{refused:?}");
    home.settings(&format!("mode = 'echo'\n{placeholder}"));
    assert_eq!(home.run(&["config", "show"]).code, 0);
}

/// A message whose answer takes longer than its sender waits; its id.
fn impatient(home: &Home, text: &str) -> String {
    let said = home.run(&["send", "--as", "alice", text, "--timeout", "500ms"]);
    assert!(said.code == 6 && said.stderr.contains("is accepted and goes on"), "{said:?}");
    let id = said.stderr.split_whitespace().find(|word| word.len() == 36 && word.matches('-').count() == 4);
    id.unwrap_or_else(|| panic!("no message id: {said:?}")).to_owned()
}

fn record(home: &Home, id: &str) -> Value {
    home.run(&["message", "show", id, "--json"]).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_die_and_an_up_that_is_stopped_or_killed() {
    let home = Home::new(SLOW);
    let mut up = home.up(&[]).await;

    // Killed with a message in its hands: the next one answers it, in its turn.
    let id = impatient(&home, "worker, wait");
    let (worker, _) = home.process("worker-1").expect("a worker runs");
    assert_eq!(record(&home, &id)["state"], "processing");
    kill(Pid::from_raw(i32::try_from(worker).expect("a pid")), Signal::SIGKILL).expect("the worker is there");
    eventually("it is answered", PATIENCE, || async { record(&home, &id)["state"] == "completed" }).await;
    let (other, restarts) = home.process("worker-1").expect("a worker runs");
    assert!(other != worker && restarts == 1, "{other} after {restarts} restarts");

    // Stopped with a message in its hands: the turn ends first, and the answer goes out with the next start.
    let id = impatient(&home, "stop, wait");
    ends_and_leaves_nothing(&home, &mut up).await;
    let drained = record(&home, &id);
    assert_eq!((&drained["state"], &drained["attempts"]), (&"completed".into(), &1.into()), "{drained}");

    // Killed outright: nothing of it is left, and the next start goes on where it was.
    let mut up = home.up(&[]).await;
    let killed = impatient(&home, "kill, wait");
    up.kill9();
    eventually("its processes are gone", PATIENCE, || async { home.processes().is_empty() }).await;
    let mut up = home.up(&[]).await;
    for id in [&id, &killed] {
        let delivered = || async { record(&home, id)["responses"][0]["state"] == "delivered" };
        eventually("it is answered and delivered", PATIENCE, delivered).await;
    }
    ends_and_leaves_nothing(&home, &mut up).await;
}
