//! The plugins of a `broca up`: each instance has a keeper of its own, which loads, starts and stops it as the settings and
//! operators say. What happens to one of them is nothing to the others.

mod keeper;

use std::{sync::Arc, time::Duration};

use broca_bus::Bus;
use broca_core::Instance;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use keeper::PluginSpec;
use keeper::{Keeper, Kept};

use crate::{
    app::App,
    run_file::ProcessEntry,
    supervisor::{Lines, Stop},
};

/// All instances that the settings name, whether they run or not.
#[derive(Debug)]
pub(crate) struct Plugins {
    kept: Vec<watch::Receiver<Kept>>,
    tasks: JoinSet<()>,
    all: Stop,
}

impl Plugins {
    pub(crate) fn start(app: &Arc<App>, bus: &Bus, specs: Vec<PluginSpec>, lines: Lines, grace: Duration) -> Self {
        let mut plugins = Self { kept: Vec::new(), tasks: JoinSet::new(), all: Stop::default() };
        for spec in specs {
            let (sender, kept) = watch::channel(Kept::new(&spec.instance));
            let all = plugins.all.clone();
            let keeper = Keeper::new(app.clone(), bus.clone(), spec, lines, all, grace, sender);
            plugins.kept.push(kept);
            plugins.tasks.spawn(keeper.run());
        }
        plugins
    }

    /// Waits until each of them runs, or is known not to.
    pub(crate) async fn settled(&mut self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        for kept in &mut self.kept {
            let name = kept.borrow().entry.name.clone();
            if tokio::time::timeout_at(deadline, kept.wait_for(Kept::is_settled)).await.is_err() {
                tracing::error!(plugin = name, "a plugin did not start in time; it is tried further");
            }
        }
    }

    /// Stops all of them at once.
    pub(crate) async fn stop(mut self, grace: Duration, now: &CancellationToken) {
        self.all.begin.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::pin!(ended);
        tokio::select! {
            () = &mut ended => return,
            () = tokio::time::sleep(grace) => {}
            () = now.cancelled() => {}
        }
        self.all.kill.cancel();
        ended.await;
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = ProcessEntry> {
        self.kept.iter().map(|kept| kept.borrow().entry.clone())
    }

    /// The instances that run or are to run.
    pub(crate) fn wanted(&self) -> Vec<Instance> {
        let wanted = self.kept.iter().filter(|kept| kept.borrow().is_wanted());
        wanted.filter_map(|kept| kept.borrow().entry.name.parse().ok()).collect()
    }

    /// Resolves when something about one of them changed.
    pub(crate) async fn changed(&mut self) {
        if self.kept.is_empty() {
            return std::future::pending().await;
        }
        let waits = self.kept.iter_mut().map(|kept| Box::pin(kept.changed()));
        let (changed, _, _) = futures::future::select_all(waits).await;
        if changed.is_err() {
            // Every keeper has ended; there is nothing more to see.
            std::future::pending::<()>().await;
        }
    }
}
