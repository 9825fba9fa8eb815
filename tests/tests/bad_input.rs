//! Whatever comes in, at the terminal's socket or in the broker: it is refused with a reason or it is answered, and
//! what comes after it is answered. Nothing gets stuck, nothing stays in the broker, no process dies.

use broca_bus::{Bus, Outgoing};
use broca_core::{
    ConversationId, MessageId, ResponseId, ResponseState, Timestamp,
    envelope::{Body, Envelope, VERSION},
};
use broca_store::MessageRecord;
use broca_tests::{Database, Process, RawTerminal, Rig, RigOptions, answer_in, comes_to_rest};
use serde_json::{Value, json};

/// The limit that the settings have when nobody sets it.
const MAX_TEXT: usize = 64 * 1024;

struct Stage {
    /// Before the rig, whose folder has their logs.
    processes: Vec<Process>,
    rig: Rig,
}

impl Stage {
    async fn set(database: Database) -> Self {
        let rig = Rig::start(RigOptions::new(database)).await;
        let processes =
            vec![rig.worker("worker"), rig.spawn("cli", &["plugin", "run", "cli"], &[]), rig.plugin("demo")];
        Self { processes, rig }
    }

    async fn ends_well(mut self) {
        comes_to_rest(&self.rig.store().await, &self.rig.bus().await, &["cli", "demo"]).await;
        for process in &mut self.processes {
            assert!(process.has_ended().is_none(), "{} died", process.name);
        }
    }
}

fn message(event_id: &str, text: &str) -> Vec<u8> {
    json!({"type": "message", "event_id": event_id, "text": text}).to_string().into_bytes()
}

/// Lines that are refused, and a part of the reason.
fn refused_lines() -> Vec<(Vec<u8>, &'static str)> {
    let raw = |line: &str| line.as_bytes().to_vec();
    vec![
        (message("e", &"x".repeat(MAX_TEXT + 1)), "more than the limit of 65536: send it in parts"),
        (vec![b'x'; 10 << 20], "more than the limit of 1048576"),
        (message("e", ""), "the message is empty"),
        (message("e", " \n\t "), "the message is empty"),
        (message("e", "\0\0"), "the message is empty"),
        (b"{\"type\":\"message\",\"event_id\":\"e\",\"text\":\"a\0b\"}".to_vec(), "the line is no request"),
        (b"{\"type\":\"message\",\"event_id\":\"e\",\"text\":\"\xff\xfe\"}".to_vec(), "not UTF-8"),
        (raw(r#"{"type":"message","event_id":"e","text":"\ud800"}"#), "the line is no request"),
        (raw(""), "the line is no request"),
        (raw("hello"), "the line is no request"),
        (raw("[1,2"), "the line is no request"),
        (raw(&"[".repeat(100_000)), "the line is no request"),
        (raw(r#"{"type":"message","text":"no event"}"#), "event_id"),
        (raw(r#"{"type":"shutdown"}"#), "the line is no request"),
        (raw(r#"{"type":"hello","v":1,"as":"mallory"}"#), "hello was said already"),
        (message("", "hi"), "event_id is missing"),
        (message("a\u{7}b", "hi"), "event_id has a control character"),
        (message(&"e".repeat(600), "hi"), "more than the limit of 512"),
    ]
}

async fn refused(terminal: &mut RawTerminal) {
    for (at, (line, part)) in refused_lines().into_iter().enumerate() {
        terminal.say_bytes(&line).await;
        let reply = terminal.hears().await;
        assert_eq!(reply["type"], "refused", "line {at}: {reply}");
        assert!(reply["reason"].as_str().is_some_and(|reason| reason.contains(part)), "line {at}: {reply}");
        let (_, answer) = terminal.is_answered(&format!("after-{at}"), "still there?").await;
        assert!(answer.ends_with("] still there?"), "{answer}");
    }
}

async fn odd_and_accepted(terminal: &mut RawTerminal) {
    let longest = "x".repeat(MAX_TEXT);
    let odd = [
        ("a\0b", "ab"),
        ("one\r\ntwo\u{1b}[31m", "one\ntwo[31m"),
        ("\u{202e}drawkcab 🦀 e\u{301}", "\u{202e}drawkcab 🦀 e\u{301}"),
        ("'); DROP TABLE messages; --", "'); DROP TABLE messages; --"),
        ("{\"v\":2} %s ${HOME} \\u0000", "{\"v\":2} %s ${HOME} \\u0000"),
        (&longest, &longest),
    ];
    for (at, (text, kept)) in odd.into_iter().enumerate() {
        let (_, answer) = terminal.is_answered(&format!("odd-{at}"), text).await;
        assert!(answer.ends_with(&format!("] {kept}")), "{answer}");
    }
}

/// Said again, under one event id, by one person: one message, one turn. Another person's event of that id is theirs.
async fn said_twice(stage: &Stage, terminal: &mut RawTerminal) {
    let before = stage.rig.letta.turns().len();
    let (first, _) = terminal.is_answered("same", "only once").await;
    for text in ["only once", "other words"] {
        terminal.message("same", text).await;
        let accepted = terminal.hears().await;
        assert_eq!(
            (&accepted["type"], &accepted["duplicate"], &accepted["message_id"]),
            (&"accepted".into(), &Value::Bool(true), &Value::from(first.clone()))
        );
        let ended = terminal.hears().await;
        assert_eq!((&ended["type"], &ended["state"]), (&"ended".into(), &"completed".into()), "{ended}");
        assert!(ended["answer"].as_str().is_some_and(|answer| answer.ends_with("] only once")), "{ended}");
    }
    let mut bob = RawTerminal::open(&stage.rig.socket(), "bob").await;
    let (bobs, _) = bob.is_answered("same", "mine").await;
    assert_ne!(bobs, first);
    assert_eq!(stage.rig.letta.turns().len(), before + 2);
}

async fn at_the_terminal(database: Database) {
    let stage = Stage::set(database).await;
    let mut terminal = RawTerminal::open(&stage.rig.socket(), "alice").await;
    refused(&mut terminal).await;
    odd_and_accepted(&mut terminal).await;
    said_twice(&stage, &mut terminal).await;
    let unknown = stage.rig.run(&["plugin", "run", "nosuch"]);
    let told = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(3) && told.contains("configured are cli, demo"), "{told}");
    stage.ends_well().await;
}

/// An envelope as Broca writes it, about a message that is over.
fn envelope(record: &MessageRecord, body: Body) -> Value {
    let envelope = Envelope {
        version: VERSION,
        body,
        instance: record.instance.clone(),
        message_id: record.id,
        conversation_id: record.conversation_id,
        text: Some("forged".into()),
        traceparent: None,
        at: Timestamp(0),
    };
    serde_json::from_slice(&envelope.encode()).expect("an envelope is JSON")
}

fn with(mut envelope: Value, field: &str, value: impl Into<Value>) -> Vec<u8> {
    envelope[field] = value.into();
    envelope.to_string().into_bytes()
}

/// Payloads that somebody with the right to publish could send, for a wake (`body` of a wake) or an answer.
fn forged(record: &MessageRecord, body: &Body, other: &Body) -> Vec<Vec<u8>> {
    let real = || envelope(record, body.clone());
    vec![
        Vec::new(),
        b"not json".to_vec(),
        vec![0xff; 64],
        b"{}".to_vec(),
        b"[]".to_vec(),
        "[".repeat(100_000).into_bytes(),
        vec![b' '; 900_000],
        // Of a newer version, whatever else it says by then.
        with(real(), "v", 2),
        br#"{"v":7,"kind":"telepathy"}"#.to_vec(),
        with(real(), "v", "1"),
        with(real(), "v", -1),
        with(real(), "kind", "telepathy"),
        with(real(), "instance", "Not An Instance"),
        with(real(), "instance", "nosuch"),
        with(real(), "message_id", MessageId::new().to_string()),
        with(real(), "message_id", "7"),
        with(real(), "conversation_id", ConversationId::of("default", "forged").to_string()),
        envelope(record, other.clone()).to_string().into_bytes(),
        // What the pipeline itself said: a redelivery.
        real().to_string().into_bytes(),
        with(real(), "from_the_future", true),
    ]
}

async fn publish(bus: &Bus, subject: &str, number: usize, payload: Vec<u8>) {
    let msg_id = format!("forged-{subject}-{number}");
    let outgoing = Outgoing { subject: subject.to_owned(), msg_id, trace: None, payload };
    bus.publish(outgoing).await.expect("the stream takes it");
}

async fn in_the_broker(database: Database) {
    let stage = Stage::set(database).await;
    let (rig, store, bus) = (&stage.rig, stage.rig.store().await, stage.rig.bus().await);
    rig.platform.say("u00", "u00-m000");
    let demo = answer_in(&store, "u00", "u00-m000", ResponseState::Delivered).await;
    let mut terminal = RawTerminal::open(&rig.socket(), "alice").await;
    let (alices, _) = terminal.is_answered("1", "hello").await;
    let alices = store.message(alices.parse().expect("an id")).await.expect("the store answers").expect("it is there");

    let response = |record: &MessageRecord| Body::Response { response_id: record.responses[0].id };
    let unknown = Body::Response { response_id: ResponseId::new() };
    let mut number = 0;
    for subject in ["broca.in.demo", "broca.in.cli", "broca.in.nosuch", "broca.in.Not-An-Instance"] {
        for payload in forged(&demo, &Body::Wake, &response(&demo)) {
            number += 1;
            publish(&bus, subject, number, payload).await;
        }
    }
    for (record, body) in [(&demo, response(&demo)), (&demo, unknown), (&demo, response(&alices))] {
        for subject in ["broca.out.demo", "broca.out.cli"] {
            for payload in forged(record, &body, &Body::Wake) {
                number += 1;
                publish(&bus, subject, number, payload).await;
            }
        }
    }
    rig.platform.say("u00", "u00-m001");
    answer_in(&store, "u00", "u00-m001", ResponseState::Delivered).await;
    terminal.is_answered("2", "still there?").await;
    comes_to_rest(&store, &bus, &["cli", "demo"]).await;
    assert_eq!(rig.platform.log().len(), 2, "forgeries were sent to the platform: {:?}", rig.platform.log());
    assert_eq!(rig.letta.turns().len(), 4, "forgeries reached the agent");
    let again = store.message(demo.id).await.expect("the store answers").expect("it is there");
    assert_eq!((again.state, again.attempts, again.responses.len()), (demo.state, 1, 1));
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_terminal_on_sqlite() {
    at_the_terminal(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_terminal_on_postgres() {
    at_the_terminal(Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_broker_on_sqlite() {
    in_the_broker(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_broker_on_postgres() {
    in_the_broker(Database::Postgres).await;
}
