//! Signs of life of worker processes, and what each of them hears in return: which endpoints are in trouble, and what is
//! parked. One sign is given with every heartbeat, whatever the worker does.

use std::time::Duration;

use broca_core::{ConversationId, Timestamp, WorkerId, clock::micros};
use serde::Serialize;
use serde_json::json;

use crate::{
    Endpoint, PacedPlan, ParkedCount, Store, StoreError,
    backlog_plan::paced,
    decode::parsed,
    endpoints,
    lite::{batch, hex},
    operation::column,
    tx::{Tx, ask, change, operation, snapshot},
};

/// A dead worker is remembered for so long, for people who ask what became of it.
const REMEMBERED_MICROS: i64 = 24 * 3_600 * 1_000_000;

/// What a worker says of itself.
#[derive(Clone, Debug)]
pub struct Sign {
    pub worker: WorkerId,
    pub host: String,
    pub pid: u32,
    pub version: String,
    /// Conversations that it may hold at once, and holds.
    pub slots: usize,
    pub in_use: usize,
    pub draining: bool,
    /// Without another sign it counts as dead after this.
    pub ttl: Duration,
    /// The slots of limited agents that it has; they are renewed for `slot_ttl`.
    pub turn_slots: Vec<ConversationId>,
    pub slot_ttl: Duration,
    /// Endpoints whose one turn it has; renewed for `ttl`.
    pub probes: Vec<String>,
}

/// What a worker hears in return.
#[derive(Clone, Debug)]
pub struct Pulse {
    /// The database's time.
    pub now: Timestamp,
    pub endpoints: Vec<Endpoint>,
    pub parked: Vec<ParkedCount>,
}

/// A worker process that gave a sign within the last day and did not end in good order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct WorkerRow {
    pub id: String,
    pub host: String,
    pub pid: i64,
    pub version: String,
    pub slots: i64,
    pub in_use: i64,
    pub draining: bool,
    pub started_at: Timestamp,
    pub seen_at: Timestamp,
    /// Its last sign is not older than it promised.
    pub alive: bool,
}

/// Who works, and what keeps messages waiting.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Pace {
    pub workers: Vec<WorkerRow>,
    pub endpoints: Vec<Endpoint>,
    pub parked: Vec<ParkedCount>,
    /// Turns under way of agents that may have so many at a time, by agent.
    pub turn_slots: Vec<(String, i64)>,
    /// Plans for a backlog that are being carried out, the soonest done first.
    pub paced: Vec<PacedPlan>,
    /// The database's time.
    pub now: Timestamp,
}

pub(crate) const SIGN: &str = "-- worker: sign
INSERT INTO workers (id, host, pid, version, slots, in_use, draining, started_at, seen_at, alive_until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)
ON CONFLICT (id) DO UPDATE
SET slots = excluded.slots, in_use = excluded.in_use, draining = excluded.draining, seen_at = excluded.seen_at,
    alive_until = excluded.alive_until";

pub(crate) const BURY: &str = "-- workers: forget the long dead
DELETE FROM workers WHERE alive_until < $1";

pub(crate) const PROBE: &str = "-- worker: probe
UPDATE endpoints SET probe_until = $3 WHERE endpoint = $1 AND probe = $2 AND state = 'half_open'";

pub(crate) const RENEW_SLOTS_PG: &str = "-- worker: slots
UPDATE turn_slots SET until = $2 WHERE worker = $1 AND conversation_id = ANY ($3)";

pub(crate) const RENEW_SLOTS_LITE: &str = "-- worker: slots
UPDATE turn_slots SET until = $2 WHERE worker = $1 AND conversation_id IN (SELECT unhex(value) FROM json_each($3))";

/// Of the dead, and those that could not be freed.
pub(crate) const STALE_SLOTS: &str = "-- worker: stale slots
DELETE FROM turn_slots WHERE until <= $1";

pub(crate) const PARKED: &str = "-- parked
SELECT agent, parked, count(*), min(wake_at) FROM conversations
WHERE parked IS NOT NULL AND head < tail GROUP BY agent, parked ORDER BY agent, parked";

pub(crate) const GONE: &str = "-- worker: ends
DELETE FROM workers WHERE id = $1";

pub(crate) const WORKERS: &str = "-- workers
SELECT id, host, pid, version, slots, in_use, draining, started_at, seen_at, alive_until FROM workers
ORDER BY started_at, id";

pub(crate) const SLOTS: &str = "-- turn slots
SELECT agent, count(*) FROM turn_slots WHERE until > $1 GROUP BY agent ORDER BY agent";

async fn sign(tx: &mut Tx<'_>, sign: &Sign) -> Result<Pulse, StoreError> {
    let worker = sign.worker.as_str();
    let now = tx.now().await?;
    let until = now.saturating_add(micros(sign.ttl));
    let (pid, slots, in_use) = (i64::from(sign.pid), size(sign.slots), size(sign.in_use));
    let (host, version) = (sign.host.as_str(), sign.version.as_str());
    change!(tx, SIGN, worker, host, pid, version, slots, in_use, sign.draining, now, until)?;
    change!(tx, BURY, now - REMEMBERED_MICROS)?;
    for endpoint in &sign.probes {
        change!(tx, PROBE, endpoint.as_str(), worker, until)?;
    }
    if !sign.turn_slots.is_empty() {
        renew_slots(tx, sign, now.saturating_add(micros(sign.slot_ttl))).await?;
        change!(tx, STALE_SLOTS, now)?;
    }
    Ok(Pulse { now: Timestamp(now), endpoints: endpoints::troubled(tx).await?, parked: parked(tx).await? })
}

async fn renew_slots(tx: &mut Tx<'_>, sign: &Sign, until: i64) -> Result<(), StoreError> {
    let (worker, slots) = (sign.worker.as_str(), &sign.turn_slots);
    match tx {
        Tx::Pg(conn) => {
            let slots = column(slots, |slot| slot.0);
            sqlx::query(RENEW_SLOTS_PG).bind(worker).bind(until).bind(slots).execute(&mut **conn).await?;
        }
        Tx::Lite(conn) => {
            let slots = batch(slots, |slot| json!(hex(slot.0)));
            sqlx::query(RENEW_SLOTS_LITE).bind(worker).bind(until).bind(slots).execute(&mut **conn).await?;
        }
    }
    Ok(())
}

fn size(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

async fn parked(tx: &mut Tx<'_>) -> Result<Vec<ParkedCount>, StoreError> {
    let rows = ask!(tx, fetch_all, (String, String, i64, i64), PARKED)?;
    let count = |(agent, what_for, conversations, next): (String, String, i64, i64)| {
        Ok(ParkedCount { agent, what_for: parsed(&what_for)?, conversations, next: Timestamp(next) })
    };
    rows.into_iter().map(count).collect()
}

async fn gone(tx: &mut Tx<'_>, worker: &WorkerId) -> Result<(), StoreError> {
    change!(tx, GONE, worker.as_str())?;
    Ok(())
}

operation!(GiveSign: Sign => Pulse, "worker", sign);
operation!(End: WorkerId => (), "worker ends", gone);

async fn read(tx: &mut Tx<'_>) -> Result<Pace, StoreError> {
    type Row = (String, String, i64, String, i64, i64, bool, i64, i64, i64);
    let now = tx.now().await?;
    let worker = |row: Row| {
        let (id, host, pid, version, slots, in_use, draining, started_at, seen_at, alive_until) = row;
        let (started_at, seen_at, alive) = (Timestamp(started_at), Timestamp(seen_at), alive_until > now);
        WorkerRow { id, host, pid, version, slots, in_use, draining, started_at, seen_at, alive }
    };
    Ok(Pace {
        workers: ask!(tx, fetch_all, Row, WORKERS)?.into_iter().map(worker).collect(),
        endpoints: endpoints::troubled(tx).await?,
        parked: parked(tx).await?,
        turn_slots: ask!(tx, fetch_all, (String, i64), SLOTS, now)?,
        paced: paced(tx, now).await?,
        now: Timestamp(now),
    })
}

impl Store {
    /// A worker gives a sign of life, and hears what keeps messages waiting.
    pub async fn sign_of_life(&self, sign: Sign) -> Result<Pulse, StoreError> {
        self.once::<GiveSign>(sign).await
    }

    /// A worker ended in good order; nobody needs to wonder about it.
    pub async fn worker_ends(&self, worker: &WorkerId) -> Result<(), StoreError> {
        self.once::<End>(worker.clone()).await
    }

    /// Who works, and what keeps messages waiting.
    pub async fn pace(&self) -> Result<Pace, StoreError> {
        snapshot!(self, read)
    }
}
