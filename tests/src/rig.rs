//! Everything that one end-to-end test needs, on free ports under one temporary folder.

use std::{
    collections::{BTreeMap, BTreeSet},
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
use broca_servers::{NatsCluster, Postgres};
use broca_store::{Store, StoreOptions};
use nix::sys::signal::Signal;
use serde_json::Value;
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
    /// Servers of the broker; each stream has a copy on each of them.
    pub nats_nodes: usize,
    /// The size of a disk of its own for each of them, where one can be mounted.
    pub nats_disk_mib: Option<usize>,
    /// Instances of the demo plugin, each with a platform of its own: `demo`, and `demo-2`.
    pub instances: usize,
    /// Characters in one message of the platforms; longer answers go out in parts.
    pub max_text_chars: Option<usize>,
    /// How long a silent process keeps what it works on.
    pub lease_ttl_ms: u64,
    /// Appended to the settings file.
    pub settings: String,
}

impl RigOptions {
    pub fn new(database: Database) -> Self {
        let (letta, platform) = (LettaScript::default(), PlatformScript::default());
        Self {
            database,
            letta,
            platform,
            nats_nodes: 1,
            nats_disk_mib: None,
            instances: 1,
            lease_ttl_ms: 1_500,
            max_text_chars: None,
            settings: String::new(),
        }
    }
}

/// The servers, the scripted far sides, and the way to run the binary against them.
#[derive(Debug)]
pub struct Rig {
    pub nats: NatsCluster,
    pub postgres: Option<Postgres>,
    pub letta: ScriptedLetta,
    script: LettaScript,
    /// The keys of turns of which the agent had stored a part when it was killed: nobody can finish them, and to say
    /// their message again would double it.
    pub destroyed: BTreeSet<String>,
    /// Of the instance `demo`.
    pub platform: ScriptedPlatform,
    /// Of the instance `demo-2`.
    pub second: Option<ScriptedPlatform>,
    database_url: String,
    config: PathBuf,
    folder: TempDir,
}

/// Short times, so that what a crash leaves is picked up within a test's patience.
fn settings(letta: &str, platform: &str, lease_ttl_ms: u64, more: &str) -> String {
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
lease_ttl_ms = {lease_ttl_ms}
drain_ms = 3000
sweep_interval_ms = 200
sweep_grace_ms = 1500
[delivery]
lease_ttl_ms = {lease_ttl_ms}
sweep_interval_ms = 200
drain_ms = 3000
[plugins.demo.settings]
{platform}
{more}
"#
    )
}

fn plugin_settings(platform: &ScriptedPlatform, max_text_chars: Option<usize>) -> String {
    let cut = max_text_chars.map(|chars| format!("\nmax_text_chars = {chars}")).unwrap_or_default();
    format!("url = \"{}\"{cut}", platform.url())
}

impl Rig {
    /// With these settings besides its own, and the same rows as the processes see.
    pub async fn with(database: Database, settings: impl Into<String>) -> (Self, Store) {
        let rig = Self::start(RigOptions { settings: settings.into(), ..RigOptions::new(database) }).await;
        let store = rig.store().await;
        (rig, store)
    }

    /// Starts the servers and brings schema and topology up to date, by the binary's own commands.
    pub async fn start(options: RigOptions) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::Builder::new().prefix("broca-e2e-").tempdir().expect("a temporary folder");
        let nats = match options.nats_disk_mib {
            Some(mib) => NatsCluster::start_on_disks(options.nats_nodes, mib),
            None => NatsCluster::start(options.nats_nodes),
        };
        let (postgres, database_url) = match options.database {
            Database::Sqlite => (None, format!("sqlite:{}", folder.path().join("broca.db").display())),
            Database::Postgres => {
                let postgres = Postgres::start();
                let url = postgres.new_database();
                (Some(postgres), url)
            }
        };
        let file = |name: &str| Some(folder.path().join(name));
        let script = LettaScript { journal: file("letta.jsonl"), turn_log: file("turns.jsonl"), ..options.letta };
        let letta = ScriptedLetta::start(script.clone()).await.expect("the scripted Letta starts");
        let platform = ScriptedPlatform::start(options.platform.clone()).await.expect("the scripted platform starts");
        let second = match options.instances {
            1 => None,
            _ => Some(ScriptedPlatform::start(options.platform).await.expect("the second platform starts")),
        };
        let more = second.as_ref().map(|platform| {
            let settings = plugin_settings(platform, options.max_text_chars);
            format!("[plugins.demo-2]\nplugin = \"demo\"\n[plugins.demo-2.settings]\n{settings}\n")
        });
        let replicas = format!("[nats]\nreplicas = {}\n", options.nats_nodes);
        let more = [replicas, more.unwrap_or_default(), options.settings].concat();
        let plugin = plugin_settings(&platform, options.max_text_chars);
        let config = folder.path().join("broca.toml");
        std::fs::write(&config, settings(&letta.url(), &plugin, options.lease_ttl_ms, &more))
            .expect("settings are written");
        let destroyed = BTreeSet::new();
        let rig = Self { nats, postgres, letta, script, destroyed, platform, second, database_url, config, folder };
        rig.succeeds(&["migrate"]);
        rig.succeeds(&["nats", "apply"]);
        rig
    }

    /// Leaves the folder there for somebody to look at.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
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
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
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
    pub async fn restart_letta(mut self) -> Self {
        self.letta.die().await;
        self.revive_letta().await;
        self
    }

    /// Starts a killed agent's server again.
    pub async fn revive_letta(&mut self) {
        self.destroyed.extend(self.cut_off());
        let listener = TcpListener::bind(self.letta.address()).await.expect("the port is free again");
        self.letta = ScriptedLetta::on(listener, self.script.clone()).expect("the scripted Letta starts again");
    }

    /// The agent's server, as processes and people see it.
    pub fn letta_url(&self) -> String {
        format!("{}/", self.letta.url())
    }

    /// The keys of runs that were started and never ended, though something of them was stored, by the agent's own
    /// journal.
    fn cut_off(&self) -> BTreeSet<String> {
        let journal = self.script.journal.as_ref().expect("a rig's agent has a journal");
        let text = std::fs::read_to_string(journal).expect("the journal can be read");
        let (mut keys, mut stored, mut ended) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for entry in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            match entry["what"].as_str() {
                Some("run_started") => drop(keys.insert(field("id"), field("otid"))),
                Some("message") => drop(stored.insert(field("run"))),
                Some("run_ended") => drop(ended.insert(field("id"))),
                _ => {}
            }
        }
        stored.difference(&ended).filter_map(|run| keys.remove(run)).collect()
    }

    /// All platforms with their instances' names.
    pub fn platforms(&self) -> impl Iterator<Item = (&'static str, &ScriptedPlatform)> {
        [("demo", &self.platform)].into_iter().chain(self.second.as_ref().map(|platform| ("demo-2", platform)))
    }

    /// `broca check` has nothing to say.
    pub fn is_sound(&self) -> Result<(), String> {
        let output = self.run(&["check", "--overdue", "10s"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(text) }
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
pub(crate) fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
    let binary = target.join("broca");
    assert!(binary.exists(), "{} is missing: run `cargo build -p broca`, or tests/run", binary.display());
    binary
}
