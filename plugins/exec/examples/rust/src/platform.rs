//! The platform's API. This one needs so little of HTTP that the standard library does; yours will want a client.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(15);

pub struct Platform {
    /// Host and port.
    address: String,
}

pub struct Reply {
    pub status: u16,
    pub retry_after_s: Option<u64>,
    pub body: Value,
}

impl Platform {
    pub fn new(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").trim_end_matches('/').to_owned() }
    }

    /// What people wrote from a number on; waits a while for the first.
    pub fn updates(&self, offset: u64, wait_ms: u64) -> io::Result<Vec<Value>> {
        let reply = self.call("GET", &format!("/updates?offset={offset}&limit=50&wait_ms={wait_ms}"), None)?;
        match reply.body["updates"].as_array() {
            Some(updates) if reply.status == 200 => Ok(updates.clone()),
            _ => Err(io::Error::other(format!("it answered {}", reply.status))),
        }
    }

    pub fn send(&self, message: &Value) -> io::Result<Reply> {
        self.call("POST", "/send", Some(message))
    }

    /// The parts that it has of an answer.
    pub fn sent(&self, response_id: &str) -> io::Result<Vec<Value>> {
        let reply = self.call("GET", &format!("/sent/{response_id}"), None)?;
        match (reply.status, reply.body["parts"].as_array()) {
            (200, Some(parts)) => Ok(parts.clone()),
            (404, _) => Ok(Vec::new()),
            (status, _) => Err(io::Error::other(format!("it answered {status}"))),
        }
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Reply> {
        let mut connection = TcpStream::connect(&self.address)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            self.address
        )?;
        let mut reply = String::new();
        connection.read_to_string(&mut reply)?;
        let cut = || io::Error::new(ErrorKind::UnexpectedEof, "the connection was cut");
        let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(cut)?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(cut)?;
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        if header("content-length").is_some_and(|length| length.parse() != Ok(body.len())) {
            return Err(cut());
        }
        let retry_after_s = header("retry-after").and_then(|seconds| seconds.parse().ok());
        Ok(Reply { status, retry_after_s, body: serde_json::from_str(body).unwrap_or_else(|_| json!(null)) })
    }
}
