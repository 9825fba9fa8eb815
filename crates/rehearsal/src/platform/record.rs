//! What was sent: in memory, and in a file when one is named.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use broca_core::{Clock, ResponseId, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};

/// One send as the platform saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub response_id: ResponseId,
    pub user: String,
    pub chat_id: Option<String>,
    pub text: String,
    /// Which part of the answer it is, from 0.
    #[serde(default)]
    pub part: u32,
    /// Whether it ends the answer.
    #[serde(default = "alone")]
    pub last: bool,
    /// The platform's own id of what was sent.
    pub message_id: String,
    /// Microseconds since the epoch.
    pub at: Timestamp,
}

/// What is sent, before it has an id.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Send {
    pub(super) response_id: ResponseId,
    pub(super) user: String,
    #[serde(default)]
    pub(super) chat_id: Option<String>,
    pub(super) text: String,
    #[serde(default)]
    pub(super) part: u32,
    #[serde(default = "alone")]
    pub(super) last: bool,
}

/// Whoever does not speak of parts sends an answer as one.
fn alone() -> bool {
    true
}

#[derive(Debug)]
pub(super) struct Record {
    sent: Vec<Delivery>,
    file: Option<File>,
}

impl Record {
    /// Reads what an earlier platform wrote to `path`, and goes on from there.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self { sent: Vec::new(), file: None }) };
        let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let sent =
            BufReader::new(&file).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect::<io::Result<_>>();
        let sent = sent.map_err(|e| io::Error::new(e.kind(), format!("{} is no log of sends: {e}", path.display())))?;
        Ok(Self { sent, file: Some(file) })
    }

    pub(super) fn all(&self) -> &[Delivery] {
        &self.sent
    }

    /// Logs a send; it is on disk when this returns.
    pub(super) fn append(&mut self, send: Send) -> io::Result<Delivery> {
        let Send { response_id, user, chat_id, text, part, last } = send;
        let message_id = format!("m{}", self.sent.len() + 1);
        let delivery = Delivery { response_id, user, chat_id, text, part, last, message_id, at: SystemClock.now() };
        if let Some(file) = &mut self.file {
            let mut line = serde_json::to_vec(&delivery)?;
            line.push(b'\n');
            file.write_all(&line)?;
            file.sync_data()?;
        }
        self.sent.push(delivery.clone());
        Ok(delivery)
    }
}
