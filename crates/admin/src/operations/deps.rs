//! What operations work with: the database, the broker where one needs it, and what the settings say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use broca_bus::{Bus, BusOptions};
use broca_core::{
    Instance, Limits,
    route::{Mode, Routes},
};
use broca_store::{PlanItem, RetentionPolicy, Store};
use tokio::sync::OnceCell;

use super::OperationError;
use crate::{
    agents::{AgentFacts, AgentHealth},
    replay::Today,
    status::Process,
};

/// What the settings say of this deployment.
#[derive(Clone, Debug)]
pub struct Configured {
    pub routes: Arc<Routes>,
    /// The agents, by their names.
    pub agents: BTreeMap<String, AgentFacts>,
    /// All plugin instances, and those that are enabled.
    pub instances: BTreeSet<Instance>,
    pub enabled: Vec<Instance>,
    /// What is done with messages, unless a route or somebody at run time says otherwise.
    pub mode: Mode,
    pub limits: Limits,
    /// How long a message may be under way; `None` is no limit.
    pub max_age: Option<Duration>,
    /// How long things are kept.
    pub retention: RetentionPolicy,
}

/// What runs on this machine.
#[derive(Clone, Debug, Default)]
pub struct Running {
    pub processes: Vec<Process>,
    /// Where the supervisor shows its metrics.
    pub metrics: Option<String>,
}

type LookAround = Box<dyn Fn() -> Result<Running, OperationError> + Send + Sync>;
type Asked = Pin<Box<dyn Future<Output = Result<Vec<AgentHealth>, OperationError>> + Send>>;
type AskAgents = Box<dyn Fn() -> Asked + Send + Sync>;
type Watch = Box<dyn Fn(&PlanItem) + Send + Sync>;

pub struct Deps {
    pub store: Store,
    pub configured: Configured,
    address: Result<BusOptions, OperationError>,
    patience: Duration,
    bus: OnceCell<Bus>,
    around: LookAround,
    ask_agents: Option<AskAgents>,
    watch: Option<Watch>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("store", &self.store).field("configured", &self.configured).finish_non_exhaustive()
    }
}

impl Deps {
    /// `address` is how the broker is reached, or why it is not known; it is connected to when the first operation needs
    /// it, which waits for it no longer than `patience`. `around` says what runs on this machine.
    pub fn new(
        store: Store,
        configured: Configured,
        address: Result<BusOptions, OperationError>,
        patience: Duration,
        around: impl Fn() -> Result<Running, OperationError> + Send + Sync + 'static,
    ) -> Self {
        let (bus, around) = (OnceCell::new(), Box::new(around));
        Self { store, configured, address, patience, bus, around, ask_agents: None, watch: None }
    }

    /// `watch` is told of each item of a replay as it is dealt with.
    pub fn watched(self, watch: impl Fn(&PlanItem) + Send + Sync + 'static) -> Self {
        Self { watch: Some(Box::new(watch)), ..self }
    }

    /// `ask` has every agent say whether it is there.
    pub fn asking(self, ask: impl Fn() -> Asked + Send + Sync + 'static) -> Self {
        Self { ask_agents: Some(Box::new(ask)), ..self }
    }

    /// Nobody answers where nobody can be asked.
    pub(super) async fn ask_agents(&self) -> Result<Vec<AgentHealth>, OperationError> {
        match &self.ask_agents {
            Some(ask) => ask().await,
            None => Ok(Vec::new()),
        }
    }

    pub async fn bus(&self) -> Result<&Bus, OperationError> {
        let connect = || async {
            let options = self.address.clone()?;
            Ok(Bus::connect_within(options, self.patience).await?)
        };
        self.bus.get_or_try_init(connect).await
    }

    pub(super) fn running(&self) -> Result<Running, OperationError> {
        (self.around)()
    }

    pub(super) fn seen(&self, item: &PlanItem) {
        if let Some(watch) = &self.watch {
            watch(item);
        }
    }

    pub(super) fn today(&self) -> Today<'_> {
        let Configured { routes, agents, limits, .. } = &self.configured;
        Today { routes, agents, limits }
    }
}
