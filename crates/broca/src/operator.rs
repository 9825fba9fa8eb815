//! The way from the command line to the table of operations.

use std::time::Duration;

use broca_admin::{
    access::AccessError,
    agents::AgentHealth,
    dead_letters::PurgeError,
    holds::HoldError,
    journey::ShowError,
    live::LiveError,
    operations::{Caller, Code as OperationCode, Configured, Deps, Operation, OperationError, Running, perform},
    replay::ReplayError,
    status::{Process, StatusError},
};
use broca_bus::BusError;
use broca_store::StoreError;

use crate::{
    agents,
    app::App,
    commands::letters::actor,
    config::Settings,
    failure::{Code, Failure},
    run_file::RunFile,
};

/// How long somebody at a terminal waits for a broker that starts.
const PATIENCE: Duration = Duration::from_secs(30);

impl App {
    /// What operations work with, for somebody at a terminal.
    pub(crate) async fn deps(&self) -> Result<Deps, Failure> {
        self.patient_deps(PATIENCE).await
    }

    /// `patience` is how long an operation waits for the broker at most.
    pub(crate) async fn patient_deps(&self, patience: Duration) -> Result<Deps, Failure> {
        let store = self.store().await?;
        store.check_migrated().await?;
        let address = self.nats_address().map(|address| self.bus_options(&address, "admin"));
        let data_dir = self.config.settings.data_dir.clone();
        let around = move || running(RunFile::read(&data_dir)?);
        let deps = Deps::new(store, self.configured(), address.map_err(OperationError::from), patience, around);
        let settings = self.config.settings.clone();
        Ok(deps.asking(move || Box::pin(agents_health(settings.clone()))))
    }

    fn configured(&self) -> Configured {
        let settings = &self.config.settings;
        Configured {
            routes: self.routes(),
            agents: settings.agents.iter().map(|(name, agent)| (name.clone(), agent.facts())).collect(),
            instances: settings.plugins.keys().cloned().collect(),
            enabled: self.enabled_instances(),
            mode: settings.effective_mode(),
            limits: settings.limits,
            max_age: self.longest_life(Duration::ZERO),
            retention: settings.retention.policy(),
        }
    }

    /// Does an operation as the person at this terminal.
    pub(crate) async fn operate<O: Operation>(&self, deps: &Deps, request: &O::Request) -> Result<O::Answer, Failure> {
        Ok(perform::<O>(deps, &Caller::local(actor()), request).await?)
    }
}

/// What each agent says, as operations tell it.
async fn agents_health(settings: Settings) -> Result<Vec<AgentHealth>, OperationError> {
    let agents = agents::configured(&settings)?;
    Ok(agents::ask(&settings, &agents).await.into_iter().map(agents::Asked::health).collect())
}

/// The supervisor's own words, as operations tell them.
fn running(file: Option<RunFile>) -> Result<Running, OperationError> {
    let Some(file) = file else { return Ok(Running::default()) };
    let metrics = file.metrics.map(|address| address.to_string());
    let told = serde_json::to_value(file.processes).and_then(serde_json::from_value::<Vec<Process>>);
    let processes = told.map_err(|error| OperationError::new(OperationCode::Failure, error.to_string()))?;
    Ok(Running { processes, metrics })
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        let code = match error.code {
            OperationCode::Failure => Code::Failure,
            OperationCode::Usage => Code::Usage,
            OperationCode::NotFound => Code::NotFound,
            OperationCode::Conflict => Code::Conflict,
            OperationCode::Unauthorised => Code::Unauthorised,
            OperationCode::Unavailable => Code::Unavailable,
        };
        let failure = Self::new(code, error.message);
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// The errors of what operations call, for commands that call it themselves.
macro_rules! fails_as_an_operation {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                OperationError::from(error).into()
            }
        }
    )*};
}

fails_as_an_operation!(
    StoreError,
    BusError,
    StatusError,
    PurgeError,
    ShowError,
    ReplayError,
    HoldError,
    AccessError,
    LiveError
);

impl From<Failure> for OperationError {
    fn from(failure: Failure) -> Self {
        let code = match failure.code {
            Code::Failure | Code::Partial => OperationCode::Failure,
            Code::Usage => OperationCode::Usage,
            Code::NotFound => OperationCode::NotFound,
            Code::Conflict => OperationCode::Conflict,
            Code::Unauthorised => OperationCode::Unauthorised,
            Code::Unavailable => OperationCode::Unavailable,
        };
        Self { code, message: failure.message, hint: failure.hint }
    }
}
