//! A program that plays the plugin's platform in its own wire format. It is told lines of JSON, and says some:
//!
//! | it says | |
//! |---|---|
//! | `{"url": "…", "faults": ["rate_limited", "server_error", "cut_before", "cut_after", "blocked"]}` | first: where it is, and what it can do wrong |
//! | `{"sent": {"user": "…", "text": "…", "id": "…"}}` | the plugin sent this to a person |
//!
//! | it is told | |
//! |---|---|
//! | `{"say": {"user": "…", "text": "…"}}` | a person writes in their own chat |
//! | `{"fault": "rate_limited", "retry_after_s": 3}` | what goes wrong with the next send |
//! | `{"blocked": "…"}` | that person blocks the bot |
//!
//! Its input ends when it is no longer needed.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broca_plugin_exec::Program;
use broca_rehearsal::platform::Fault;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex as AsyncMutex,
    task::JoinSet,
    time::timeout,
};

use super::{
    platform::Sent,
    verdict::{Checked, not_checked, wrong},
};
use crate::plugins::launch;

const PATIENCE: Duration = Duration::from_secs(20);
const SAYS: &str = "its first line is {\"url\": \"…\", \"faults\": […]}, see plugins/exec/README.md";

#[derive(Debug)]
pub(crate) struct Player {
    pub(super) url: String,
    faults: Vec<String>,
    input: AsyncMutex<ChildStdin>,
    sent: Arc<Mutex<Vec<Sent>>>,
    _reader: JoinSet<()>,
    _child: Child,
}

#[derive(Deserialize)]
struct First {
    url: String,
    #[serde(default)]
    faults: Vec<String>,
}

#[derive(Deserialize)]
struct Said {
    sent: Told,
}

#[derive(Deserialize)]
struct Told {
    user: String,
    text: String,
    id: String,
}

impl Player {
    /// Runs it in the plugin's folder, and with its environment.
    pub(super) async fn start(command: &[String], plugin: &Program) -> Checked<Self> {
        let name = command.first().cloned().unwrap_or_default();
        let broken = |what: String| wrong(format!("the platform's program {name}: {what}"), SAYS);
        let (program, args) = command.split_first().ok_or_else(|| broken("is none".to_owned()))?;
        let program = Program { command: program.into(), args: args.to_vec(), ..plugin.clone() };
        let command = program.command(launch).map_err(|error| broken(error.to_string()))?;
        let mut child = Command::from(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| broken(error.to_string()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(broken("has no pipes".to_owned()));
        };
        let mut lines = BufReader::new(output).lines();
        let first = timeout(PATIENCE, lines.next_line()).await.ok().and_then(Result::ok).flatten();
        let first = first.ok_or_else(|| broken("said nothing".to_owned()))?;
        let First { url, faults } = serde_json::from_str(&first).map_err(|error| broken(error.to_string()))?;
        let sent = Arc::default();
        let mut reader = JoinSet::new();
        reader.spawn(listen(lines, Arc::clone(&sent)));
        Ok(Self { url, faults, input: AsyncMutex::new(input), sent, _reader: reader, _child: child })
    }

    async fn tell(&self, line: Value) -> Checked {
        let written = self.input.lock().await.write_all(format!("{line}\n").as_bytes()).await;
        written.map_err(|error| wrong(format!("the platform's program does not read: {error}"), ""))
    }

    pub(super) async fn say(&self, user: &str, text: &str) -> Checked {
        self.tell(json!({"say": {"user": user, "text": text}})).await
    }

    pub(super) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn fails(&self, fault: Fault) -> Checked {
        let line = serde_json::to_value(fault).unwrap_or_default();
        self.can(line["fault"].as_str().unwrap_or_default())?;
        self.tell(line).await
    }

    pub(super) async fn is_blocked_by(&self, user: &str) -> Checked {
        self.can("blocked")?;
        self.tell(json!({"blocked": user})).await
    }

    fn can(&self, fault: &str) -> Checked {
        if self.faults.iter().any(|can| can == fault) {
            return Ok(());
        }
        Err(not_checked(format!("the platform's program does not play \"{fault}\""), "name it among its faults"))
    }
}

async fn listen(mut lines: Lines<BufReader<ChildStdout>>, sent: Arc<Mutex<Vec<Sent>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(Said { sent: Told { user, text, id } }) = serde_json::from_str(&line) {
            sent.lock().unwrap_or_else(PoisonError::into_inner).push(Sent { user, text, id });
        }
    }
}
