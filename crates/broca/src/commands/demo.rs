//! `broca demo`: the whole pipeline under `kill -9`, counted from outside.
//!
//! The scripted agent and the scripted platform live in this process; everything between them is a `broca up` of
//! its own in a fresh folder: broker, database, three workers and a plugin as processes. A worker is killed while
//! turns of it run, and the plugin while it delivers. What is counted in the end is what the agent and the platform
//! themselves wrote down.

mod count;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use broca_core::ResponseState;
use broca_rehearsal::{
    letta::{LettaScript, ScriptedLetta},
    platform::{PlatformScript, ScriptedPlatform},
};
use broca_store::{Store, StoreOptions};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use self::count::Count;
use crate::{
    app::App,
    failure::{Blame, Code, Failure},
    run_file::RunFile,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// People that write at once
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    people: u16,
    /// Messages that each of them writes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=500))]
    each: u16,
    /// Worker processes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=16))]
    workers: u8,
    /// How long to wait for the last answer
    #[arg(long, default_value_t = 180, value_name = "SECONDS")]
    patience: u64,
    /// Leave the folder with logs and database behind
    #[arg(long)]
    keep: bool,
}

/// How often the far sides' logs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("broca-demo-").tempdir()?;
    let stage = Stage::set(app, args, folder.path()).await?;
    let played = stage.play(app, args).await;
    stage.strike().await;
    if args.keep || played.is_err() {
        let kept = folder.keep();
        app.note(&format!("logs and database are in {}", kept.display()));
    }
    let count = played?;
    app.output.result(&count, || format!("demo: {count}"))?;
    if count.is_clean() {
        Ok(())
    } else {
        Err(Failure::new(Code::Failure, "the demo lost, doubled or reordered something").hint(
            "run `broca demo --keep` and look into up.log and broca.db in the folder that it names; please report it",
        ))
    }
}

/// Everything that runs during the demo.
struct Stage {
    letta: ScriptedLetta,
    platform: ScriptedPlatform,
    up: Child,
    data: PathBuf,
}

impl Stage {
    async fn set(app: &App, args: &Args, folder: &Path) -> Result<Self, Failure> {
        let letta_script = LettaScript { min_ms: 20, max_ms: 200, ..LettaScript::default() };
        let letta = ScriptedLetta::start(letta_script).await?;
        // Each send is held a little between its receipt and its answer: there is always one to be cut off.
        let platform_script =
            PlatformScript { log: Some(folder.join("platform.jsonl")), hold_ms: 10, ..PlatformScript::default() };
        let platform = ScriptedPlatform::start(platform_script).await?;
        let config = folder.join("broca.toml");
        std::fs::write(&config, settings(&letta.url(), &platform.url()))?;
        let data = folder.join("data");
        let up = start(app, args, &config, &data)?;
        Ok(Self { letta, platform, up, data })
    }

    /// Lets people write, kills what is to be killed, waits for the answers, counts.
    async fn play(&self, app: &App, args: &Args) -> Result<Count, Failure> {
        let deadline = Instant::now() + Duration::from_secs(args.patience);
        let (people, each) = (usize::from(args.people), usize::from(args.each));
        let total = people * each;
        self.until(deadline, "`broca up` did not get ready", || self.pid("demo").is_some()).await?;
        app.note(&format!("{} workers and a plugin are up; {people} people write {each} messages each", args.workers));
        let said = count::script(people, each);
        for (person, text) in &said {
            self.platform.say(person, text);
        }

        self.until(deadline, "the agent was not called", || self.letta.turns().len() >= total / 5).await?;
        let worker = self.kill_mid_turn(deadline).await?;
        app.note(&format!("kill -9 of {worker} in mid-turn, after {} answers", self.platform.log().len()));
        self.until(deadline, "nothing was delivered", || self.platform.log().len() >= total / 2).await?;
        self.kill_mid_delivery(deadline).await?;
        app.note(&format!("kill -9 of the plugin in mid-delivery, after {} answers", self.platform.log().len()));

        // Not an error: what is missing then is what the count is for.
        drop(
            self.until(deadline, "answers are missing", || count::answered(&self.platform.log(), &said) == total).await,
        );
        self.settled(deadline).await?;
        Ok(Count::of(&said, &self.letta.turns(), &self.platform.log(), self.platform.unconfirmed().len()))
    }

    /// Kills the worker that the database shows to be in a turn.
    async fn kill_mid_turn(&self, deadline: Instant) -> Result<String, Failure> {
        let store = self.store().await?;
        loop {
            let busy = store.workers_in_turn().await.blame(Code::Unavailable, "the demo's database")?;
            let victim = busy.iter().find_map(|owner| {
                let name = owner.split('.').next()?;
                Some((name.to_owned(), self.pid(name)?))
            });
            if let Some((name, pid)) = victim {
                kill9(pid)?;
                return Ok(name);
            }
            pause(deadline, "no worker was ever in a turn").await?;
        }
    }

    /// Kills the plugin while the platform holds back the answer to a send that it has already written down.
    async fn kill_mid_delivery(&self, deadline: Instant) -> Result<(), Failure> {
        let before = self.platform.log().len();
        self.until(deadline, "no further answer was delivered", || self.platform.log().len() > before).await?;
        let pid = self.pid("demo").ok_or_else(|| Failure::new(Code::Failure, "the plugin is not running"))?;
        kill9(pid)
    }

    /// Waits until the pipeline itself has nothing open, so that a late second answer would be seen.
    async fn settled(&self, deadline: Instant) -> Result<(), Failure> {
        let store = self.store().await?;
        loop {
            let counts = store.counts().await.blame(Code::Unavailable, "the demo's database")?;
            let open = |state: ResponseState| counts.responses.get(state.as_str()).copied().unwrap_or(0);
            let answers_open = ResponseState::ALL.iter().filter(|s| !s.is_terminal()).map(|s| open(*s)).sum::<i64>();
            if counts.pending_conversations == 0 && counts.outbox == 0 && answers_open == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Ok(());
            }
            sleep(LOOK_EVERY * 10).await;
        }
    }

    async fn store(&self) -> Result<Store, Failure> {
        let running = RunFile::read(&self.data)?;
        let running = running.ok_or_else(|| Failure::new(Code::Failure, "the demo's `broca up` has ended"))?;
        let options = StoreOptions { max_connections: 2 };
        Store::connect(&running.database_url, options).await.blame(Code::Unavailable, "the demo's database")
    }

    /// The process that `broca up` runs under this name; `None` while it is not running.
    fn pid(&self, name: &str) -> Option<u32> {
        let running = RunFile::read(&self.data).ok()??;
        running.processes.iter().find(|p| p.name == name)?.pid
    }

    async fn until(&self, deadline: Instant, otherwise: &str, met: impl Fn() -> bool) -> Result<(), Failure> {
        while !met() {
            pause(deadline, otherwise).await?;
        }
        Ok(())
    }

    async fn strike(mut self) {
        if let Some(pid) = self.up.id().and_then(|pid| i32::try_from(pid).ok())
            && kill(Pid::from_raw(pid), Signal::SIGTERM).is_ok()
            && tokio::time::timeout(Duration::from_secs(40), self.up.wait()).await.is_err()
        {
            tracing::warn!("the demo's `broca up` did not stop in time and is killed");
        }
    }
}

async fn pause(deadline: Instant, otherwise: &str) -> Result<(), Failure> {
    if Instant::now() > deadline {
        return Err(Failure::new(Code::Unavailable, format!("{otherwise} in time"))
            .hint("look into up.log in the demo's folder; on a slow machine give it more --patience"));
    }
    sleep(LOOK_EVERY).await;
    Ok(())
}

fn kill9(pid: u32) -> Result<(), Failure> {
    let pid = i32::try_from(pid).blame(Code::Failure, "a process id")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).blame(Code::Failure, "kill -9")
}

/// Leases are short, so that the demo is: a dead worker's conversations are free after two seconds.
fn settings(letta: &str, platform: &str) -> String {
    format!(
        r#"mode = "live"
[agents.default]
endpoint = "{letta}"
agent_id = "agent-rehearsal"
[worker]
lease_ttl_ms = 2000
sweep_interval_ms = 250
[delivery]
lease_ttl_ms = 2000
sweep_interval_ms = 250
[plugins.cli]
enabled = false
[plugins.demo]
settings = {{ url = "{platform}" }}
"#
    )
}

/// A `broca up` that knows nothing of this process's own settings, but where the nats-server binary is.
fn start(app: &App, args: &Args, config: &Path, data: &Path) -> Result<Child, Failure> {
    let log = std::fs::File::create(config.with_file_name("up.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["up", "--workers", &args.workers.to_string()]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| crate::config::is_setting(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    if let Some(server) = &app.config.settings.nats.server {
        command.env("BROCA_NATS__SERVER", server);
    }
    command
        .env("BROCA_CONFIG", config)
        .env("BROCA_DATA_DIR", data)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    Ok(command.spawn()?)
}
