//! The work: does somebody do it, and does it move?

use broca_core::breaker::BreakerState;
use broca_store::{AuditLimits, Pace, Store, StoreError};

use super::Finding;
use crate::check::{Severity, check};

pub async fn work(store: &Store, limits: &AuditLimits) -> Result<Vec<Finding>, StoreError> {
    let counts = store.counts().await?;
    let pace = store.pace().await?;
    let mut findings = vec![workers(&pace, counts.pending_conversations)];
    findings.extend(pace.endpoints.iter().filter(|e| e.breaker.state != BreakerState::Closed).map(|endpoint| {
        let why = endpoint.reason.as_deref().unwrap_or("it was away");
        let detail = format!("{} is not asked for a while: {why}", endpoint.endpoint);
        Finding::warning("endpoint", detail, "start it; `broca status` says when it is asked again and what waits")
    }));
    let checked = check(store, limits).await?;
    findings.extend(checked.findings.into_iter().map(|found| {
        let first: Vec<&str> = found.first.iter().take(3).map(String::as_str).collect();
        let detail = format!("{} {} ({})", found.count, found.meaning, first.join(", "));
        let (subject, advice) = (found.kind.name(), found.advice);
        match found.severity {
            Severity::Critical => Finding::failed(subject, detail, advice),
            Severity::Ok | Severity::Warning => Finding::warning(subject, detail, advice),
        }
    }));
    if checked.status == Severity::Ok {
        findings.push(Finding::ok("messages", "every message is over or on its way"));
    }
    Ok(findings)
}

fn workers(pace: &Pace, waiting: i64) -> Finding {
    let alive = pace.workers.iter().filter(|worker| worker.alive).count();
    let gone = pace.workers.len() - alive;
    if alive == 0 && waiting > 0 {
        let detail = format!("no worker gives a sign of life, and {waiting} conversations wait");
        return Finding::failed("workers", detail, "start one: `broca worker`, or `broca up`");
    }
    if gone > 0 {
        let detail = format!("{alive} work, {gone} stopped without taking leave within the last day");
        return Finding::warning("workers", detail, "look in their logs; what they held was taken over");
    }
    Finding::ok("workers", format!("{alive} work"))
}
