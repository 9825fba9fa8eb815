//! `broca demo`: the whole pipeline under `kill -9`, counted from outside.
//!
//! The scripted agent and the scripted platform live in this process; everything between them is a `broca up` of
//! its own in a fresh folder: broker, database, three workers and a plugin as processes. A worker is killed while
//! turns of it run, and the plugin while it delivers. What is counted in the end is what the agent and the platform
//! themselves wrote down.

mod count;

use std::{path::Path, time::Duration};

use broca_rehearsal::{
    letta::{LettaScript, ScriptedLetta},
    platform::{PlatformScript, ScriptedPlatform},
};
use tokio::time::Instant;

use self::count::Count;
use crate::{
    apart::{Apart, kill9, pause},
    app::App,
    failure::{Blame, Code, Failure},
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

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("broca-demo-").tempdir()?;
    let stage = Stage::set(app, args, folder.path()).await?;
    let played = stage.play(app, args).await;
    stage.up.stop().await;
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
    up: Apart,
}

impl Stage {
    async fn set(app: &App, args: &Args, folder: &Path) -> Result<Self, Failure> {
        let letta_script = LettaScript { min_ms: 20, max_ms: 200, ..LettaScript::default() };
        let letta = ScriptedLetta::start(letta_script).await?;
        // Each send is held a little between its receipt and its answer: there is always one to be cut off.
        let platform_script =
            PlatformScript { log: Some(folder.join("platform.jsonl")), hold_ms: 10, ..PlatformScript::default() };
        let platform = ScriptedPlatform::start(platform_script).await?;
        let up = Apart::start(app, args.workers, &settings(&letta.url(), &platform.url()), folder)?;
        Ok(Self { letta, platform, up })
    }

    /// Lets people write, kills what is to be killed, waits for the answers, counts.
    async fn play(&self, app: &App, args: &Args) -> Result<Count, Failure> {
        let deadline = Instant::now() + Duration::from_secs(args.patience);
        let (people, each) = (usize::from(args.people), usize::from(args.each));
        let total = people * each;
        self.up.until(deadline, "`broca up` did not get ready", || self.up.pid("demo").is_some()).await?;
        app.note(&format!("{} workers and a plugin are up; {people} people write {each} messages each", args.workers));
        let said = count::script(people, each);
        for (person, text) in &said {
            self.platform.say(person, text);
        }

        self.up.until(deadline, "the agent was not called", || self.letta.turns().len() >= total / 5).await?;
        let worker = self.kill_mid_turn(deadline).await?;
        app.note(&format!("kill -9 of {worker} in mid-turn, after {} answers", self.platform.log().len()));
        self.up.until(deadline, "nothing was delivered", || self.platform.log().len() >= total / 2).await?;
        self.kill_mid_delivery(deadline).await?;
        app.note(&format!("kill -9 of the plugin in mid-delivery, after {} answers", self.platform.log().len()));

        // Not an error: what is missing then is what the count is for.
        drop(
            self.up
                .until(deadline, "answers are missing", || count::answered(&self.platform.log(), &said) == total)
                .await,
        );
        self.up.settled(deadline).await?;
        Ok(Count::of(&said, &self.letta.turns(), &self.platform.log(), self.platform.unconfirmed().len()))
    }

    /// Kills the worker that the database shows to be in a turn.
    async fn kill_mid_turn(&self, deadline: Instant) -> Result<String, Failure> {
        let store = self.up.store().await?;
        loop {
            let busy = store.workers_in_turn().await.blame(Code::Unavailable, "the demo's database")?;
            let victim = busy.iter().find_map(|owner| {
                let name = owner.split('.').next()?;
                Some((name.to_owned(), self.up.pid(name)?))
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
        self.up.until(deadline, "no further answer was delivered", || self.platform.log().len() > before).await?;
        let pid = self.up.pid("demo").ok_or_else(|| Failure::new(Code::Failure, "the plugin is not running"))?;
        kill9(pid)
    }
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
