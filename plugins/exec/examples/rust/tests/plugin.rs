//! The program by itself: the test is its host, and its platform.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// A platform that has one update, and answers sends with this status.
fn platform(status: u16) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sent, log) = mpsc::channel();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, sent) = (connection.unwrap(), sent.clone());
            thread::spawn(move || {
                let (path, body) = request(&mut connection);
                let (status, reply) = if path.starts_with("/send") {
                    sent.send(body).unwrap();
                    (status, json!({"message_id": "m1"}))
                } else {
                    let update = json!({"update_id": 7, "user": "alice", "chat_id": null, "text": "hi"});
                    let new = path.contains("offset=0");
                    if !new {
                        thread::sleep(Duration::from_millis(50));
                    }
                    (200, json!({"updates": if new { vec![update] } else { vec![] }}))
                };
                let body = reply.to_string();
                drop(write!(connection, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            });
        }
    });
    (url, log)
}

fn request(connection: &mut TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(connection);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (first.split(' ').nth(1).unwrap().to_owned(), serde_json::from_slice(&body).unwrap_or_default())
}

struct Program {
    child: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<Value>,
}

impl Program {
    fn start(settings: Value) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rust-example"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (said, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                drop(said.send(serde_json::from_str(&line.unwrap()).unwrap()));
            }
        });
        let mut program = Self { child, input, lines };
        program.tell(json!({"type": "hello", "instance": "x", "platform": "x", "settings": settings}));
        program
    }

    fn tell(&mut self, mut line: Value) {
        line["v"] = 1.into();
        writeln!(self.input, "{line}").unwrap();
    }

    fn hears(&mut self, kind: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).unwrap();
            if line["type"] == kind {
                return line;
            }
        }
    }

    fn stop(mut self) {
        self.tell(json!({"type": "shutdown", "grace_ms": 6000}));
        assert!(self.child.wait().unwrap().success());
    }
}

fn deliver(text: &str) -> Value {
    let response = json!({"id": "r1", "text": text, "rest": text, "chat_id": null, "attempt": 1, "parts": []});
    json!({"type": "deliver", "id": 1, "response": response, "profile": {"platform_user_id": "alice"}})
}

#[test]
fn a_message_goes_in_and_an_answer_out() {
    let (url, log) = platform(200);
    let mut program = Program::start(json!({"url": url}));
    program.hears("ready");
    let report = program.hears("ingest");
    assert_eq!((&report["message"]["event_id"], &report["message"]["text"]), (&json!("7"), &json!("hi")));
    program.tell(json!({"type": "accepted", "id": report["id"], "message_id": "1"}));
    program.tell(deliver("hello"));
    assert_eq!(program.hears("delivered")["platform_message_ids"], json!(["m1"]));
    assert_eq!(log.recv().unwrap()["text"], "hello");
    program.stop();
}

#[test]
fn whoever_blocked_it_is_not_tried_again() {
    let (url, _log) = platform(403);
    let mut program = Program::start(json!({"url": url}));
    program.hears("ready");
    program.tell(deliver("hello"));
    assert_eq!(program.hears("dead")["class"], "blocked");
    program.stop();
}

#[test]
fn without_an_address_it_says_what_is_missing() {
    let mut program = Program::start(json!({}));
    assert_eq!(program.hears("failed")["cause"], "settings");
    assert!(program.child.wait().unwrap().success());
}
