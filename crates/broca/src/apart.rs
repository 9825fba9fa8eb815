//! A `broca up` in a folder of its own, which knows nothing of this process's settings: the demo's, and the conformance
//! suite's.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use broca_core::ResponseState;
use broca_store::{Counts, Store, StoreOptions};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{
    app::App,
    failure::{Blame, Code, Failure},
    run_file::RunFile,
};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What it gets to stop.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug)]
pub(crate) struct Apart {
    up: Mutex<Child>,
    data: PathBuf,
}

impl Apart {
    /// Starts it with these settings. Its log is `up.log` in the folder.
    pub(crate) fn start(app: &App, workers: u8, settings: &str, folder: &Path) -> Result<Self, Failure> {
        let config = folder.join("broca.toml");
        std::fs::write(&config, settings)?;
        let data = folder.join("data");
        let log = std::fs::File::create(folder.join("up.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["up", "--workers", &workers.to_string()]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| crate::config::is_setting(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        if let Some(server) = &app.config.settings.nats.server {
            command.env("BROCA_NATS__SERVER", server);
        }
        command
            .env("BROCA_CONFIG", config)
            .env("BROCA_DATA_DIR", &data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        Ok(Self { up: Mutex::new(command.spawn()?), data })
    }

    /// The process that it runs under this name; `None` while it is not running.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        let running = RunFile::read(&self.data).ok()??;
        running.processes.iter().find(|process| process.name == name)?.pid
    }

    /// Its database.
    pub(crate) async fn store(&self) -> Result<Store, Failure> {
        let running = RunFile::read(&self.data)?;
        let running = running.ok_or_else(|| Failure::new(Code::Failure, "the private `broca up` has ended"))?;
        let options = StoreOptions { max_connections: 2 };
        Store::connect(&running.database_url, options).await.blame(Code::Unavailable, "the private database")
    }

    /// Waits until the pipeline itself has nothing open, or the deadline; the figures are then as they are returned.
    pub(crate) async fn settled(&self, deadline: Instant) -> Result<Counts, Failure> {
        let store = self.store().await?;
        loop {
            let counts = store.counts().await.blame(Code::Unavailable, "the private database")?;
            let open = |state: ResponseState| counts.responses.get(state.as_str()).copied().unwrap_or(0);
            let answers_open = ResponseState::ALL.iter().filter(|s| !s.is_terminal()).map(|s| open(*s)).sum::<i64>();
            let rests = counts.pending_conversations == 0 && counts.outbox == 0 && answers_open == 0;
            if rests || Instant::now() > deadline {
                return Ok(counts);
            }
            sleep(LOOK_EVERY * 10).await;
        }
    }

    fn has_ended(&self) -> bool {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(up.try_wait(), Ok(None))
    }

    /// Looks again and again until `met`.
    ///
    /// # Errors
    /// `otherwise`, at the deadline; or it has ended.
    pub(crate) async fn until(
        &self,
        deadline: Instant,
        otherwise: &str,
        met: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        while !met() {
            if self.has_ended() {
                return Err(Failure::new(Code::Failure, "the private `broca up` has ended"));
            }
            pause(deadline, otherwise).await?;
        }
        Ok(())
    }

    pub(crate) async fn stop(self) {
        let mut up = self.up.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = up.id().and_then(|pid| i32::try_from(pid).ok())
            && kill(Pid::from_raw(pid), Signal::SIGTERM).is_ok()
            && tokio::time::timeout(PATIENCE, up.wait()).await.is_err()
        {
            tracing::warn!("the private `broca up` did not stop in time and is killed");
        }
    }
}

pub(crate) async fn pause(deadline: Instant, otherwise: &str) -> Result<(), Failure> {
    if Instant::now() > deadline {
        return Err(Failure::new(Code::Unavailable, format!("{otherwise} in time"))
            .hint("look into up.log in the folder that is kept; on a slow machine it takes more patience"));
    }
    sleep(LOOK_EVERY).await;
    Ok(())
}

pub(crate) fn kill9(pid: u32) -> Result<(), Failure> {
    let pid = i32::try_from(pid).blame(Code::Failure, "a process id")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).blame(Code::Failure, "kill -9")
}
