//! Is every accepted message over, or on its way? The auditor's findings, with what each means and what to do.

use broca_store::{AuditLimits, Irregular, Irregularity, Store, StoreError};
use serde::Serialize;

/// How bad it is, as monitoring plugins count: the exit code is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Severity {
    Ok = 0,
    /// Overdue; it still may come by itself.
    Warning = 1,
    /// Nothing that runs by itself will mend it, or nothing runs.
    Critical = 2,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Check {
    pub status: Severity,
    /// Rows that are neither over nor on their way. Zero, always.
    pub orphans: i64,
    pub findings: Vec<Finding>,
}

/// Rows of one kind that should not be there.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Finding {
    pub kind: Irregularity,
    pub severity: Severity,
    pub count: i64,
    /// The ids of the oldest ones.
    pub first: Vec<String>,
    pub meaning: &'static str,
    pub advice: &'static str,
}

/// Looks for messages that are stuck, answers and publishes that are overdue, and rows that contradict each other.
/// Changes nothing.
///
/// # Errors
/// The database does not answer.
pub async fn check(store: &Store, limits: &AuditLimits) -> Result<Check, StoreError> {
    Ok(judged(store.audit(limits).await?))
}

/// What the auditor found, with what it means.
pub(crate) fn judged(irregular: Vec<Irregular>) -> Check {
    let findings: Vec<Finding> = irregular
        .into_iter()
        .map(|found| {
            let (severity, meaning, advice) = explained(found.kind);
            let first = found.first.iter().map(ToString::to_string).collect();
            Finding { kind: found.kind, severity, count: found.count, first, meaning, advice }
        })
        .collect();
    let orphans = findings.iter().filter(|f| f.severity == Severity::Critical).map(|f| f.count).sum();
    let status = findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Ok);
    Check { status, orphans, findings }
}

const REPORT: &str = "this is a fault of Broca's: keep the database and report it with `broca message show ID`";

fn explained(kind: Irregularity) -> (Severity, &'static str, &'static str) {
    use Severity::{Critical, Warning};
    match kind {
        Irregularity::PassedOver => (Critical, "messages that their conversation has left behind", REPORT),
        Irregularity::NoTurn => (Critical, "messages in processing that no worker works on", REPORT),
        Irregularity::Forgotten => (
            Critical,
            "conversations with work that nobody does",
            "is a worker running, with this database? `broca status` shows what waits; its log says why",
        ),
        Irregularity::EmptyQueue => (Critical, "conversations that count messages which are not there", REPORT),
        Irregularity::OpenTurn => (Critical, "messages that are over, with an open turn", REPORT),
        Irregularity::Unanswered => (Critical, "completed messages that no agent answered", REPORT),
        Irregularity::SplitTurn => (Critical, "messages that are over, in an open turn with others", REPORT),
        Irregularity::LostStop => (Critical, "wishes to stop a turn that nobody has", REPORT),
        Irregularity::DeadLease => (
            Warning,
            "conversations of a worker that is silent",
            "another worker should have taken them over: is one running, and does it reach NATS?",
        ),
        Irregularity::HoldLost => (Critical, "held messages whose hold is over", REPORT),
        Irregularity::HoldOverdue => (
            Warning,
            "holds that have ended and still have messages to give back",
            "is a worker running, with this database? `broca hold release ID` does it, too",
        ),
        Irregularity::Undelivered => (
            Warning,
            "answers that no plugin process takes up",
            "is the plugin of their instance running? `broca message show ID` names it",
        ),
        Irregularity::Unpublished => (
            Warning,
            "publishes that NATS has not confirmed",
            "is NATS up and its streams not full? `broca status` asks it; a worker's log says what it answered",
        ),
        Irregularity::TooOld => (
            Warning,
            "messages that are older than allowed and not over",
            "`broca message show ID` says what each of them waits for",
        ),
    }
}
