//! What is over goes while messages flow; a person is forgotten in the middle of a flood; the archive has everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    time::{Duration, Instant},
};

use broca_core::{Incoming, MessageId, MessageState, Sender, TraceParent, route::Scope, subject};
use broca_store::{Accepted, Admission, NewMessage, Store};
use broca_tests::{Database, Process, Rig, RigOptions, all_over, comes_to_rest, eventually, message_in};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    /// Before the rig, whose folder has their logs.
    _processes: Vec<Process>,
    rig: Rig,
    store: Store,
}

impl Stage {
    async fn set(database: Database, settings: &str) -> Self {
        let rig = Rig::start(RigOptions { settings: settings.to_owned(), ..RigOptions::new(database) }).await;
        let store = rig.store().await;
        let processes = vec![rig.worker("worker-1"), rig.worker("worker-2"), rig.plugin("plugin")];
        Self { _processes: processes, rig, store }
    }

    /// How often each person got each answer.
    fn answers(&self) -> BTreeMap<(String, String), usize> {
        let mut answers = BTreeMap::new();
        for sent in self.rig.platform.log() {
            let said = sent.text.rsplit("] ").next().unwrap_or_default().to_owned();
            *answers.entry((sent.user, said)).or_default() += 1;
        }
        answers
    }

    async fn all_answered(&self, said: &[(String, String)]) {
        eventually("everything is answered", PATIENCE, || async {
            let answers = self.answers();
            said.iter().all(|line| answers.contains_key(line))
        })
        .await;
        eventually("all is over", PATIENCE, || all_over(&self.store)).await;
        let answers = self.answers();
        assert!(said.iter().all(|line| answers[line] == 1), "each once: {answers:?}");
    }

    /// What a command prints with `--json`, and its exit code.
    fn json(&self, args: &[&str]) -> (Value, i32) {
        let output = self.rig.run(&[args, &["--json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("broca {args:?}: {why}\n{error}"));
        (value, output.status.code().unwrap_or(-1))
    }
}

async fn what_is_over_goes_while_messages_flow(database: Database) {
    let stage = Stage::set(database, "[retention]\ninterval_s = 1\nmax_messages = 20\n").await;
    let (rig, store) = (&stage.rig, &stage.store);
    let first = rig.platform.say("u00", "u00-first");
    let said = [vec![("u00".to_owned(), "u00-first".to_owned())], rig.say(6, 20)].concat();
    stage.all_answered(&said).await;
    eventually("only the newest are kept", PATIENCE, || async {
        store.kept().await.is_ok_and(|kept| kept.messages <= 20)
    })
    .await;
    assert_eq!(rig.is_sound(), Ok(()));
    if database == Database::Postgres {
        assert_eq!(rig.run(&["backup", "copy.db"]).status.code(), Some(4), "it has its own tools");
    }
    let (shown, _) = stage.json(&["retention", "show"]);
    assert_eq!(
        (&shown["policy"]["max_messages"], &shown["policy"]["open_dead_letters_days"]),
        (&20.into(), &Value::Null)
    );
    assert!(shown["marks"].as_i64() >= Some(100), "{shown:#}");
    let (planned, code) = stage.json(&["retention", "run", "--dry-run"]);
    assert_eq!((&planned["messages"], code), (&0.into(), 0));

    // Its platform reports the first of all again: it is known.
    let again = NewMessage {
        id: MessageId::new(),
        instance: "demo".parse().expect("a name"),
        platform: "demo".to_owned(),
        incoming: Incoming {
            event_id: first.to_string(),
            sender: Sender { platform_user_id: "u00".to_owned(), ..Sender::default() },
            text: said[0].1.clone(),
            ..Incoming::default()
        },
        route: "default".to_owned(),
        agent: "default".to_owned(),
        scope: Scope::Profile,
        trace: TraceParent::random(),
        files: Vec::new(),
        admission: Admission::Open,
    };
    let Accepted::Duplicate { message } = store.ingest(again).await.expect("the store answers") else {
        panic!("an event is accepted once")
    };
    assert!(store.message(message).await.expect("the store answers").is_none(), "its message is gone");

    // Everybody goes on where they were.
    let conversations = rig.letta.conversations().len();
    for user in ["u00", "u05"] {
        rig.platform.say(user, &format!("{user}-again"));
    }
    let more = ["u00", "u05"].map(|user| (user.to_owned(), format!("{user}-again")));
    stage.all_answered(&more).await;
    assert_eq!((conversations, rig.letta.conversations().len()), (6, 6));
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_on_sqlite() {
    what_is_over_goes_while_messages_flow(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_on_postgres() {
    what_is_over_goes_while_messages_flow(Database::Postgres).await;
}

const FORGET: [&str; 6] = ["users", "forget", "demo/u00", "--yes", "--agent", "--reason"];

async fn a_person_is_forgotten_in_mid_flood(database: Database) {
    let stage = Stage::set(database, "").await;
    let (rig, store) = (&stage.rig, &stage.store);
    rig.platform.say("u00", "u00-bad #letta(http=400)");
    message_in(store, "u00", "u00-bad #letta(http=400)", MessageState::Failed).await;
    let (who, _) = stage.json(&["users", "get", "demo/u00"]);
    let id = who["id"].as_str().expect("an id").to_owned();
    let (plan, code) = stage.json(&["users", "forget", "demo/u00"]);
    assert_eq!((&plan["found"]["messages"], &plan["forgotten"], code), (&1.into(), &Value::Null, 0));

    let mut said = Vec::new();
    let mut flood = |n: usize| {
        for user in ["u00", "u01", "u02"] {
            let text = format!("{user}-f{n}");
            rig.platform.say(user, &text);
            said.push((user.to_owned(), text));
        }
    };
    let (mut n, deadline, mut killed) = (0, Instant::now() + PATIENCE, false);
    let mut forgetting = rig.spawn("forget-0", &[FORGET.as_slice(), &["asked us to"]].concat(), &[]);
    let begun = Instant::now();
    loop {
        flood(n);
        n += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !killed && begun.elapsed() > Duration::from_millis(400) {
            killed = true;
            forgetting.kill9();
        }
        match forgetting.has_ended().map(|status| status.code()) {
            Some(Some(0)) if killed => break,
            // Somebody is at it (4), it was killed, or the person has not written since (3).
            Some(code) => {
                assert!([None, Some(0), Some(3), Some(4)].contains(&code), "{}", forgetting.output());
                assert!(Instant::now() < deadline, "{}", forgetting.output());
                forgetting = rig.spawn(&format!("forget-{n}"), &[FORGET.as_slice(), &["asked us to"]].concat(), &[]);
            }
            None => {}
        }
    }
    let others: Vec<_> = said.iter().filter(|(user, _)| user != "u00").cloned().collect();
    stage.all_answered(&others).await;
    comes_to_rest(store, &rig.bus().await, &["demo"]).await;
    assert!(stage.answers().values().all(|times| *times == 1), "nobody is answered twice");
    // Once more, for what they wrote since.
    let last = rig.run(&[FORGET.as_slice(), &["asked us to"]].concat());
    assert!([Some(0), Some(3)].contains(&last.status.code()), "{}", String::from_utf8_lossy(&last.stderr));

    assert_eq!(stage.json(&["users", "list", "--name", "u00"]).0["items"], Value::Array(Vec::new()));
    assert_eq!(store.history("demo", "u00", 500).await.expect("the store answers").len(), 0);
    let copies = rig.bus().await.purge(subject::STREAM_DLQ, "broca.dlq.*.demo.*").await.expect("NATS answers");
    assert_eq!(copies, 0, "the copy of the dead letter is gone");
    assert_eq!(rig.letta.conversations().len(), 2, "the agent has the others' conversations alone");
    let (record, code) = stage.json(&["users", "forget", &id]);
    assert_eq!((&record["forgotten"]["reason"], code), (&"asked us to".into(), 0));
    assert!(record["forgotten"]["done_at"].is_i64() || record["forgotten"]["done_at"].is_string(), "{record:#}");
    assert_eq!(stage.json(&["users", "forget", "demo/u00", "--yes"]).1, 3);
    assert_eq!(rig.is_sound(), Ok(()));

    rig.platform.say("u00", "u00-new");
    stage.all_answered(&[("u00".to_owned(), "u00-new".to_owned())]).await;
    assert_ne!(stage.json(&["users", "get", "demo/u00"]).0["id"], Value::from(id), "it is somebody new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_forgotten_on_sqlite() {
    a_person_is_forgotten_in_mid_flood(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_forgotten_on_postgres() {
    a_person_is_forgotten_in_mid_flood(Database::Postgres).await;
}

fn lines(text: &str) -> BTreeMap<String, Value> {
    let read = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("a line is an object");
        (value["id"].as_str().expect("an id").to_owned(), value)
    };
    let lines: BTreeMap<_, _> = text.lines().map(read).collect();
    assert_eq!(lines.len(), text.lines().count(), "no message has two lines");
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_has_what_message_show_has() {
    let stage = Stage::set(Database::Sqlite, "").await;
    let (rig, store) = (&stage.rig, &stage.store);
    let said = rig.say(3, 4);
    rig.platform.say("u00", "u00-bad #letta(http=400)");
    stage.all_answered(&said).await;
    message_in(store, "u00", "u00-bad #letta(http=400)", MessageState::Failed).await;
    comes_to_rest(store, &rig.bus().await, &["demo"]).await;
    // While it is written, others write.
    let more = rig.say(3, 40);
    let path = rig.folder().join("archive.jsonl");
    let file = path.to_str().expect("a plain path");
    rig.succeeds(&["export", "--to", file]);
    let archive = lines(&fs::read_to_string(&path).expect("the archive is there"));
    let texts: BTreeSet<_> = archive.values().filter_map(|line| line["text"].as_str()).collect();
    assert!(said.iter().all(|(_, text)| texts.contains(text.as_str())), "nothing is left out");
    for (id, line) in archive.iter().filter(|(_, line)| !line["finished_at"].is_null()).take(13) {
        let (mut shown, _) = stage.json(&["message", "show", id]);
        shown["schema_version"] = 1.into();
        assert_eq!(&shown, line);
    }
    assert_eq!(rig.run(&["export", "--to", file]).status.code(), Some(4), "it is there already");
    let mine = lines(&rig.succeeds(&["export", "--user", "demo/u01", "--platform", "demo", "--since", "1h"]));
    assert!(!mine.is_empty() && mine.values().all(|line| line["platform_user_id"] == "u01"));
    let mut full = rig.command(&["export"]);
    full.stdout(File::options().write(true).open("/dev/full").expect("this system has it"));
    assert_eq!(full.status().expect("the binary runs").code(), Some(7), "cut short");
    drop(more);

    let copy = rig.folder().join("copy.db");
    let path = copy.to_str().expect("a plain path");
    rig.succeeds(&["backup", path]);
    assert_eq!(rig.run(&["backup", path]).status.code(), Some(4), "it is there already");
    let mut there = rig.command(&["export"]);
    let there = there.env("BROCA_DATABASE__URL", format!("sqlite:{path}")).output().expect("the binary runs");
    let there = lines(&String::from_utf8_lossy(&there.stdout));
    assert!(archive.keys().all(|id| there.contains_key(id)), "the copy has what there was before");

    let (people, _) = stage.json(&["users", "list", "--limit", "2"]);
    let cursor = people["next_cursor"].as_str().expect("there is another page");
    let (rest, _) = stage.json(&["users", "list", "--limit", "2", "--cursor", cursor]);
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(1), &Value::Null));
    let (renamed, code) = stage.json(&["users", "update", "demo/u02", "--display-name", "Second"]);
    assert_eq!((&renamed["display_name"], code), (&"Second".into(), 0));
    let (conversations, _) = stage.json(&["users", "conversations", "demo/u02"]);
    assert_eq!(conversations["items"][0]["scope"], "profile:demo/u02");
    assert_eq!(stage.json(&["users", "get", "demo/nobody"]).1, 3);
}
