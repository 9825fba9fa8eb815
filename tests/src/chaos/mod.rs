//! Everything breaks at once for a while, and then the logs are held against what was said.
//!
//! Three workers, two plugin processes with a platform each, a broker of three nodes with a copy of each stream on
//! every one, streams so small that they are full whenever nobody works, disks that can be filled (where this process may mount some),
//! and a scripted agent. A [`plan`] made from
//! one seed says who writes what and when, and what is broken when and for how long. Then all of it is mended, the
//! pipeline must come to rest by itself, and a [`Reckoning`] says what became of every message.

mod inflict;
mod plan;
mod report;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use broca_store::Store;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::{Crew, Database, Reckoning, Rig, RigOptions, all_over};
use plan::{NODES, WORKERS, plan};
pub use report::{Report, table};

/// How long the pipeline may take to come to rest once everything is mended.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often the dead are replaced, and the clock is looked at.
const TICK: Duration = Duration::from_millis(50);
/// What each of the two work streams holds: a few dozen messages.
const STREAM_BYTES: u64 = 16 << 10;
/// The disk of each of the broker's nodes.
const DISK_MIB: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct ChaosOptions {
    pub database: Database,
    pub seed: u64,
    /// For how long things break. Mending and coming to rest are not in it.
    pub length: Duration,
}

/// Runs the plan of that seed to its end. Needs a runtime with several threads: the servers' waits block.
pub async fn run(options: ChaosOptions) -> Report {
    let mut chaos = Chaos::start(options.database).await;
    let began = Instant::now();
    for step in plan(options.seed, options.length, options.database, chaos.rig.nats.has_disks()) {
        chaos.tend_until(began + Duration::from_millis(step.at_ms)).await;
        chaos.perform(step.event).await;
    }
    chaos.tend_until(began + options.length).await;
    chaos.mend().await;
    let to_rest = chaos.comes_to_rest().await;
    let stopped = chaos.stop();
    let reckoning = Reckoning::of(&chaos.rig, &chaos.said).await;
    Report::of(options, chaos, reckoning, to_rest, stopped)
}

/// The processes and servers of a run, and what was done to them.
#[derive(Debug)]
struct Chaos {
    workers: Crew,
    plugins: Vec<Crew>,
    rig: Rig,
    said: Vec<(String, String)>,
    /// Faults by kind.
    faults: BTreeMap<String, u64>,
    /// Nodes of the broker that are not running.
    nodes_down: Vec<usize>,
    killed: usize,
}

/// Attempts and time enough for any outage here: a message that ends for having tried too often, or for too long, would
/// prove nothing.
const PATIENT: [(&str, &str); 3] = [
    ("BROCA_RETRY__MAX_ATTEMPTS", "200"),
    ("BROCA_DELIVERY_RETRY__MAX_ATTEMPTS", "200"),
    ("BROCA_AGENTS__DEFAULT__TURN_TIMEOUT_S", "300"),
];

impl Chaos {
    async fn start(database: Database) -> Self {
        let mut options = RigOptions::new(database);
        (options.nats_nodes, options.instances) = (NODES, plan::PLUGINS);
        options.nats_disk_mib = Some(DISK_MIB);
        (options.letta.min_ms, options.letta.max_ms, options.letta.ping_ms) = (20, 400, 500);
        let rig = Rig::start(options).await;
        shrink_streams(&rig);
        let workers = Crew::workers(&rig, WORKERS, &PATIENT);
        let plugin = |name: &str, instance| Crew::new(&rig, name, &["plugin", "run", instance], 1, &PATIENT);
        let plugins = vec![plugin("plugin-a", "demo"), plugin("plugin-b", "demo-2")];
        let (said, faults) = (Vec::new(), BTreeMap::new());
        Self { workers, plugins, rig, said, faults, nodes_down: Vec::new(), killed: 0 }
    }

    fn crews(&mut self) -> impl Iterator<Item = &mut Crew> {
        std::iter::once(&mut self.workers).chain(&mut self.plugins)
    }

    fn tend(&mut self) {
        let Self { workers, plugins, rig, .. } = self;
        std::iter::once(workers).chain(plugins).for_each(|crew| crew.tend(rig));
    }

    /// Replaces whoever dies until then.
    async fn tend_until(&mut self, then: Instant) {
        while Instant::now() < then {
            self.tend();
            tokio::time::sleep(TICK.min(then - Instant::now().min(then))).await;
        }
    }

    /// How long it took; `None` if it did not.
    async fn comes_to_rest(&mut self) -> Option<Duration> {
        let mended = Instant::now();
        let store = self.rig.store().await;
        while !self.is_at_rest(&store).await {
            if mended.elapsed() > PATIENCE {
                return None;
            }
            self.tend_until(Instant::now() + TICK).await;
        }
        Some(mended.elapsed())
    }

    async fn is_at_rest(&self, store: &Store) -> bool {
        self.rig.platforms().all(|(_, platform)| platform.unconfirmed().is_empty()) && all_over(store).await
    }

    /// Stops all processes as a deploy does: what they still have in hand comes out now or never. Names those that
    /// did not end well.
    fn stop(&mut self) -> Vec<String> {
        block_in_place(|| {
            let stopped = self.crews().flat_map(|crew| crew.stop(Duration::from_secs(20)));
            stopped.filter(|(_, well)| !well).map(|(name, _)| name).collect()
        })
    }
}

/// Brings streams that hold next to nothing, so that every outage fills them.
fn shrink_streams(rig: &Rig) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nats/streams");
    let to = rig.folder().join("small/streams");
    std::fs::create_dir_all(&to).expect("a folder can be made");
    for name in ["BROCA_IN.json", "BROCA_OUT.json"] {
        let text = std::fs::read_to_string(from.join(name)).expect("the stream has a file");
        let mut stream: Value = serde_json::from_str(&text).expect("the file is JSON");
        stream["max_bytes"] = json!(STREAM_BYTES);
        std::fs::write(to.join(name), stream.to_string()).expect("a file can be written");
    }
    let files = rig.folder().join("small");
    rig.succeeds(&["nats", "apply", "--files", files.to_str().expect("a plain path")]);
}
