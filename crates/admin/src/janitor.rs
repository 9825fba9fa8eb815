//! What one process at a time does for the whole deployment, by itself: the audit, the gauges that take a look at
//! many rows, and the removal of what is over.
//!
//! Every worker runs a janitor; the duty in the database ([`Duty::Janitor`]) says which of them works. All that it does
//! is harmless when two do it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use broca_core::{WorkerId, metric};
use broca_store::{AuditLimits, Duty, Irregularity, Removed, RetentionPolicy, Store, StoreError, Workload};
use metrics::gauge;
use tokio_util::sync::CancellationToken;

use crate::{
    check::{Check, Severity, judged},
    retention::{self, Remover},
};

#[derive(Clone, Copy, Debug)]
pub struct JanitorOptions {
    /// `None` is never.
    pub audit_every: Option<Duration>,
    pub limits: AuditLimits,
    /// How often what is over is removed; `None` is never.
    pub retain_every: Option<Duration>,
    pub retention: RetentionPolicy,
}

/// A round of removing is not longer, so that the other duties are not late.
const ROUND: Duration = Duration::from_secs(10);
/// How often the gauges are set, and the duty is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long a silent janitor keeps the duty.
const LEASE: Duration = Duration::from_secs(60);
/// How often an audit reads every message. The others read the last hours'.
const READ_ALL_EVERY: Duration = Duration::from_secs(3_600);
const RECENT: Duration = Duration::from_secs(2 * 3_600);

/// Whether this process has the duty: what it shows of the deployment is true only then.
#[derive(Clone, Debug, Default)]
pub struct OnDuty(Arc<AtomicBool>);

impl OnDuty {
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, on_duty: bool) {
        self.0.store(on_duty, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub struct Janitor {
    store: Store,
    id: WorkerId,
    options: JanitorOptions,
    on_duty: OnDuty,
    audited: Option<Instant>,
    read_all: Option<Instant>,
    remover: Remover,
    /// When it last came to its end.
    retained: Option<Instant>,
    /// What the last line in the log said.
    said: Vec<(Irregularity, i64)>,
}

impl Janitor {
    pub fn new(store: Store, id: WorkerId, options: JanitorOptions, on_duty: OnDuty) -> Self {
        retention::begin_measuring();
        let remover = Remover::new(options.retention);
        let said = Vec::new();
        Self { store, id, options, on_duty, audited: None, read_all: None, remover, retained: None, said }
    }

    /// Works whenever the duty is this process's, until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let every = [self.options.audit_every, self.options.retain_every].into_iter().flatten();
        let mut timer = tokio::time::interval(every.fold(LOOK_EVERY, Duration::min));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Whatever lay about before this process came is picked up first: only what still lies there then is a finding.
        let settled = Instant::now() + self.options.limits.overdue;
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                () = shutdown.cancelled() => return self.leave().await,
            }
            let work = async {
                if let Err(error) = self.work(settled).await {
                    tracing::warn!(%error, "the janitor's round was cut short, the next one goes on");
                }
            };
            shutdown.run_until_cancelled(work).await;
        }
    }

    async fn work(&mut self, settled: Instant) -> Result<(), StoreError> {
        let held = self.store.take_duty(Duty::Janitor, &self.id, LEASE).await;
        if !matches!(held, Ok(true)) {
            self.on_duty.set(false);
            return held.map(drop);
        }
        show_workload(&self.store.workload().await?);
        retention::show_oldest(&self.store).await?;
        self.on_duty.set(true);
        let due = |every: Duration, last: Option<Instant>| last.is_none_or(|last| last.elapsed() >= every);
        if self.options.audit_every.is_some_and(|every| due(every, self.audited)) && Instant::now() >= settled {
            self.audit(due(READ_ALL_EVERY, self.read_all)).await?;
        }
        if self.options.retain_every.is_some_and(|every| due(every, self.retained)) {
            self.retain().await?;
        }
        Ok(())
    }

    async fn audit(&mut self, read_all: bool) -> Result<(), StoreError> {
        self.audited = Some(Instant::now());
        let limits = &self.options.limits;
        let irregular = if read_all {
            self.read_all = self.audited;
            self.store.audit(limits).await?
        } else {
            self.store.audit_recent(limits, RECENT).await?
        };
        let check = judged(irregular);
        show_check(&check);
        gauge!(metric::AUDITED.name).set(self.store.now().await?.micros() as f64 / 1e6);
        let found = check.findings.iter().map(|finding| (finding.kind, finding.count)).collect();
        // What is known already is not said again.
        if self.said != found {
            log(&check);
            self.said = found;
        }
        Ok(())
    }

    /// A round that did not get to its end is followed by another one at the next look.
    async fn retain(&mut self) -> Result<(), StoreError> {
        let mut removed = Removed::default();
        let ended = self.remover.round(&self.store, ROUND, &mut removed).await;
        retention::measure(&removed);
        retention::log(&removed);
        if ended? {
            self.retained = Some(Instant::now());
        }
        Ok(())
    }

    /// Another process may have it at once.
    async fn leave(self) {
        self.on_duty.set(false);
        if let Err(error) = self.store.leave_duty(Duty::Janitor, &self.id).await {
            tracing::debug!(%error, "the janitor's duty is not given up; it runs out by itself");
        }
    }
}

fn show_workload(workload: &Workload) {
    let age = |age: Option<Duration>| age.unwrap_or_default().as_secs_f64();
    for (state, count) in [("waiting", workload.waiting), ("in_hand", workload.in_hand), ("parked", workload.parked)] {
        gauge!(metric::CONVERSATIONS.name, "state" => state).set(count as f64);
    }
    for (stage, count) in [("turn", workload.failed_turns), ("delivery", workload.failed_deliveries)] {
        gauge!(metric::DEAD_LETTERS.name, "stage" => stage).set(count as f64);
    }
    gauge!(metric::QUARANTINED.name).set(workload.quarantined as f64);
    gauge!(metric::OLDEST_MESSAGE.name).set(age(workload.oldest_message));
    gauge!(metric::ANSWERS_OPEN.name).set(workload.answers as f64);
    gauge!(metric::OLDEST_ANSWER.name).set(age(workload.oldest_answer));
    gauge!(metric::OUTBOX.name).set(workload.owed as f64);
    gauge!(metric::OLDEST_OWED.name).set(age(workload.oldest_owed));
}

fn show_check(check: &Check) {
    gauge!(metric::ORPHANS.name).set(check.orphans as f64);
    for kind in Irregularity::ALL {
        let count = check.findings.iter().find(|finding| finding.kind == *kind).map_or(0, |finding| finding.count);
        gauge!(metric::FINDINGS.name, "kind" => kind.name()).set(count as f64);
    }
}

/// How many ids a line names.
const SHOWN: usize = 5;

fn log(check: &Check) {
    for finding in &check.findings {
        let (kind, count) = (finding.kind.name(), finding.count);
        let first = finding.first.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if finding.severity == Severity::Critical {
            tracing::error!(kind, count, first, "{}; `broca check` says what to do", finding.meaning);
        } else {
            tracing::warn!(kind, count, first, "{}; `broca check` says what to do", finding.meaning);
        }
    }
    if check.findings.is_empty() {
        tracing::debug!("every message is over or on its way");
    }
}
