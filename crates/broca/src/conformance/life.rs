//! One life of the program, whose host the suite is: every line that it says is looked at, every line to it is ours.

use std::{
    collections::{HashMap, VecDeque},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broca_core::MessageId;
use broca_plugin::Capabilities;
use broca_plugin_exec::protocol::{self, Bounds, FromChild, IncomingMessage, Ready, RequestId, ToChild};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    subject::Subject,
    verdict::{Checked, holds, wrong},
};
use crate::plugins::launch;

/// How long anything may take that a program answers at once; a busy machine is no fault of its.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// What a program gets to stop; as the real host allows.
pub(super) const GRACE: Duration = Duration::from_secs(6);
/// As the real host says.
const LINE_BYTES: usize = 4 << 20;
pub(super) const OPEN_REQUESTS: usize = 256;
/// Of what it writes to its standard error.
const LAST_WORDS: usize = 400;

/// Lines that are none of the protocol's, of all lives.
pub(super) type Garbage = Arc<Mutex<Vec<String>>>;

/// What it wrote to its standard error last.
type LastWords = Arc<Mutex<String>>;

#[derive(Debug)]
pub(super) struct Life {
    pub(super) ready: Ready,
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<FromChild>,
    /// Heard, and not asked for yet.
    kept: VecDeque<FromChild>,
    /// What was accepted, by the platform's event, also in earlier lives.
    pub(super) accepted: HashMap<String, MessageId>,
    words: LastWords,
    asked: u64,
    /// Every line to it has a field that it cannot know.
    strange: bool,
    _readers: JoinSet<()>,
}

/// How a life begins.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) subject: &'a Subject,
    pub(super) settings: Value,
    pub(super) garbage: Garbage,
    pub(super) strange: bool,
}

impl Life {
    /// From its start until it is ready.
    pub(super) async fn begin(start: Start<'_>) -> Checked<Self> {
        let Start { subject, settings, garbage, strange } = start;
        let cannot = |what: String| wrong(format!("it cannot be run: {what}"), "see `command` in plugin.toml");
        let command = subject.program.command(launch).map_err(|error| cannot(error.to_string()))?;
        let mut child = Command::from(command)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| cannot(error.to_string()))?;
        let (said, lines) = mpsc::unbounded_channel();
        let (words, mut readers) = (LastWords::default(), JoinSet::new());
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            readers.spawn(listen(out, said, garbage));
            readers.spawn(note(err, Arc::clone(&words)));
        }
        let mut life = Self {
            ready: Ready::default(),
            input: child.stdin.take(),
            child,
            lines,
            kept: VecDeque::new(),
            accepted: HashMap::new(),
            words,
            asked: 0,
            strange,
            _readers: readers,
        };
        life.tell(&ToChild::Hello {
            instance: "trial".to_owned(),
            platform: subject.name.clone(),
            settings,
            bounds: Bounds { line_bytes: LINE_BYTES, open_requests: OPEN_REQUESTS },
            broca: env!("CARGO_PKG_VERSION").to_owned(),
        })
        .await?;
        let within = subject.program.start_timeout;
        match life.hear_within(within, |line| matches!(line, FromChild::Ready(_) | FromChild::Failed { .. })).await {
            Some(FromChild::Ready(ready)) => life.ready = ready,
            Some(FromChild::Failed { reason, .. }) => {
                let advice = "give it settings that do, in [test] of plugin.toml or by --option";
                return Err(wrong(format!("it says that it cannot run: {reason}"), advice));
            }
            _ => {
                let what = format!("it did not say `ready` within {within:?}{}", life.last_words());
                return Err(wrong(what, "answer `hello` before anything else, and flush each line"));
            }
        }
        Ok(life)
    }

    /// What it can do: as it said, or else as its folder says.
    pub(super) fn can(&self, subject: &Subject) -> Capabilities {
        self.ready.capabilities.clone().unwrap_or_else(|| subject.capabilities.clone())
    }

    pub(super) async fn tell(&mut self, message: &ToChild) -> Checked {
        let mut line = serde_json::to_value(message).unwrap_or_default();
        line["v"] = protocol::VERSION.into();
        if self.strange {
            line["of_a_later_version"] = json!({"nobody": ["knows", "this"]});
        }
        let Some(input) = &mut self.input else { return Err(wrong("its input is closed", "")) };
        let written = timeout(PATIENCE, input.write_all(format!("{line}\n").as_bytes())).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                let what = format!("it ended, or closed its input{}", self.last_words());
                Err(wrong(what, "a plugin reads until its input ends"))
            }
            Err(_) => Err(wrong("it does not read its input", "read lines while you work on those before")),
        }
    }

    /// The next line that is meant; what else is said is kept for whoever asks for it.
    pub(super) async fn hear(&mut self, what: &str, meant: impl Fn(&FromChild) -> bool) -> Checked<FromChild> {
        match self.hear_within(PATIENCE, meant).await {
            Some(line) => Ok(line),
            None => Err(wrong(format!("no {what} came within {PATIENCE:?}{}", self.last_words()), "")),
        }
    }

    pub(super) async fn hear_within(
        &mut self,
        within: Duration,
        meant: impl Fn(&FromChild) -> bool,
    ) -> Option<FromChild> {
        if let Some(at) = self.kept.iter().position(&meant) {
            return self.kept.remove(at);
        }
        let deadline = Instant::now() + within;
        loop {
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(line)) if meant(&line) => return Some(line),
                Ok(Some(FromChild::Log { .. } | FromChild::State { .. } | FromChild::Emit { .. })) => {}
                Ok(Some(line)) => self.kept.push_back(line),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next message that it reports.
    pub(super) async fn report(&mut self) -> Checked<(RequestId, IncomingMessage)> {
        match self.hear("report of a message", |line| matches!(line, FromChild::Ingest { .. })).await? {
            FromChild::Ingest { id, message } => Ok((id, *message)),
            other => Err(wrong(format!("{other:?} is no report"), "")),
        }
    }

    /// Accepts it, as the pipeline does: an event that is known is a duplicate.
    pub(super) async fn accept(&mut self, id: RequestId, message: &IncomingMessage) -> Checked {
        let known = self.accepted.get(&message.event_id).copied();
        let message_id = known.unwrap_or_else(MessageId::new);
        self.accepted.insert(message.event_id.clone(), message_id);
        self.tell(&ToChild::Accepted { id, message_id, duplicate: known.is_some(), suppressed: None }).await
    }

    /// A number for a question of ours.
    pub(super) fn number(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    /// `kill -9`, of it and all that it started.
    pub(super) async fn kill(mut self) -> HashMap<String, MessageId> {
        self.signal(Signal::SIGKILL);
        drop(self.child.wait().await);
        std::mem::take(&mut self.accepted)
    }

    /// Tells it to stop, and waits as long as it may take.
    pub(super) async fn stop(mut self, grace: Duration) -> Checked {
        self.tell(&ToChild::Shutdown { grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) }).await?;
        let ended = timeout(grace, self.child.wait()).await;
        self.ended_well(ended.ok().and_then(Result::ok), &format!("told to stop, it went on for {grace:?}"))
    }

    /// Closes its input, as a host that is gone does.
    pub(super) async fn end_of_input(mut self, grace: Duration) -> Checked {
        drop(self.input.take());
        let ended = timeout(grace, self.child.wait()).await;
        self.ended_well(ended.ok().and_then(Result::ok), &format!("it went on for {grace:?} after its input ended"))
    }

    fn ended_well(&self, status: Option<ExitStatus>, otherwise: &str) -> Checked {
        let Some(status) = status else {
            return Err(wrong(
                otherwise,
                "end when `shutdown` is said, and when the input ends: the host is gone then",
            ));
        };
        let what = || format!("it ended by {status}{}", self.last_words());
        holds(status.success(), what, "a stop is no failure: end with exit code 0")
    }

    /// The most memory that it ever had, where the system tells it; in MiB.
    pub(super) fn peak_mib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let kib: u64 =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()?;
        Some(kib / 1024)
    }

    fn signal(&self, signal: Signal) {
        let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) else { return };
        if let Err(error) = killpg(Pid::from_raw(id), signal) {
            tracing::trace!(%error, "no such process group");
        }
    }

    fn last_words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        match words.trim() {
            "" => String::new(),
            words => format!("; it wrote: {}", words.replace('\n', " | ")),
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

async fn listen(out: ChildStdout, said: mpsc::UnboundedSender<FromChild>, garbage: Garbage) {
    let (mut out, mut line) = (BufReader::new(out), Vec::new());
    while let Ok(1..) = out.read_until(b'\n', &mut line).await {
        // A kill may cut the last one in the middle.
        let is_whole = line.ends_with(b"\n");
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        match protocol::read(text) {
            Ok(message) => drop(said.send(message)),
            Err(_) if text.is_empty() || !is_whole => {}
            Err(why) => {
                let shown: String = text.chars().take(80).collect();
                let mut garbage = garbage.lock().unwrap_or_else(PoisonError::into_inner);
                if garbage.len() < 100 {
                    garbage.push(format!("`{shown}` ({why})"));
                }
            }
        }
        line.clear();
    }
}

/// Keeps the end of what it writes to its standard error.
async fn note(mut err: ChildStderr, words: LastWords) {
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = err.read(&mut piece).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.push_str(&String::from_utf8_lossy(&piece[..count]));
        let begin = words.len().saturating_sub(LAST_WORDS);
        let begin = (begin..words.len()).find(|at| words.is_char_boundary(*at)).unwrap_or_default();
        drop(words.drain(..begin));
    }
}
