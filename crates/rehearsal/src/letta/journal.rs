//! What a scripted server keeps over its death: a file of JSON lines, appended as things happen.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use broca_core::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::blocks::Change;

/// One change of the server's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Entry {
    Conversation {
        id: String,
        agent_id: String,
        summary: Option<String>,
        at: Timestamp,
    },
    Deleted {
        conversation: String,
    },
    Block(Change),
    /// What of the agent's memory the conversation's prompt has from now on.
    Compiled {
        conversation: String,
        memory: Vec<String>,
    },
    RunStarted {
        id: String,
        conversation: String,
        otid: Option<String>,
        background: bool,
        at: Timestamp,
    },
    Message {
        conversation: String,
        run: String,
        id: String,
        json: String,
    },
    /// `call` is what waits for an approval, if anything does.
    Pending {
        conversation: String,
        message: String,
        call: Option<String>,
    },
    RunEnded {
        id: String,
        status: String,
        stop_reason: Option<String>,
        error: Option<String>,
        at: Timestamp,
        events: Vec<String>,
    },
}

/// A file that only grows, one JSON object a line.
#[derive(Debug)]
pub(super) struct Lines {
    file: Option<File>,
}

impl Lines {
    /// Opens `path` and reads what it holds. A line that was cut off by the writer's death is skipped.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub(super) fn open<T: DeserializeOwned>(path: Option<&Path>) -> io::Result<(Self, Vec<T>)> {
        let Some(path) = path else { return Ok((Self { file: None }, Vec::new())) };
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut kept = Vec::new();
        for line in BufReader::new(&file).lines() {
            kept.extend(serde_json::from_str(&line?).ok());
        }
        end_last_line(&mut file)?;
        Ok((Self { file: Some(file) }, kept))
    }

    /// Written through to the system, which outlives a killed process.
    pub(super) fn append(&mut self, entry: &impl Serialize) {
        let Some(file) = &mut self.file else { return };
        let mut line = serde_json::to_vec(entry).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = file.write_all(&line) {
            tracing::error!(%error, "the scripted Letta cannot write its file; counts from it are worthless");
        }
    }
}

fn end_last_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last != *b"\n" { file.write_all(b"\n") } else { Ok(()) }
}
