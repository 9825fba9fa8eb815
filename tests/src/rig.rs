//! Everything that one end-to-end test needs, on free ports under one temporary folder.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use broca_bus::{Bus, BusOptions};
use broca_core::OutboxId;
use broca_rehearsal::{
    letta::{LettaScript, ScriptedLetta},
    platform::{PlatformScript, ScriptedPlatform},
};
use broca_servers::{NatsServer, Postgres};
use broca_store::{Store, StoreOptions};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::Process;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

#[derive(Debug)]
pub struct RigOptions {
    pub database: Database,
    pub letta: LettaScript,
    pub platform: PlatformScript,
    /// Appended to the settings file.
    pub settings: String,
}

impl RigOptions {
    pub fn new(database: Database) -> Self {
        Self { database, letta: LettaScript::default(), platform: PlatformScript::default(), settings: String::new() }
    }
}

/// The servers, the scripted far sides, and the way to run the binary against them.
#[derive(Debug)]
pub struct Rig {
    pub nats: NatsServer,
    pub postgres: Option<Postgres>,
    pub letta: ScriptedLetta,
    script: LettaScript,
    pub platform: ScriptedPlatform,
    database_url: String,
    config: PathBuf,
    folder: TempDir,
}

/// Short times, so that what a crash leaves is picked up within a test's patience.
fn settings(letta: &str, platform: &str, more: &str) -> String {
    format!(
        r#"mode = "live"
[agents.default]
endpoint = "{letta}"
agent_id = "agent-rehearsal"
turn_timeout_s = 30
stuck_after_s = 3
[retry]
max_attempts = 6
initial_ms = 200
max_ms = 1000
[delivery_retry]
max_attempts = 6
initial_ms = 200
max_ms = 1000
[worker]
lease_ttl_ms = 1500
drain_ms = 3000
sweep_interval_ms = 200
sweep_grace_ms = 1500
[delivery]
lease_ttl_ms = 1500
sweep_interval_ms = 200
drain_ms = 3000
[plugins.demo]
settings = {{ url = "{platform}" }}
{more}
"#
    )
}

impl Rig {
    /// Starts the servers and brings schema and topology up to date, by the binary's own commands.
    pub async fn start(options: RigOptions) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::Builder::new().prefix("broca-e2e-").tempdir().expect("a temporary folder");
        let nats = NatsServer::start();
        let (postgres, database_url) = match options.database {
            Database::Sqlite => (None, format!("sqlite:{}", folder.path().join("broca.db").display())),
            Database::Postgres => {
                let postgres = Postgres::start();
                let url = postgres.new_database();
                (Some(postgres), url)
            }
        };
        let script = LettaScript { journal: Some(folder.path().join("letta.jsonl")), ..options.letta };
        let letta = ScriptedLetta::start(script.clone()).await.expect("the scripted Letta starts");
        let platform = ScriptedPlatform::start(options.platform).await.expect("the scripted platform starts");
        let config = folder.path().join("broca.toml");
        std::fs::write(&config, settings(&letta.url(), &platform.url(), &options.settings))
            .expect("settings are written");
        let rig = Self { nats, postgres, letta, script, platform, database_url, config, folder };
        rig.succeeds(&["migrate"]);
        rig.succeeds(&["nats", "apply"]);
        rig
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The binary with this rig's settings; its data folder is the rig's.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("BROCA_")))
            .env("BROCA_CONFIG", &self.config)
            .env("BROCA_DATA_DIR", self.folder.path().join("data"))
            .env("BROCA_NATS__URL", self.nats.url())
            .env("BROCA_DATABASE__URL", &self.database_url)
            .env("BROCA_LOG__LEVEL", "info,broca_pipeline=debug")
            .current_dir(self.folder.path());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary runs")
    }

    /// Runs a command that must succeed; its standard output.
    pub fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "broca {args:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub fn worker(&self, name: &str) -> Process {
        self.spawn(name, &["worker"], &[])
    }

    pub fn plugin(&self, name: &str) -> Process {
        self.spawn(name, &["plugin", "run", "demo"], &[])
    }

    pub fn spawn(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> Process {
        let mut command = self.command(args);
        command.envs(env.iter().copied());
        Process::spawn(name, command, self.folder.path()).expect("the binary starts")
    }

    /// Kills the agent's server in the middle of whatever it does, and starts it again on the same address with what
    /// it had written down.
    pub async fn restart_letta(self) -> Self {
        let Self { letta, .. } = self;
        let address = letta.address();
        letta.kill().await;
        let listener = TcpListener::bind(address).await.expect("the port is free again");
        let letta = ScriptedLetta::on(listener, self.script.clone()).expect("the scripted Letta starts again");
        Self { letta, ..self }
    }

    /// The same rows as the processes see.
    pub async fn store(&self) -> Store {
        let options = StoreOptions { max_connections: 2 };
        Store::connect(&self.database_url, options).await.expect("the rig's database is there")
    }

    /// A connection to the broker, as another consumer of its streams has one.
    pub async fn bus(&self) -> Bus {
        let options = BusOptions { url: self.nats.url(), name: "test".into(), ..BusOptions::default() };
        Bus::connect(options).await.expect("the rig's broker is there")
    }

    /// Where the `cli` plugin of this rig listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("data/cli.sock")
    }

    /// Stops a process where it does not hold SQLite's write lock: a file lock does not run out as a lease does, and
    /// a stopped process that has it stops every other writer, which is not what is tested.
    pub async fn freeze(&self, process: &Process) {
        let store = self.store().await;
        loop {
            process.signal(Signal::SIGSTOP);
            // Forgets an outbox row that does not exist: a write that changes nothing.
            let write = store.outbox_done(OutboxId::new());
            if let Ok(written) = tokio::time::timeout(Duration::from_millis(500), write).await {
                return written.expect("the database takes a write");
            }
            process.signal(Signal::SIGCONT);
        }
    }

    /// `people` write `each` messages, taking turns. The texts are unique: `u03-m007`.
    pub fn say(&self, people: usize, each: usize) -> Vec<(String, String)> {
        let pairs = (0..each).flat_map(|m| (0..people).map(move |u| (format!("u{u:02}"), format!("u{u:02}-m{m:03}"))));
        let said: Vec<_> = pairs.collect();
        for (user, text) in &said {
            self.platform.say(user, text);
        }
        said
    }
}

/// Looks again and again until `met` or the deadline; then fails with `what`.
pub async fn eventually<F, R>(what: &str, within: Duration, mut met: F)
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let deadline = Instant::now() + within;
    while !met().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The binary beside the test executable's folder; `tests/run` builds it before the tests.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
    let binary = target.join("broca");
    assert!(binary.exists(), "{} is missing: run `cargo build -p broca`, or tests/run", binary.display());
    binary
}
