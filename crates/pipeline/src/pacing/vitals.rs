//! Signs of life: what this worker says of itself with every heartbeat, and what it hears in return.

use std::sync::atomic::Ordering;

use broca_store::{Pulse, Sign};

use super::slots::SLOT_LEASES;
use crate::shared::Worker;

/// Says that the worker lives. Nothing hangs on a single sign: a slot and a probe outlive a few, and the copies of what
/// is in trouble are only older.
pub(crate) async fn give_sign(worker: &Worker) {
    let (pacing, ttl) = (&worker.pacing, worker.options.lease_ttl);
    let sign = Sign {
        worker: worker.id.clone(),
        host: worker.host.clone(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots: worker.options.slots,
        in_use: worker.held.count(),
        draining: worker.draining.is_cancelled(),
        ttl,
        turn_slots: pacing.slots.taken(),
        slot_ttl: ttl * SLOT_LEASES,
        probes: pacing.breakers.probes(),
    };
    match worker.store.sign_of_life(sign).await {
        Ok(Pulse { now, endpoints, parked }) => {
            worker.silent.store(false, Ordering::Relaxed);
            pacing.breakers.hear(now, endpoints);
            pacing.hear_of_parked(parked);
        }
        // An outage of the database is told by whoever has something to write.
        Err(error) if !worker.silent.swap(true, Ordering::Relaxed) => {
            tracing::warn!(%error, "no sign of life could be given");
        }
        Err(_) => {}
    }
}

/// The worker ends in good order, and nobody is to wonder where it is.
pub(crate) async fn take_leave(worker: &Worker) {
    if let Err(error) = worker.store.worker_ends(&worker.id).await {
        tracing::debug!(%error, "the worker's end is not recorded; its last sign of life runs out");
    }
}
