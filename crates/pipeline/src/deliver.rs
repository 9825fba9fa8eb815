//! An answer is handed to its platform, once, in the order of its chat, and the receipt is recorded.
//!
//! The attempt is recorded before the platform is called. A process that finds an attempt which nobody ended asks
//! the platform what became of it ([`Plugin::settle`]); a platform that cannot tell leaves the answer unknown, and an
//! unknown answer is never sent again blindly. Of an answer that takes several platform messages, each that was sent is
//! recorded before the next, and another attempt goes on behind them.
//!
//! Order: an answer is begun only when no earlier one of its chat is open. Whoever ends an answer begins the next,
//! so the broker's message for one that had to wait can be acked at once.

use std::{sync::Arc, time::Duration};

use broca_bus::Job;
use broca_core::{
    Instance, ResponseId, ResponseKind, WorkerId,
    envelope::{Body, Envelope},
    retry::RetryPolicy,
    subject,
};
use broca_plugin::Plugin;
use broca_store::{Delivery, DeliveryEnd, DeliveryFinished, Dispatch, Fenced, FinishDelivery, Store, StoreError};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    attempt::attempt,
    crash::{CrashPoint, point},
    delivering::DeliveringSet,
    events::Events,
    meter,
    mutate::{self, Protection},
};

#[derive(Clone, Copy, Debug)]
pub struct DeliveryOptions {
    /// Answers under way at once.
    pub slots: usize,
    /// How long one call of [`Plugin::deliver`] may take.
    pub timeout: Duration,
    /// How long a silent process keeps an answer to itself before another one settles it.
    pub lease_ttl: Duration,
    pub retry: RetryPolicy,
    /// After this long, an answer to a chat that takes nothing is tried again.
    pub probe_after: Duration,
    /// How often the rows are searched for answers that are due.
    pub sweep_interval: Duration,
    /// How long a shutdown waits for deliveries under way.
    pub drain: Duration,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            slots: 256,
            timeout: Duration::from_secs(60),
            lease_ttl: Duration::from_secs(25),
            // A platform may be away for an hour and more: nobody should have to replay what waited for it.
            retry: RetryPolicy { max_attempts: 40, initial_ms: 1_000, ..RetryPolicy::default() },
            probe_after: Duration::from_secs(6 * 3_600),
            sweep_interval: Duration::from_secs(1),
            drain: Duration::from_secs(15),
        }
    }
}

/// The delivering side of a plugin process.
#[derive(Debug)]
pub(crate) struct Deliverer {
    pub(crate) store: Store,
    pub(crate) plugin: Arc<dyn Plugin>,
    pub(crate) instance: Instance,
    pub(crate) events: Events,
    pub(crate) host: WorkerId,
    pub(crate) options: DeliveryOptions,
    pub(crate) under_way: DeliveringSet,
    pub(crate) draining: CancellationToken,
}

/// What is to follow a delivery.
enum Then {
    Next(ResponseId),
    Nothing,
}

/// Handles one answer from the broker to its end, and then the answers of its chat that waited behind it.
pub(crate) async fn answer(deliverer: &Deliverer, job: Job) {
    let response = match read(&deliverer.instance, &job) {
        Ok(response) => response,
        Err(why) => {
            tracing::warn!(subject = job.subject(), why, "not an answer of ours, dropped");
            return settle_job(job.term(why).await);
        }
    };
    match lane(deliverer, response, Some(&job)).await {
        Ok(()) => settle_job(job.ack().await),
        Err(error) => {
            tracing::warn!(%response, %error, "answer handed back to the broker");
            settle_job(job.nak(Duration::from_secs(1)).await);
        }
    }
}

fn settle_job(acked: Result<(), broca_bus::BusError>) {
    if let Err(error) = acked {
        tracing::debug!(%error, "ack not sent; a redelivery finds the answer over");
    }
}

fn read(instance: &Instance, job: &Job) -> Result<ResponseId, &'static str> {
    let envelope = Envelope::decode(job.payload()).map_err(|_| "not an envelope of a version that is understood")?;
    if subject::instance_of(job.subject()).as_ref() != Some(instance) || envelope.instance != *instance {
        return Err("another instance's");
    }
    match envelope.body {
        Body::Response { response_id } => Ok(response_id),
        Body::Wake | Body::DeadLetter { .. } => Err("not an answer"),
    }
}

/// Delivers `first` and whatever becomes first in its chat by that.
async fn lane(deliverer: &Deliverer, first: ResponseId, job: Option<&Job>) -> Result<(), StoreError> {
    let mut response = first;
    loop {
        let guard = deliverer.under_way.begin(response, job.map(Job::progress_handle));
        let lease = deliverer.options.lease_ttl;
        let begun = deliverer.store.begin_delivery(response, &deliverer.instance, &deliverer.host, lease).await?;
        let (dispatch, interrupted) = match begun {
            Delivery::Go(dispatch) => (dispatch, false),
            // A process that was stopped for longer than its lease finds its own attempt cut off. It is not: the send
            // is still on its way, the platform would deny having it, and it would be sent a second time.
            Delivery::Settle(_) if !guard.is_alone => return Ok(()),
            Delivery::Settle(dispatch) => (dispatch, true),
            // The sweep has it when its time has come.
            Delivery::Behind | Delivery::Wait { .. } | Delivery::OnHold { .. } | Delivery::Over(_) => return Ok(()),
            Delivery::Unknown => {
                tracing::warn!(%response, "no such answer of this instance, dropped");
                return Ok(());
            }
        };
        point(CrashPoint::DeliveryBegun);
        let end = attempt(deliverer, *dispatch, interrupted).await;
        let then = finish(deliverer, response, end).await;
        drop(guard);
        match then {
            Then::Next(next) if !deliverer.draining.is_cancelled() => response = next,
            Then::Next(_) | Then::Nothing => return Ok(()),
        }
    }
}

/// Records the end; repeats it while the database is away, because the platform has already been spoken to.
async fn finish(deliverer: &Deliverer, response: ResponseId, ended: (Arc<Dispatch>, DeliveryEnd)) -> Then {
    let (dispatch, end) = ended;
    let (host, attempt) = (deliverer.host.clone(), dispatch.response.attempt);
    let finish = FinishDelivery { response, host, attempt, end };
    let mut pause = Duration::from_millis(50);
    loop {
        match deliverer.store.finish_delivery(finish.clone()).await {
            Ok(Fenced::Done(finished)) => {
                point(CrashPoint::DeliveryFinished);
                log(&finish, dispatch.response.kind);
                meter::delivered(&deliverer.instance, &dispatch, &finish.end);
                deliverer.events.delivered(&deliverer.instance, &dispatch, &finish.end);
                return then(finished);
            }
            Ok(Fenced::LeaseLost) => {
                meter::delivery_lost(&deliverer.instance, &dispatch);
                tracing::warn!(%response, "another process settled this answer, nothing was written");
                return Then::Nothing;
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(%response, %error, "receipt not recorded, tried again")
            }
            Err(error) => {
                tracing::error!(%response, %error, "receipt refused by the database");
                return Then::Nothing;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
            // A successor settles it by asking the platform.
            () = deliverer.draining.cancelled() => return Then::Nothing,
        }
    }
}

/// A dead letter that is owed by now (`finished.owed`) is published by a worker's sweep: a plugin may not write to
/// the dead-letter stream.
fn then(finished: DeliveryFinished) -> Then {
    finished.next.map_or(Then::Nothing, Then::Next)
}

fn log(finish: &FinishDelivery, kind: ResponseKind) {
    let (response, attempt) = (finish.response, finish.attempt);
    match &finish.end {
        DeliveryEnd::Dead(failure) | DeliveryEnd::TargetDead { failure, .. } | DeliveryEnd::Unknown(failure)
            if kind != ResponseKind::Answer =>
        {
            tracing::warn!(%response, attempt, class = %failure.class, reason = failure.reason, "the notice of a failure is not delivered");
        }
        DeliveryEnd::Delivered(_) => tracing::debug!(%response, "delivered"),
        DeliveryEnd::Retry { failure, delay } => {
            tracing::warn!(%response, attempt, class = %failure.class, reason = failure.reason, delay_ms = delay.as_millis(), "delivered later");
        }
        DeliveryEnd::TargetDead { failure, probe_after } => {
            let probe_after_s = probe_after.as_secs();
            tracing::warn!(%response, attempt, class = %failure.class, reason = failure.reason, probe_after_s, "undeliverable, dead-lettered; so is what follows in this chat");
        }
        DeliveryEnd::Dead(failure) => {
            tracing::error!(%response, attempt, class = %failure.class, reason = failure.reason, "undeliverable, dead-lettered");
        }
        DeliveryEnd::Unknown(failure) => {
            tracing::error!(%response, attempt, class = %failure.class, reason = failure.reason, "delivery unknown, not sent again");
        }
        DeliveryEnd::HandBack => tracing::info!(%response, "handed back"),
    }
}

/// Delivers what is due by the rows: retries whose time has come, answers that a dead process left, lost wakes.
pub(crate) async fn sweep(deliverer: Arc<Deliverer>, tasks: TaskTracker) {
    if mutate::is_off(Protection::Sweep) {
        return;
    }
    let room = Arc::new(Semaphore::new(deliverer.options.slots));
    let mut timer = tokio::time::interval(deliverer.options.sweep_interval);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = deliverer.draining.cancelled() => return,
        }
        let free = u32::try_from(room.available_permits()).unwrap_or(u32::MAX);
        let due = match deliverer.store.due_deliveries(&deliverer.instance, free).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "delivery sweep cut short, the next one goes on");
                continue;
            }
        };
        for response in due {
            let Ok(permit) = room.clone().try_acquire_owned() else { break };
            let deliverer = deliverer.clone();
            tasks.spawn(async move {
                if let Err(error) = lane(&deliverer, response, None).await {
                    tracing::warn!(%response, %error, "answer left to the next sweep");
                }
                drop(permit);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_outlast_an_hour_without_their_platform() {
        let policy = RetryPolicy { jitter: 0.0, ..DeliveryOptions::default().retry };
        let waited: Duration = (1..policy.max_attempts).map(|attempt| policy.delay(attempt)).sum();
        // The jitter may shorten each pause by a quarter.
        assert!(waited * 3 / 4 > Duration::from_secs(3_600), "{waited:?}");
    }
}
