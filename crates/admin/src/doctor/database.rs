//! The database: is it there, is it of this build's schema, does its clock go right, has it room for us?

use broca_core::{Clock, SystemClock, Timestamp};
use broca_store::{Backend, DatabaseFacts, Store};

use super::{Finding, Fix, size};

/// Leases and pauses go by the database's clock alone, so a skew only makes logs and times hard to compare.
const SKEW_MICROS: i64 = 2_000_000;
/// Connections that are left over for one more process.
const SPARE_CONNECTIONS: i64 = 20;
/// The oldest PostgreSQL that the tests run against.
const OLDEST_POSTGRES: u32 = 15;

pub async fn database(store: &Store) -> Vec<Finding> {
    let asked = SystemClock.now();
    let facts = match store.facts().await {
        Ok(facts) => facts,
        Err(error) => {
            return vec![Finding::failed(
                "database",
                error.to_string(),
                "start it, or correct database.url (`broca config show` says where it comes from)",
            )];
        }
    };
    let heard = SystemClock.now();
    let mut findings = vec![server(&facts), schema(&facts), clock(&facts, asked, heard)];
    findings.extend(facts.connections.map(|(open, allowed)| connections(open, allowed)));
    findings
}

fn server(facts: &DatabaseFacts) -> Finding {
    let bytes = size(u64::try_from(facts.bytes).unwrap_or_default());
    match facts.backend {
        Backend::Sqlite => Finding::ok("database", format!("SQLite {}, {bytes}", facts.version)),
        Backend::Postgres => {
            let detail = format!("PostgreSQL {}, {bytes}", facts.version);
            let major = facts.version.split(|c: char| !c.is_ascii_digit()).next().and_then(|major| major.parse().ok());
            if major.is_some_and(|major: u32| major < OLDEST_POSTGRES) {
                return Finding::warning(
                    "database",
                    detail,
                    format!("Broca is tested with PostgreSQL {OLDEST_POSTGRES} and newer: plan an upgrade"),
                );
            }
            Finding::ok("database", detail)
        }
    }
}

fn schema(facts: &DatabaseFacts) -> Finding {
    if facts.missing.is_empty() {
        return Finding::ok("schema", "every migration of this build is applied");
    }
    let detail = format!("{} is missing", facts.missing.join(", "));
    Finding::failed("schema", detail, "run `broca migrate`").mended_by(Fix::Migrate)
}

/// The answer was true at some moment between the question and its arrival.
fn clock(facts: &DatabaseFacts, asked: Timestamp, heard: Timestamp) -> Finding {
    let ahead = facts.now.0.saturating_sub(heard.0);
    let behind = asked.0.saturating_sub(facts.now.0);
    let skew = ahead.max(behind).max(0);
    if skew <= SKEW_MICROS {
        return Finding::ok("clock", "the database's agrees with this machine's");
    }
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    Finding::warning(
        "clock",
        format!("the database's is {} s {direction} this machine's", skew / 1_000_000),
        "set both by NTP: leases keep the database's time and are safe, but times in logs and journeys will not match",
    )
}

fn connections(open: i64, allowed: i64) -> Finding {
    let detail = format!("{open} of {allowed} connections are open");
    if allowed - open < SPARE_CONNECTIONS {
        return Finding::warning(
            "connections",
            detail,
            "raise max_connections in PostgreSQL, or lower database.max_connections; each process holds some of its own",
        );
    }
    Finding::ok("connections", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn facts() -> DatabaseFacts {
        DatabaseFacts {
            backend: Backend::Postgres,
            version: "15.18 (Debian 15.18-0+deb12u1)".into(),
            now: Timestamp(100_000_000),
            bytes: 1 << 20,
            connections: Some((3, 100)),
            missing: Vec::new(),
        }
    }

    #[test]
    fn an_old_server_and_a_missing_migration_are_said() {
        assert_eq!(server(&facts()).verdict, Verdict::Ok);
        assert_eq!(server(&DatabaseFacts { version: "9.6.24".into(), ..facts() }).verdict, Verdict::Warning);
        let old = schema(&DatabaseFacts { missing: vec!["0002_replay".into()], ..facts() });
        assert_eq!((old.verdict, old.fix), (Verdict::Failed, Some(Fix::Migrate)));
        assert!(old.detail.contains("0002_replay"));
    }

    #[test]
    fn a_clock_is_judged_by_what_the_answer_allows() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        // It was slow to answer, and right.
        assert_eq!(clock(&facts(), at(95), at(105)).verdict, Verdict::Ok);
        assert_eq!(clock(&facts(), at(95), at(99)).verdict, Verdict::Ok);
        let ahead = clock(&facts(), at(59), at(60));
        assert_eq!(ahead.verdict, Verdict::Warning);
        assert!(ahead.detail.contains("40 s ahead of"), "{}", ahead.detail);
        assert!(clock(&facts(), at(160), at(161)).detail.contains("60 s behind"));
    }

    #[test]
    fn room_for_one_more_process_is_asked_for() {
        assert_eq!(connections(50, 100).verdict, Verdict::Ok);
        assert_eq!(connections(81, 100).verdict, Verdict::Warning);
    }
}
