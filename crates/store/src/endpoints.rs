//! The breakers of agents' endpoints, shared by all workers. `broca_core::breaker` decides; this keeps what it decided,
//! under the lock of the endpoint's row and by the database's clock. A message whose endpoint answers never comes here.

use std::time::Duration;

use broca_core::{
    EventKind, Timestamp, WorkerId,
    agent::Failure,
    breaker::{Breaker, BreakerPolicy, Turned},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    Store, StoreError,
    decode::{count, parsed},
    journal::{Event, note},
    tx::{Tx, ask, change, operation},
};

/// What a worker learnt of an endpoint, or wants of it.
#[derive(Clone, Debug)]
pub struct EndpointStep {
    pub endpoint: String,
    pub worker: WorkerId,
    pub what: EndpointSign,
}

#[derive(Clone, Debug)]
pub enum EndpointSign {
    /// Nobody was there.
    Failed { failure: Failure, policy: BreakerPolicy },
    /// It answered, whatever it said.
    Answered,
    /// The worker wants to have the one turn that is let through, and gives a sign within `ttl`.
    Claim { ttl: Duration },
    /// That turn ended without telling anything.
    GiveBack,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct EndpointStepped {
    /// The database's time.
    pub now: Timestamp,
    pub breaker: Breaker,
    /// The worker has the one turn.
    pub claimed: bool,
    pub turned: Option<Turned>,
}

/// An endpoint that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Endpoint {
    pub endpoint: String,
    #[serde(flatten)]
    pub breaker: Breaker,
    /// Why it last failed.
    pub class: Option<String>,
    pub reason: Option<String>,
}

pub(crate) const MEET: &str = "-- endpoint: meet
INSERT INTO endpoints (endpoint, state, failures, openings, open_until, probe_until) VALUES ($1, 'closed', 0, 0, 0, 0)
ON CONFLICT (endpoint) DO NOTHING";

pub(crate) const LOCK: &str = "-- endpoint: lock
SELECT endpoint FROM endpoints WHERE endpoint = $1 FOR UPDATE";

pub(crate) const LOOK: &str = "-- endpoint: look
SELECT endpoint, state, failures, openings, opened_at, open_until, probe, probe_until, class, reason
FROM endpoints WHERE endpoint = $1";

pub(crate) const TROUBLED: &str = "-- endpoints
SELECT endpoint, state, failures, openings, opened_at, open_until, probe, probe_until, class, reason
FROM endpoints WHERE state <> 'closed' OR failures > 0 ORDER BY endpoint";

pub(crate) const WRITE: &str = "-- endpoint: write
UPDATE endpoints
SET state = $2, failures = $3, openings = $4, opened_at = $5, open_until = $6, probe = $7, probe_until = $8,
    class = COALESCE($9, class), reason = COALESCE($10, reason)
WHERE endpoint = $1";

#[derive(sqlx::FromRow)]
struct Row {
    endpoint: String,
    state: String,
    failures: i64,
    openings: i64,
    opened_at: Option<i64>,
    open_until: i64,
    probe: Option<String>,
    probe_until: i64,
    class: Option<String>,
    reason: Option<String>,
}

impl Row {
    fn endpoint(self) -> Result<Endpoint, StoreError> {
        let breaker = Breaker {
            state: parsed(&self.state)?,
            failures: count(self.failures)?,
            openings: count(self.openings)?,
            opened_at: self.opened_at.map(Timestamp),
            open_until: Timestamp(self.open_until),
            probe: self.probe.map(WorkerId::from),
            probe_until: Timestamp(self.probe_until),
        };
        Ok(Endpoint { endpoint: self.endpoint, breaker, class: self.class, reason: self.reason })
    }
}

async fn step(tx: &mut Tx<'_>, step: &EndpointStep) -> Result<EndpointStepped, StoreError> {
    let EndpointStep { endpoint, worker, what } = step;
    change!(tx, MEET, endpoint.as_str())?;
    if let Tx::Pg(conn) = tx {
        sqlx::query(LOCK).bind(endpoint.as_str()).execute(&mut **conn).await?;
    }
    let mut breaker = ask!(tx, fetch_one, Row, LOOK, endpoint.as_str())?.endpoint()?.breaker;
    let now = Timestamp(tx.now().await?);
    let was = breaker.clone();
    let (mut turned, mut claimed, mut failure) = (None, false, None);
    match what {
        EndpointSign::Failed { failure: why, policy } => {
            turned = breaker.failed(worker, policy, now);
            failure = Some(why);
        }
        EndpointSign::Answered => turned = breaker.answered(worker),
        EndpointSign::Claim { ttl } => claimed = breaker.claim(worker, *ttl, now),
        EndpointSign::GiveBack => breaker.give_back(worker, now),
    }
    if breaker != was {
        write(tx, endpoint, &breaker, failure).await?;
    }
    tell(tx, step, &was, &breaker, turned, now).await?;
    Ok(EndpointStepped { now, breaker, claimed, turned })
}

async fn write(
    tx: &mut Tx<'_>,
    endpoint: &str,
    breaker: &Breaker,
    failure: Option<&Failure>,
) -> Result<(), StoreError> {
    change!(
        tx,
        WRITE,
        endpoint,
        breaker.state.as_str(),
        i64::from(breaker.failures),
        i64::from(breaker.openings),
        breaker.opened_at.map(Timestamp::micros),
        breaker.open_until.micros(),
        breaker.probe.as_ref().map(WorkerId::as_str),
        breaker.probe_until.micros(),
        failure.map(|failure| failure.class.as_str()),
        failure.map(|failure| failure.reason.as_str()),
    )?;
    Ok(())
}

/// That it opened and that it closed is told; that it stays open for longer is not.
async fn tell(
    tx: &mut Tx<'_>,
    step: &EndpointStep,
    was: &Breaker,
    is: &Breaker,
    turned: Option<Turned>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (kind, detail) = match (turned, &step.what) {
        (Some(Turned::Opened), EndpointSign::Failed { failure, .. }) => {
            let detail = json!({"endpoint": step.endpoint, "until": is.open_until, "failures": is.failures,
                                "class": failure.class.as_str(), "reason": failure.reason});
            (EventKind::BreakerOpened, detail)
        }
        (Some(Turned::Closed), _) => {
            (EventKind::BreakerClosed, json!({"endpoint": step.endpoint, "since": was.opened_at}))
        }
        _ => return Ok(()),
    };
    note(tx, &Event::new(kind, now.micros()).actor(step.worker.as_str()).detail(detail)).await
}

operation!(Step: EndpointStep => EndpointStepped, "endpoint", step);

/// Those that are open, or that failed since they last answered.
pub(crate) async fn troubled(tx: &mut Tx<'_>) -> Result<Vec<Endpoint>, StoreError> {
    ask!(tx, fetch_all, Row, TROUBLED)?.into_iter().map(Row::endpoint).collect()
}

impl Store {
    /// Moves the breaker of an endpoint by what a worker learnt there.
    pub async fn endpoint_step(&self, step: EndpointStep) -> Result<EndpointStepped, StoreError> {
        self.once::<Step>(step).await
    }
}
