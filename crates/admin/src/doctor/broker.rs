//! The broker: its version, its room, and whether its streams and consumers are what the files say.

use broca_bus::{ApplyOptions, Bus, Change, ServerVersion, Storage, TESTED_SERVER, Topology};

use super::{Finding, Fix, size};

/// Of the account's storage: streams that are full refuse new messages, which then wait in SQL.
const FULL_PERCENT: u64 = 80;

pub async fn broker(bus: &Bus, topology: &Topology, options: &ApplyOptions) -> Vec<Finding> {
    let server = match bus.server() {
        Ok(server) => server,
        Err(error) => {
            return vec![Finding::failed("broker", error.to_string(), "start nats-server, or correct nats.url")];
        }
    };
    let mut findings = vec![version(&server.name, server.version)];
    findings.push(match bus.storage().await {
        Ok(storage) => room(storage),
        Err(error) => Finding::warning(
            "broker storage",
            error.to_string(),
            "the user of nats.* may not ask for $JS.API.INFO, or JetStream is busy: try again",
        ),
    });
    match topology.diff(bus, options).await {
        Ok(changes) => findings.extend(drift(&changes)),
        Err(error) => findings.push(Finding::warning(
            "streams",
            error.to_string(),
            "run the doctor with the administrator's credentials: other users may not read the configuration",
        )),
    }
    findings
}

fn version(name: &str, version: ServerVersion) -> Finding {
    let detail = format!("nats-server {version} ({name})");
    if version < TESTED_SERVER {
        return Finding::warning("broker", detail, format!("Broca is tested with {TESTED_SERVER}: plan an upgrade"));
    }
    Finding::ok("broker", detail)
}

fn room(storage: Storage) -> Finding {
    let Storage { used, reserved, limit } = storage;
    let Some(limit) = limit else {
        return Finding::ok("broker storage", format!("{} used, {} reserved, no limit", size(used), size(reserved)));
    };
    let detail = format!("{} of {} used, {} reserved", size(used), size(limit), size(reserved));
    if used.saturating_mul(100) >= limit.saturating_mul(FULL_PERCENT) {
        return Finding::warning(
            "broker storage",
            detail,
            "see with `broca status` which consumer does not keep up, or give the account more storage",
        );
    }
    Finding::ok("broker storage", detail)
}

fn drift(changes: &[Change]) -> Vec<Finding> {
    let differ: Vec<Finding> = changes
        .iter()
        .filter(|change| !change.is_unchanged())
        .map(|change| {
            if change.is_refused() {
                return Finding::failed(
                    change.target.as_str(),
                    change.to_string(),
                    "it cannot be changed while it exists: make it anew by hand when nothing waits in it",
                );
            }
            let detail = format!("differs from its file: {change}");
            Finding::failed(change.target.as_str(), detail, "run `broca nats apply`").mended_by(Fix::ApplyTopology)
        })
        .collect();
    if differ.is_empty() {
        return vec![Finding::ok(
            "streams",
            format!("{} streams, buckets and consumers are as their files say", changes.len()),
        )];
    }
    differ
}

#[cfg(test)]
mod tests {
    use broca_bus::ChangeKind;

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn storage_is_warned_of_before_it_is_full() {
        let storage = Storage { used: 79, reserved: 100, limit: Some(100) };
        assert_eq!(room(storage).verdict, Verdict::Ok);
        assert_eq!(room(Storage { used: 80, ..storage }).verdict, Verdict::Warning);
        assert_eq!(room(Storage { used: u64::MAX, limit: None, ..storage }).verdict, Verdict::Ok);
    }

    #[test]
    fn what_differs_is_named_with_what_mends_it() {
        let change = |target: &str, kind| Change { target: target.into(), kind };
        let same = change("stream BROCA_IN", ChangeKind::Unchanged);
        assert_eq!(drift(std::slice::from_ref(&same))[0].verdict, Verdict::Ok);
        let missing = change("consumer BROCA_OUT.out-cli", ChangeKind::Created);
        let stuck = change("stream BROCA_OUT", ChangeKind::Refused { why: "retention".into() });
        let found = drift(&[same, missing, stuck]);
        assert_eq!(found.iter().map(|f| f.fix).collect::<Vec<_>>(), [Some(Fix::ApplyTopology), None]);
        assert!(found.iter().all(|f| f.verdict == Verdict::Failed));
    }
}
