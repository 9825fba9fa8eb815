//! The protocol itself: what a program that is not our terminal may send, and what ours does with a plugin that dies
//! at the wrong moment. Also: who may listen at a socket.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use crate::pipeline::{DEADLINE, Pipeline, Running};
use broca_core::{MessageId, Receipt, ResponseId};
use broca_plugin_cli::{
    SendOutcome, Terminal,
    protocol::{MAX_REQUEST_BYTES, Reply, Request, VERSION},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

/// One end of a connection, line by line.
struct Wire(BufReader<UnixStream>);

impl Wire {
    async fn connect(socket: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(socket).await.unwrap()))
    }

    async fn greeted(socket: &Path, user: &str) -> Self {
        let mut wire = Self::connect(socket).await;
        wire.say(json!({"type": "hello", "v": 1, "as": user, "follow": true})).await;
        assert!(matches!(wire.reply().await, Reply::Welcome { v: 1, .. }));
        wire
    }

    async fn say(&mut self, said: serde_json::Value) {
        self.bytes(format!("{said}\n").as_bytes()).await;
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    /// The next line; `None` when the other side has closed.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(DEADLINE, self.0.read_line(&mut line)).await.expect("no line comes");
        (read.unwrap() > 0).then_some(line)
    }

    async fn reply(&mut self) -> Reply {
        serde_json::from_str(&self.line().await.expect("closed")).unwrap()
    }

    async fn request(&mut self) -> Request {
        serde_json::from_str(&self.line().await.expect("closed")).unwrap()
    }

    async fn refusal(&mut self) -> String {
        match self.reply().await {
            Reply::Refused { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }
}

async fn scene() -> (tempfile::TempDir, std::path::PathBuf, Arc<Pipeline>, Running) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cli.sock");
    let pipeline = Arc::default();
    let running = Running::start(&socket, &pipeline).await.unwrap();
    (dir, socket, pipeline, running)
}

#[tokio::test]
async fn a_bad_line_is_refused_and_the_next_one_works() {
    let (_dir, socket, pipeline, running) = scene().await;
    let mut wire = Wire::greeted(&socket, "alice").await;

    let mut huge = format!(r#"{{"type":"message","event_id":"1","text":"{}"#, "x".repeat(10 << 20)).into_bytes();
    huge.extend_from_slice(b"\"}\n");
    wire.bytes(&huge).await;
    let reason = wire.refusal().await;
    assert!(reason.contains(&format!("more than the limit of {MAX_REQUEST_BYTES}")), "{reason}");

    wire.bytes(b"{\"type\":\"message\",\"event_id\":\"1\",\"text\":\"\xff\"}\n").await;
    assert_eq!(wire.refusal().await, "the line is not UTF-8: convert it first");
    wire.bytes(b"hello\n").await;
    assert!(wire.refusal().await.starts_with("the line is no request"));
    wire.say(json!({"type": "hello", "v": 1, "as": "bob"})).await;
    assert_eq!(wire.refusal().await, "hello was said already");
    assert_eq!(pipeline.ingests(), 0);

    wire.say(json!({"type": "message", "event_id": "1", "text": "hi\0"})).await;
    assert!(matches!(wire.reply().await, Reply::Accepted { duplicate: false, .. }));
    assert!(matches!(wire.reply().await, Reply::Answer { text, .. } if text == "HI"));
    running.stop().await;
    assert_eq!(wire.line().await, None);
}

#[tokio::test]
async fn who_does_not_greet_well_is_told_why() {
    let (_dir, socket, _pipeline, running) = scene().await;
    let cases = [
        (json!({"type": "history", "limit": 1}), "say hello first"),
        (json!({"type": "hello", "v": 2, "as": "alice"}), "speaks version 1 of the terminal protocol, not 2"),
        (json!({"type": "hello", "v": 1, "as": ""}), "a name is missing"),
        (json!({"type": "hello", "v": 1, "as": "a\nb"}), "a name is missing"),
        (json!({"type": "hello", "v": 1, "as": "a".repeat(200)}), "200 bytes"),
    ];
    for (hello, why) in cases {
        let mut wire = Wire::connect(&socket).await;
        wire.say(hello).await;
        let reason = wire.refusal().await;
        assert!(reason.contains(why), "{reason}");
        assert_eq!(wire.line().await, None);
    }
    running.stop().await;
}

#[tokio::test]
async fn an_event_is_one_message_and_each_person_has_their_own() {
    let (_dir, socket, pipeline, running) = scene().await;
    let mut alice = Wire::greeted(&socket, "alice").await;
    let mut accepted = Vec::new();
    for _ in 0..2 {
        alice.say(json!({"type": "message", "event_id": "7", "text": "later"})).await;
        match alice.reply().await {
            Reply::Accepted { event_id, message_id, duplicate } if event_id == "7" => {
                accepted.push((message_id, duplicate));
            }
            other => panic!("{other:?}"),
        }
    }
    let (id, _) = accepted[0];
    assert_eq!(accepted, [(id, false), (id, true)]);
    let mut bob = Wire::greeted(&socket, "bob").await;
    bob.say(json!({"type": "message", "event_id": "7", "text": "later"})).await;
    assert!(matches!(bob.reply().await, Reply::Accepted { message_id, duplicate: false, .. } if message_id != id));
    assert_eq!(pipeline.messages().len(), 2);

    bob.say(json!({"type": "history", "limit": 10})).await;
    assert!(matches!(bob.reply().await, Reply::History { items } if items.len() == 1));
    running.stop().await;
}

#[tokio::test]
async fn a_terminal_that_hangs_is_passed_over() {
    let (_dir, socket, pipeline, running) = scene().await;
    let mut second = Wire::greeted(&socket, "alice").await;
    let mut first = Wire::greeted(&socket, "alice").await;
    first.say(json!({"type": "message", "event_id": "1", "text": "later"})).await;
    let Reply::Accepted { message_id, .. } = first.reply().await else { panic!() };
    let answering = tokio::spawn({
        let pipeline = Arc::clone(&pipeline);
        async move { pipeline.answer(message_id, "here").await }
    });
    // The one that waits is asked first, and never says that it received the answer.
    let Reply::Answer { response_id, .. } = first.reply().await else { panic!() };
    let Reply::Answer { response_id: again, .. } = second.reply().await else { panic!() };
    assert_eq!(response_id, again);
    second.say(json!({"type": "received", "response_id": again})).await;
    assert_eq!(answering.await.unwrap(), Receipt::of("terminal"));
    while let Some(line) = first.line().await {
        let reply: Reply = serde_json::from_str(&line).unwrap();
        assert!(matches!(reply, Reply::Ended { answer: Some(_), .. }), "{reply:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn an_answer_that_comes_again_after_a_crash_is_shown_once() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cli.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let terminal = Terminal::new(&socket, "alice");
    let (mut keyboard, input) = tokio::io::duplex(1024);
    let (mut screen, output) = tokio::io::duplex(1024);
    let options = broca_plugin_cli::ChatOptions { style: broca_plugin_cli::ChatStyle::Piped, patience: DEADLINE };
    let chat = tokio::spawn(async move { terminal.chat(input, output, tokio::io::sink(), options).await });
    keyboard.write_all(b"hello\nworld\n").await.unwrap();
    drop(keyboard);

    let (one, two) = (MessageId::new(), MessageId::new());
    let answer = |message_id, response_id, text: &str| {
        serde_json::to_value(Reply::Answer { response_id, message_id, text: text.into() }).unwrap()
    };
    let first_answer = answer(one, ResponseId::new(), "HELLO");
    let mut events = Vec::new();
    for life in 0..2 {
        let mut wire = Wire(BufReader::new(listener.accept().await.unwrap().0));
        assert_eq!(wire.request().await, Request::Hello { v: VERSION, user: "alice".into(), follow: true });
        wire.say(json!({"type": "welcome", "v": 1, "instance": "cli"})).await;
        let expected = if life == 0 { vec![one, two] } else { vec![two] };
        for message_id in expected {
            let Request::Message { event_id, .. } = wire.request().await else { panic!() };
            wire.say(
                json!({"type": "accepted", "event_id": event_id, "message_id": message_id, "duplicate": life > 0}),
            )
            .await;
            events.push(event_id);
        }
        // In its first life the plugin dies before it reads the receipt; in its second it delivers again.
        wire.say(first_answer.clone()).await;
        assert!(matches!(wire.request().await, Request::Received { .. }));
        if life > 0 {
            wire.say(
                json!({"type": "ended", "message_id": two, "state": "completed", "reason": null, "answer": "WORLD"}),
            )
            .await;
            wire.say(answer(two, ResponseId::new(), "WORLD")).await;
        }
    }
    assert_eq!(events[1], events[2], "the message without an end is the same one");
    let summary = tokio::time::timeout(DEADLINE, chat).await.unwrap().unwrap().unwrap();
    assert_eq!((summary.answered, summary.open), (2, 0));
    let mut seen = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut screen, &mut seen).await.unwrap();
    assert_eq!(seen, "HELLO\nWORLD\n");
}

#[tokio::test]
async fn one_socket_has_one_plugin() {
    let (dir, socket, pipeline, running) = scene().await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let second = Running::start(&socket, &pipeline).await.unwrap_err();
    assert!(second.to_string().starts_with("another process listens at"), "{second}");
    let outcome = Terminal::new(&socket, "alice").send("still here", DEADLINE).await.unwrap();
    assert!(matches!(outcome, SendOutcome::Answered { .. }));
    running.stop().await;

    // A listener that knows nothing of the lock is not thrown out either.
    let stranger = UnixListener::bind(&socket).unwrap();
    let error = Running::start(&socket, &pipeline).await.unwrap_err();
    assert!(error.to_string().starts_with("another process listens at"), "{error}");
    drop(stranger);

    // Its file, left behind as a killed process leaves it, is replaced.
    assert!(socket.exists());
    Running::start(&socket, &pipeline).await.unwrap().stop().await;

    std::fs::write(&socket, "precious").unwrap();
    let error = Running::start(&socket, &pipeline).await.unwrap_err();
    assert!(error.to_string().contains("is no socket: move it away"), "{error}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");

    let long = dir.path().join("x".repeat(120));
    let error = Running::start(&long, &pipeline).await.unwrap_err();
    assert!(error.to_string().contains("at most 100 bytes"), "{error}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_terminals() {
    let (_dir, socket, _pipeline, running) = scene().await;
    let _silent = Wire::connect(&socket).await;
    let _greeted = Wire::greeted(&socket, "alice").await;
    tokio::time::timeout(Duration::from_secs(3), running.stop()).await.expect("the plugin hangs at its terminals");
}
