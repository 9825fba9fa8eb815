//! Terminals on a real socket, a pipeline in memory behind it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::pipeline::{DEADLINE, Pipeline, Running, profile, response};
use broca_core::{MessageState, Receipt, delivery::Settlement};
use broca_plugin::{Parts, Plugin};
use broca_plugin_cli::{ChatOptions, ChatStyle, ChatSummary, SendOutcome, Terminal, TerminalError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};

struct Scene {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    pipeline: Arc<Pipeline>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("cli.sock");
        Self { _dir: dir, socket, pipeline: Arc::default() }
    }

    async fn plugin(&self) -> Running {
        Running::start(&self.socket, &self.pipeline).await.unwrap()
    }

    fn terminal(&self, user: &str) -> Terminal {
        Terminal::new(&self.socket, user)
    }

    /// Sends in the background.
    fn sending(&self, user: &str, text: &'static str) -> JoinHandle<SendOutcome> {
        let terminal = self.terminal(user);
        tokio::spawn(async move { terminal.send(text, DEADLINE).await.unwrap() })
    }
}

#[tokio::test]
async fn a_message_is_answered_once_and_the_terminal_is_its_receipt() {
    let scene = Scene::new();
    let plugin = scene.plugin().await;
    let outcome = scene.terminal("alice").send("good morning", DEADLINE).await.unwrap();
    let SendOutcome::Answered { message_id, text } = outcome else { panic!("{outcome:?}") };
    assert_eq!(text, "GOOD MORNING");
    scene.pipeline.until(|messages| !messages[0].receipts.is_empty()).await;
    assert_eq!(scene.pipeline.message(message_id).receipts, [Receipt::of("terminal")]);
    assert_eq!(scene.pipeline.ingests(), 1);
    plugin.stop().await;
    assert!(!scene.socket.exists());
}

#[tokio::test]
async fn without_a_plugin_the_terminal_says_how_to_start_one() {
    let scene = Scene::new();
    let error = scene.terminal("alice").send("hello", DEADLINE).await.unwrap_err();
    assert!(matches!(error, TerminalError::NobodyListens(_)));
    let expected =
        format!("no cli plugin listens at {}: start `broca up` or `broca plugin run cli`", scene.socket.display());
    assert_eq!(error.to_string(), expected);

    // The same for the socket file of a plugin that was killed.
    drop(std::os::unix::net::UnixListener::bind(&scene.socket).unwrap());
    let error = scene.terminal("alice").send("hello", DEADLINE).await.unwrap_err();
    assert!(matches!(error, TerminalError::NobodyListens(_)));
}

#[tokio::test]
async fn a_message_that_ends_without_an_answer_says_how() {
    let scene = Scene::new();
    let plugin = scene.plugin().await;
    let cases = [
        ("fail", MessageState::Failed, Some("the agent is gone")),
        ("store", MessageState::Stored, None),
        ("silent", MessageState::Completed, None),
    ];
    for (text, expected, why) in cases {
        let outcome = scene.terminal("alice").send(text, DEADLINE).await.unwrap();
        let SendOutcome::Ended { state, reason, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((state, reason.as_deref()), (expected, why));
    }
    let empty = scene.terminal("alice").send(" \0 ", DEADLINE).await.unwrap();
    assert_eq!(empty, SendOutcome::Refused("the message is empty: send some text".into()));
    let long = scene.terminal("alice").send(&"x".repeat(100_000), DEADLINE).await.unwrap();
    assert!(matches!(&long, SendOutcome::Refused(why) if why.contains("100000 bytes")), "{long:?}");
    let longer = scene.terminal("alice").send(&"x".repeat(10 << 20), DEADLINE).await.unwrap();
    assert!(matches!(&longer, SendOutcome::Refused(why) if why.contains("send it in parts")), "{longer:?}");
    let nobody = scene.terminal("  ").send("hello", DEADLINE).await.unwrap_err();
    assert!(matches!(nobody, TerminalError::Refused(_)), "{nobody}");
    plugin.stop().await;
}

#[tokio::test]
async fn patience_ends_but_the_message_stays() {
    let scene = Scene::new();
    let plugin = scene.plugin().await;
    let outcome = scene.terminal("alice").send("later", Duration::from_secs(1)).await.unwrap();
    let SendOutcome::TimedOut { message_id: Some(id) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(scene.pipeline.answer(id, "here").await, Receipt::of("mailbox"));
    plugin.stop().await;
}

#[tokio::test]
async fn a_message_outlives_the_plugin_that_took_it() {
    let scene = Scene::new();
    let first = scene.plugin().await;
    let sending = scene.sending("alice", "later, please");
    scene.pipeline.until(|messages| messages.len() == 1).await;
    let id = scene.pipeline.messages()[0].entry.message_id;
    first.stop().await;
    // Its answer is delivered while the terminal is away: into the mailbox.
    assert_eq!(scene.pipeline.answer(id, "done").await, Receipt::of("mailbox"));

    let second = scene.plugin().await;
    assert_eq!(sending.await.unwrap(), SendOutcome::Answered { message_id: id, text: "done".into() });
    assert_eq!(scene.pipeline.messages().len(), 1, "said twice, accepted once");
    assert_eq!(scene.pipeline.ingests(), 2);
    second.stop().await;
}

#[tokio::test]
async fn a_message_that_is_not_accepted_now_is_said_again() {
    let scene = Scene::new();
    let plugin = scene.plugin().await;
    scene.pipeline.be_unavailable(2);
    let outcome = scene.terminal("alice").send("hello", DEADLINE).await.unwrap();
    assert!(matches!(&outcome, SendOutcome::Answered { text, .. } if text == "HELLO"), "{outcome:?}");
    assert_eq!((scene.pipeline.ingests(), scene.pipeline.messages().len()), (3, 1));
    plugin.stop().await;
}

#[tokio::test]
async fn terminals_get_their_own_answers() {
    let scene = Scene::new();
    let plugin = scene.plugin().await;
    let one = scene.sending("alice", "later one");
    let two = scene.sending("alice", "later two");
    let other = scene.sending("bob", "later three");
    scene.pipeline.until(|messages| messages.len() == 3).await;
    for message in scene.pipeline.messages().iter().rev() {
        scene.pipeline.answer(message.entry.message_id, &format!("to {}", message.entry.text)).await;
    }
    for (sending, expected) in [(one, "to later one"), (two, "to later two"), (other, "to later three")] {
        let outcome = sending.await.unwrap();
        assert!(matches!(&outcome, SendOutcome::Answered { text, .. } if text == expected), "{outcome:?}");
    }
    plugin.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_in_the_mailbox() {
    let scene = Scene::new();
    let plugin = scene.plugin().await;
    let id = broca_core::MessageId::new();
    let response = response("hi");
    let delivered = plugin.plugin.deliver(&response, &profile("alice"), id, &Parts::in_memory(&response)).await;
    assert_eq!(delivered, Ok(Receipt::of("mailbox")));
    let settled = plugin.plugin.settle(&response, &profile("alice"), id).await;
    assert_eq!(settled, Settlement::Delivered(Receipt::of("mailbox")));
    plugin.stop().await;
}

struct Chatting {
    keyboard: DuplexStream,
    screen: DuplexStream,
    seen: String,
    ended: JoinHandle<Result<ChatSummary, TerminalError>>,
}

impl Chatting {
    fn start(terminal: Terminal, style: ChatStyle) -> Self {
        let (keyboard, input) = duplex(1 << 20);
        let (screen, output) = duplex(1 << 20);
        let (notes_screen, notes) = duplex(1 << 20);
        let ended = tokio::spawn(async move {
            let options = ChatOptions { style, patience: Duration::from_secs(3) };
            let ended = terminal.chat(input, output, notes, options).await;
            drop(notes_screen);
            ended
        });
        Self { keyboard, screen, seen: String::new(), ended }
    }

    async fn type_in(&mut self, bytes: &[u8]) {
        self.keyboard.write_all(bytes).await.unwrap();
    }

    /// Reads the screen until it shows `text`.
    async fn shows(&mut self, text: &str) {
        let mut chunk = [0; 4096];
        while !self.seen.contains(text) {
            let read = tokio::time::timeout(DEADLINE, self.screen.read(&mut chunk)).await;
            let bytes = read.unwrap_or_else(|_| panic!("{text} is not in {}", self.seen)).unwrap();
            assert_ne!(bytes, 0, "{text} is not in {}", self.seen);
            self.seen.push_str(std::str::from_utf8(&chunk[..bytes]).unwrap());
        }
    }

    async fn end(mut self) -> (ChatSummary, String) {
        drop(self.keyboard);
        let summary = tokio::time::timeout(DEADLINE, self.ended).await.unwrap().unwrap().unwrap();
        self.screen.read_to_string(&mut self.seen).await.unwrap();
        (summary, self.seen)
    }
}

#[tokio::test]
async fn a_piped_chat_answers_line_by_line_and_waits_for_the_last() {
    let scene = Scene::new();
    let plugin = scene.plugin().await;
    let mut chat = Chatting::start(scene.terminal("alice"), ChatStyle::Piped);
    let mut input = Vec::new();
    for number in 0..100 {
        input.extend_from_slice(format!("line {number}\n").as_bytes());
    }
    chat.type_in(&input).await;
    chat.type_in(b"\xff\xfe\nfail\n\n/quit").await;
    let (summary, seen) = chat.end().await;
    assert_eq!(summary, ChatSummary { answered: 101, failed: 2, open: 0 });
    let order: Vec<_> = scene.pipeline.messages().iter().map(|m| m.entry.text.clone()).collect();
    let expected: Vec<_> = (0..100).map(|n| format!("line {n}")).chain(["fail".into(), "/quit".into()]).collect();
    assert_eq!(order, expected);
    let mut answers: Vec<_> = seen.lines().collect();
    answers.sort_by_key(|line| line.strip_prefix("LINE ").and_then(|n| n.parse::<u32>().ok()).unwrap_or(100));
    let mut expected: Vec<_> = (0..100).map(|n| format!("LINE {n}")).collect();
    expected.push("/QUIT".into());
    assert_eq!(answers, expected);
    plugin.stop().await;
}

#[tokio::test]
async fn a_piped_chat_does_not_wait_for_ever() {
    let scene = Scene::new();
    let plugin = scene.plugin().await;
    let mut chat = Chatting::start(scene.terminal("alice"), ChatStyle::Piped);
    chat.type_in(b"later\n").await;
    let (summary, _) = chat.end().await;
    assert_eq!(summary, ChatSummary { answered: 0, failed: 0, open: 1 });
    plugin.stop().await;
}

#[tokio::test]
async fn a_typed_chat_shows_history_and_answers_and_survives_the_plugin() {
    let scene = Scene::new();
    let first = scene.plugin().await;
    scene.terminal("alice").send("before", DEADLINE).await.unwrap();
    let mut chat = Chatting::start(scene.terminal("alice"), ChatStyle::Interactive);
    chat.shows("alice: before\nagent: BEFORE\n").await;
    chat.type_in("zażółć\n".as_bytes()).await;
    chat.shows("agent: ZAŻÓŁĆ\n").await;

    chat.type_in(b"later\n").await;
    scene.pipeline.until(|messages| messages.len() == 3).await;
    let id = scene.pipeline.messages()[2].entry.message_id;
    first.stop().await;
    let second = scene.plugin().await;
    scene.pipeline.answer(id, "with \x1b[31mcolour\x07").await;
    chat.shows("agent: with [31mcolour\n").await;

    // An answer to a message of elsewhere is shown here, too, when nobody else waits for it.
    let elsewhere = scene.terminal("alice").send("later still", Duration::from_secs(1)).await.unwrap();
    let SendOutcome::TimedOut { message_id: Some(id) } = elsewhere else { panic!("{elsewhere:?}") };
    assert_eq!(scene.pipeline.answer(id, "unasked").await, Receipt::of("terminal"));
    chat.shows("agent: unasked\n").await;

    chat.type_in(b"/quit\n").await;
    let (summary, seen) = chat.end().await;
    assert_eq!(summary, ChatSummary { answered: 3, failed: 0, open: 0 });
    assert_eq!(seen.matches("agent: with").count(), 1);
    second.stop().await;
}
