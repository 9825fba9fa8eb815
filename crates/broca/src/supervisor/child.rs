//! One child process, kept running until told to stop.

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use broca_core::retry::RetryPolicy;
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Lines, tie};
use crate::telemetry;

/// What a child of ours says on its standard output once it works, with the address of its metrics behind it.
/// Everything else it says goes to the log.
const READY: &str = "ready";

/// A child that lived this long did not fail at its start.
const STEADY: Duration = Duration::from_secs(30);

/// The pauses before a restart; a child is never given up.
const RESTART: RetryPolicy = RetryPolicy {
    max_attempts: u32::MAX,
    initial_ms: 250,
    max_ms: 30_000,
    multiplier: 2.0,
    jitter: 0.25,
    max_age_s: 0,
};

/// Tells the parent that this process works now, and where its metrics are. Where nobody listens it does nothing.
pub(crate) fn announce_ready(metrics: Option<SocketAddr>) {
    use std::io::Write;
    let address = metrics.map(|address| format!(" {address}")).unwrap_or_default();
    if std::env::var_os(ANNOUNCE).is_some() && writeln!(io::stdout().lock(), "{READY}{address}").is_err() {
        tracing::warn!("the process that started this one no longer listens");
    }
}

/// Set for children that are to call [`announce_ready`].
const ANNOUNCE: &str = "BROCA_ANNOUNCE";

/// What a child's output means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    /// One of our processes, which calls [`announce_ready`] and whose every line is for the log.
    Ours,
    /// Another program: what it says when it works, and which of its lines are for the log.
    Theirs { ready: &'static str, shown: fn(&str) -> bool },
}

impl Output {
    /// Whether the line says that the child works, and where its metrics are.
    fn ready(self, line: &str) -> Option<Option<SocketAddr>> {
        match self {
            Self::Ours => {
                let address = line.strip_prefix(READY)?.trim_start();
                if address.is_empty() { Some(None) } else { address.parse().ok().map(Some) }
            }
            Self::Theirs { ready, .. } => line.contains(ready).then_some(None),
        }
    }

    fn is_shown(self, line: &str) -> bool {
        match self {
            Self::Ours => self.ready(line).is_none(),
            Self::Theirs { shown, .. } => shown(line),
        }
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct ChildSpec {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Beside this process's own environment. Secrets go here, never into `args`.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) output: Output,
    /// A file that it locks for as long as it lives: a second one waits for the end of the first.
    pub(crate) lock: Option<PathBuf>,
}

/// How a child stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChildStatus {
    pub(crate) pid: Option<u32>,
    /// It announced that it works.
    pub(crate) ready: bool,
    /// Where it shows its metrics.
    pub(crate) metrics: Option<SocketAddr>,
    /// How often it ended although nobody told it to.
    pub(crate) restarts: u32,
    /// How often in a row; 0 again once it has lived for a while.
    pub(crate) failures: u32,
    /// How it ended the last time, with its last lines.
    pub(crate) last_end: Option<String>,
}

/// The stop signals of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// End in good order.
    pub(crate) begin: CancellationToken,
    /// The time for that is over.
    pub(crate) kill: CancellationToken,
}

/// Runs the child until `stop`, again whenever it ends before.
pub(super) async fn keep(spec: ChildSpec, lines: Lines, status: watch::Sender<ChildStatus>, stop: Stop) {
    while !stop.begin.is_cancelled() {
        let ended = run_once(&spec, lines, &status, &stop).await;
        if stop.begin.is_cancelled() {
            break;
        }
        let failures = status.borrow().failures + 1;
        let pause = RESTART.delay(failures);
        tracing::warn!(process = spec.name, ended, restart_in_ms = pause.as_millis() as u64, "process ended");
        status.send_modify(|status| {
            let restarts = status.restarts + 1;
            *status = ChildStatus { restarts, failures, last_end: Some(ended), ..ChildStatus::default() };
        });
        stop.begin.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    status.send_modify(|status| *status = ChildStatus { restarts: status.restarts, ..ChildStatus::default() });
}

/// Starts the child and waits for its end; says how that was.
async fn run_once(spec: &ChildSpec, lines: Lines, status: &watch::Sender<ChildStatus>, stop: &Stop) -> String {
    let mut child = match start(spec, lines) {
        Ok(child) => child,
        Err(error) => return format!("cannot be started: {error}"),
    };
    let pid = child.id();
    status.send_modify(|status| status.pid = pid);
    let last = Arc::new(Mutex::new(None));
    let mut pumps = JoinSet::new();
    let pipes: [Option<Pipe>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as Pipe),
        child.stderr.take().map(|pipe| Box::new(pipe) as Pipe),
    ];
    for pipe in pipes.into_iter().flatten() {
        let (name, output, status, last) = (spec.name.clone(), spec.output, status.clone(), last.clone());
        pumps.spawn(pump(pipe, move |line| {
            if let Some(metrics) = output.ready(line) {
                status.send_modify(|status| (status.ready, status.metrics) = (true, metrics));
            }
            if output.is_shown(line) {
                lines.write(&name, line);
            }
            // What is wrong is said in the line before the one that says what to do about it.
            if !line.trim_start().starts_with("help: ")
                && let Ok(mut last) = last.lock()
            {
                *last = Some(line.to_owned());
            }
        }));
    }
    let ended = tokio::select! {
        ended = wait(&mut child, pid, stop) => ended,
        never = steady(status) => match never {},
    };
    // What it wrote before its end is still in the pipes; a grandchild that holds them open must not hold us.
    let drained = tokio::time::timeout(Duration::from_secs(1), async { while pumps.join_next().await.is_some() {} });
    if drained.await.is_err() {
        pumps.abort_all();
    }
    describe(ended, &last)
}

fn start(spec: &ChildSpec, lines: Lines) -> io::Result<Child> {
    let mut command = Command::from(tie::command(&spec.program, &spec.args, spec.lock.as_deref())?);
    command.envs(spec.env.iter().map(|(name, value)| (name, value))).env(ANNOUNCE, "1");
    if lines.colour() {
        command.env(telemetry::FORCE_COLOUR, "1");
    }
    command
        // A group of its own: Ctrl-C reaches this process alone, which then stops the others in order.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Forgets the failures of a child that has lived for a while.
async fn steady(status: &watch::Sender<ChildStatus>) -> std::convert::Infallible {
    tokio::time::sleep(STEADY).await;
    status.send_modify(|status| status.failures = 0);
    std::future::pending().await
}

async fn wait(child: &mut Child, pid: Option<u32>, stop: &Stop) -> io::Result<ExitStatus> {
    tokio::select! {
        ended = child.wait() => return ended,
        () = stop.begin.cancelled() => signal(pid, Signal::SIGTERM),
    }
    tokio::select! {
        ended = child.wait() => return ended,
        () = stop.kill.cancelled() => signal(pid, Signal::SIGKILL),
    }
    child.wait().await
}

/// Signals the child and whatever it started in its group.
fn signal(pid: Option<u32>, signal: Signal) {
    let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) else { return };
    match killpg(Pid::from_raw(pid), signal) {
        // It ended in the meantime.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::error!(pid, %signal, %error, "cannot signal a child process"),
    }
}

type Pipe = Box<dyn AsyncRead + Send + Unpin>;

/// A line that is longer comes in pieces.
const LINE_BYTES: u64 = 64 * 1024;

async fn pump(pipe: Pipe, take: impl Fn(&str)) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) => return,
            Ok(_) => take(String::from_utf8_lossy(&line).trim_end()),
            Err(error) => {
                tracing::warn!(%error, "cannot read a child's output");
                return;
            }
        }
    }
}

fn describe(ended: io::Result<ExitStatus>, last: &Mutex<Option<String>>) -> String {
    let said = last.lock().ok().and_then(|last| last.clone());
    match (ended, said) {
        (Err(error), _) => format!("cannot be waited for: {error}"),
        // Whoever was killed did not say why.
        (Ok(status), Some(line)) if status.code().is_some() => format!("{status}; its last line: {line}"),
        (Ok(status), _) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_says_that_it_works_and_where_its_metrics_are() {
        let theirs = Output::Theirs { ready: "Server is ready", shown: |_| true };
        assert_eq!(Output::Ours.ready("ready"), Some(None));
        assert_eq!(Output::Ours.ready("ready 127.0.0.1:7"), Some("127.0.0.1:7".parse().ok()));
        assert_eq!(Output::Ours.ready("ready or not"), None);
        assert_eq!(theirs.ready("[1] Server is ready"), Some(None));
    }
}
