//! A folder in which somebody runs Broca with nothing else set up, as in the README.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Process, eventually, rig::binary};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Home {
    folder: TempDir,
}

/// What a command wrote, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// The one JSON value on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Home {
    /// With `settings` as its `broca.toml`, unless they are empty.
    pub fn new(settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("broca-home-").tempdir().expect("a temporary folder");
        let home = Self { folder };
        if !settings.is_empty() {
            home.settings(settings);
        }
        home
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn settings(&self, settings: &str) {
        fs::write(self.path().join("broca.toml"), settings).expect("settings are written");
    }

    /// The binary in this folder, free of the settings of whoever runs the test.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        let foreign = |name: &str| {
            (name.starts_with("BROCA_") && name != "BROCA_NATS_SERVER")
                || ["AGENT_", "LETTA_"].iter().any(|prefix| name.starts_with(prefix))
                || name == "RUST_LOG"
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| foreign(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.args(args).current_dir(self.path()).env("XDG_CONFIG_HOME", self.path().join("config"));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, "")
    }

    /// The same, with `input` piped into it.
    pub fn run_with(&self, args: &[&str], input: &str) -> Said {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let written = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("the binary ends");
        // A command that ended before it read its input is judged by what it said.
        drop(written);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// `broca up`, once it says that it is ready.
    pub async fn up(&self, args: &[&str]) -> Process {
        let command = self.command(&[&["up"], args].concat());
        // The log of an earlier start is in the same file.
        let before = fs::read_to_string(self.path().join("up.log")).unwrap_or_default().len();
        let mut up = Process::spawn("up", command, self.path()).expect("the binary starts");
        eventually("broca up is ready", PATIENCE, || {
            assert!(up.has_ended().is_none(), "it ended: {}", up.output());
            let ready = up.output()[before..].contains("Broca is ready");
            async move { ready }
        })
        .await;
        up
    }

    /// The running process of that name, and how often it was started again.
    pub fn process(&self, name: &str) -> Option<(u32, u64)> {
        let file = fs::read_to_string(self.path().join("broca-data/run.json")).ok()?;
        let file: Value = serde_json::from_str(&file).ok()?;
        let process = file["processes"].as_array()?.iter().find(|process| process["name"] == name)?.clone();
        Some((u32::try_from(process["pid"].as_u64()?).ok()?, process["restarts"].as_u64()?))
    }

    /// Every process that has this folder on its command line, in its environment or as its working directory.
    pub fn processes(&self) -> Vec<String> {
        let folder = self.path().display().to_string();
        let belongs = |process: &Path| {
            let holds = |name: &str| {
                fs::read(process.join(name)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&folder))
            };
            let works_there = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
            works_there || holds("cmdline") || holds("environ")
        };
        let all = fs::read_dir("/proc").expect("this system has /proc").flatten().map(|entry| entry.path());
        let ours = all.filter(|process| belongs(process));
        ours.map(|process| {
            let line = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
            format!("{}: {}", process.display(), line.replace('\0', " "))
        })
        .collect()
    }
}
