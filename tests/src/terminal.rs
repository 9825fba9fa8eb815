//! A terminal at the `cli` plugin's socket that may say anything, byte for byte.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::eventually;

/// A deadline for what takes a second or two at most.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct RawTerminal {
    replies: Lines<BufReader<OwnedReadHalf>>,
    requests: OwnedWriteHalf,
}

impl RawTerminal {
    /// Waits for the plugin, connects and is welcomed as `user`.
    pub async fn open(socket: &Path, user: &str) -> Self {
        eventually("the cli plugin listens", PATIENCE, || async { UnixStream::connect(socket).await.is_ok() }).await;
        let stream = UnixStream::connect(socket).await.expect("the plugin listens");
        let (read, requests) = stream.into_split();
        let mut terminal = Self { replies: BufReader::new(read).lines(), requests };
        terminal.say(&json!({"type": "hello", "v": 1, "as": user})).await;
        assert_eq!(terminal.hears().await["type"], "welcome");
        terminal
    }

    pub async fn say_bytes(&mut self, line: &[u8]) {
        self.requests.write_all(line).await.expect("the plugin takes the line");
        self.requests.write_all(b"\n").await.expect("the plugin takes the line");
    }

    pub async fn say(&mut self, request: &Value) {
        self.say_bytes(request.to_string().as_bytes()).await;
    }

    pub async fn message(&mut self, event_id: &str, text: &str) {
        self.say(&json!({"type": "message", "event_id": event_id, "text": text})).await;
    }

    /// The next line from the plugin. An answer gets its receipt.
    pub async fn hears(&mut self) -> Value {
        let line = timeout(PATIENCE, self.replies.next_line()).await.expect("the plugin says something in time");
        let line = line.expect("the connection stays").expect("the plugin stays");
        let reply: Value = serde_json::from_str(&line).expect("a line is JSON");
        if reply["type"] == "answer" {
            self.say(&json!({"type": "received", "response_id": reply["response_id"]})).await;
        }
        reply
    }

    /// Says a message that must be accepted and answered; its id and its answer.
    pub async fn is_answered(&mut self, event_id: &str, text: &str) -> (String, String) {
        self.message(event_id, text).await;
        let accepted = self.hears().await;
        assert_eq!(accepted["type"], "accepted", "{accepted}");
        let over = self.hears().await;
        let text_field = if over["type"] == "answer" { "text" } else { "answer" };
        assert_eq!(over["message_id"], accepted["message_id"], "{over}");
        let words = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text in {over}")).to_owned();
        (words(&accepted["message_id"]), words(&over[text_field]))
    }
}
