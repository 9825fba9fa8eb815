//! Runs the binary, free of the settings of whoever runs the tests.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// A deadline for what takes a second at most on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary in `folder`, which is also its working directory.
pub(crate) fn broca(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broca"));
    for (name, _) in std::env::vars() {
        let own = name.starts_with("BROCA_") && name != "BROCA_NATS_SERVER";
        if own || name.starts_with("AGENT_") || name.starts_with("LETTA_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(args).stdin(Stdio::null()).env("XDG_CONFIG_HOME", folder.join("config"));
    command
}

pub(crate) fn output(folder: &Path, args: &[&str]) -> Output {
    broca(folder, args).output().unwrap()
}

/// Runs it to its end: exit code, standard output, standard error.
pub(crate) fn ends(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = output(folder, args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Runs it with `--json`: exit code and the one JSON value on standard output.
pub(crate) fn json(folder: &Path, args: &[&str]) -> (i32, Value) {
    let (code, stdout, stderr) = ends(folder, &[args, &["--json"]].concat());
    let value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    (code, value)
}

/// Looks again and again until `look` finds something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Whether the process is there and not a zombie that waits for its parent.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

/// A child that does not outlive its test.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may be over, which is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
