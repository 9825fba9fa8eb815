//! The servers of one run of the benchmark, in a folder of their own.

use std::time::Duration;

use broca_bus::{ApplyOptions, Bus, Topology};
use broca_core::Instance;
use broca_store::Store;
use tempfile::TempDir;

use super::cpu::Roles;
use crate::{
    app::App,
    config::LogFormat,
    embedded::NatsServer,
    failure::{Blame, Code, Failure},
    run_file::NatsAddress,
    supervisor::{ChildSpec, Group, Lines, Output},
    wiring::sqlite_url,
};

#[derive(Clone, Debug)]
pub(super) enum Database {
    Sqlite,
    Postgres(String),
}

/// The instance that the benchmark's plugin is.
pub(super) const INSTANCE: &str = "bench";

pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) bus: Bus,
    pub(super) store: Store,
    address: NatsAddress,
    database_url: String,
    nats: Group,
    lines: Lines,
    _folder: TempDir,
}

impl Stage {
    pub(super) async fn set(app: &App, database: Database) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("broca-bench-").tempdir()?;
        let (name, database_url) = match database {
            Database::Sqlite => ("sqlite", sqlite_url(folder.path())?),
            Database::Postgres(url) => ("postgres", url),
        };
        let lines = Lines::shared(LogFormat::Pretty);
        let server = NatsServer::prepare(folder.path(), app.config.settings.nats.server.as_deref())?;
        let nats = Group::start([server.child()], lines);
        let bus = app.bus_at(&server.address, "bench").await?;
        let store = app.store_at(&database_url).await?;
        store.migrate().await?;
        let instances = vec![instance()?];
        Topology::embedded()?.apply(&bus, &ApplyOptions { instances, ..ApplyOptions::default() }).await?;
        Ok(Self { name, bus, store, address: server.address, database_url, nats, lines, _folder: folder })
    }

    /// Starts a worker with these settings beside the servers' addresses.
    pub(super) async fn worker(&self, settings: &[(&str, &str)]) -> Result<Group, Failure> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut env = vec![
            pair("BROCA_NATS__URL", &self.address.url),
            pair("BROCA_DATABASE__URL", &self.database_url),
            pair("BROCA_LOG__LEVEL", "warn"),
        ];
        if let Some(login) = &self.address.login {
            env.extend([pair("BROCA_NATS__USER", &login.user), pair("BROCA_NATS__PASSWORD", &login.password)]);
        }
        env.extend(settings.iter().map(|(name, value)| pair(name, value)));
        let spec = ChildSpec {
            name: "worker".to_owned(),
            program: std::env::current_exe()?,
            args: vec!["worker".into()],
            env,
            output: Output::Ours,
            lock: None,
        };
        let mut worker = Group::start([spec], self.lines);
        worker.ready(Duration::from_secs(30)).await.blame(Code::Failure, "the benchmark's worker")?;
        Ok(worker)
    }

    /// Whom CPU time is charged to; `worker` when one runs.
    pub(super) fn roles(&self, worker: Option<&Group>) -> Roles {
        let roles = Roles::default().with("bench", std::process::id());
        let roles = pid(&self.nats).into_iter().fold(roles, |roles, pid| roles.with("nats", pid));
        worker.and_then(pid).into_iter().fold(roles, |roles, pid| roles.with("worker", pid))
    }

    pub(super) async fn strike(self, app: &App) {
        self.nats.stop(Duration::from_secs(10), &app.shutdown.now).await;
    }
}

pub(super) fn pid(group: &Group) -> Option<u32> {
    group.processes().next()?.pid
}

pub(super) fn instance() -> Result<Instance, Failure> {
    INSTANCE.parse().blame(Code::Failure, "the benchmark's instance")
}
