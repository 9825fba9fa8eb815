//! Apply is idempotent, reports drift and refuses what cannot be done in place.

use std::time::Duration;

use broca_bus::{ApplyOptions, Bus, Change, ChangeKind, StreamLimits, Topology};
use broca_core::Instance;
use broca_servers::NatsServer;
use serde_json::{Value, json};

use crate::rig;

fn instances(names: &[&str]) -> Vec<Instance> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn find<'a>(changes: &'a [Change], target: &str) -> &'a ChangeKind {
    let found = changes.iter().find(|change| change.target == target);
    &found.unwrap_or_else(|| panic!("{target} is not in {changes:?}")).kind
}

async fn api(server: &NatsServer, name: &str, body: Value) -> Value {
    let client = async_nats::connect(server.url()).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client.request(format!("$JS.API.{name}"), body.into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer.get("error"), None, "{name}");
    answer
}

#[tokio::test]
async fn a_second_apply_changes_nothing() {
    let server = NatsServer::start();
    let bus = Bus::connect(rig::options(server.url())).await.unwrap();
    let topology = Topology::embedded().unwrap();
    let options = ApplyOptions { instances: instances(&["telegram", "cli"]), ..ApplyOptions::default() };

    let planned = topology.diff(&bus, &options).await.unwrap();
    assert_eq!(planned.len(), 8);
    assert!(planned.iter().all(|change| change.kind == ChangeKind::Created), "{planned:?}");
    assert_eq!(topology.apply(&bus, &options).await.unwrap(), planned);
    let again = topology.apply(&bus, &options).await.unwrap();
    assert!(again.iter().all(Change::is_unchanged), "{again:?}");

    let consumer = api(&server, "CONSUMER.INFO.BROCA_OUT.out-telegram", Value::Null).await;
    assert_eq!(consumer["config"]["filter_subject"], "broca.out.telegram");
    assert_eq!(consumer["config"]["max_ack_pending"], 50_000);
    let stream = api(&server, "STREAM.INFO.BROCA_DLQ", Value::Null).await;
    assert_eq!(stream["config"]["max_msgs_per_subject"], 1);
    // The bucket is one that key-value clients understand.
    let js = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let bucket = js.get_key_value("broca_settings").await.unwrap();
    bucket.put("plugin.telegram", "{}".into()).await.unwrap();
    assert_eq!(bucket.get("plugin.telegram").await.unwrap().unwrap(), "{}");
}

#[tokio::test]
async fn drift_is_reported_and_mended_and_foreign_fields_stay() {
    let (server, bus) = rig::server().await;
    let topology = Topology::embedded().unwrap();
    let options = ApplyOptions::default();
    let mut config = api(&server, "STREAM.INFO.BROCA_EVENTS", Value::Null).await["config"].clone();
    config["max_age"] = json!(3_600_000_000_000_u64);
    config["metadata"]["owner"] = json!("ops");
    api(&server, "STREAM.UPDATE.BROCA_EVENTS", config).await;

    for _ in 0..2 {
        let drift = topology.diff(&bus, &options).await.unwrap();
        let changed: Vec<_> = drift.iter().filter(|change| !change.is_unchanged()).map(ToString::to_string).collect();
        assert_eq!(changed, ["stream BROCA_EVENTS: updated max_age 3600s → 86400s"]);
    }
    topology.apply(&bus, &options).await.unwrap();
    assert!(topology.diff(&bus, &options).await.unwrap().iter().all(Change::is_unchanged));
    let config = api(&server, "STREAM.INFO.BROCA_EVENTS", Value::Null).await["config"].clone();
    assert_eq!(config["metadata"]["owner"], "ops");
}

#[tokio::test]
async fn a_deployments_ack_wait_is_applied_to_what_exists() {
    let (_server, bus) = rig::server().await;
    let topology = Topology::embedded().unwrap();
    let options = ApplyOptions { ack_wait: Some(Duration::from_secs(5)), ..ApplyOptions::default() };
    let changes = topology.apply(&bus, &options).await.unwrap();
    assert!(
        changes.iter().any(|c| c.to_string() == "consumer BROCA_IN.workers: updated ack_wait 30s → 5s"),
        "{changes:?}"
    );
    assert_eq!(rig::workers(&bus, 1).await.ack_wait(), Duration::from_secs(5));
    assert!(topology.apply(&bus, &options).await.unwrap().iter().all(Change::is_unchanged));
}

#[tokio::test]
async fn a_changed_retention_is_refused_and_the_rest_is_done() {
    let server = NatsServer::start();
    let bus = Bus::connect(rig::options(server.url())).await.unwrap();
    let stray = json!({"name": "BROCA_IN", "subjects": ["broca.in.*"], "retention": "limits"});
    api(&server, "STREAM.CREATE.BROCA_IN", stray).await;

    let topology = Topology::embedded().unwrap();
    let options = ApplyOptions { instances: instances(&["cli"]), ..ApplyOptions::default() };
    let planned = topology.diff(&bus, &options).await.unwrap();
    let changes = topology.apply(&bus, &options).await.unwrap();
    assert_eq!(planned, changes);
    let ChangeKind::Refused { why } = find(&changes, "stream BROCA_IN") else { panic!("{changes:?}") };
    assert!(why.contains("retention limits → workqueue") && why.contains("nats stream rm"), "{why}");
    assert_eq!(find(&changes, "consumer BROCA_OUT.out-cli"), &ChangeKind::Created);
}

#[tokio::test]
async fn the_servers_own_refusal_is_reported() {
    let (_server, bus) = rig::server().await;
    // One server cannot hold three copies.
    let options = ApplyOptions { replicas: Some(3), ..ApplyOptions::default() };
    let changes = Topology::embedded().unwrap().apply(&bus, &options).await.unwrap();
    let ChangeKind::Refused { why } = find(&changes, "stream BROCA_IN") else { panic!("{changes:?}") };
    assert!(why.contains("replicas"), "{why}");
}

#[tokio::test]
async fn pruning_removes_only_consumers_that_nobody_waits_for() {
    let server = NatsServer::start();
    let all = ApplyOptions { instances: instances(&["a", "b", "c"]), ..ApplyOptions::default() };
    let bus = rig::prepared(&server.url(), &all).await;
    bus.publish(broca_bus::Outgoing { subject: "broca.out.b".into(), ..rig::outgoing("1") }).await.unwrap();

    let topology = Topology::embedded().unwrap();
    let kept = ApplyOptions { instances: instances(&["a"]), ..ApplyOptions::default() };
    assert!(topology.apply(&bus, &kept).await.unwrap().iter().all(Change::is_unchanged), "nothing is pruned unasked");

    let changes = topology.apply(&bus, &ApplyOptions { prune: true, ..kept }).await.unwrap();
    assert_eq!(find(&changes, "consumer BROCA_OUT.out-c"), &ChangeKind::Removed);
    let ChangeKind::Refused { why } = find(&changes, "consumer BROCA_OUT.out-b") else { panic!("{changes:?}") };
    assert!(why.contains("1 answers still wait"), "{why}");
    assert!(bus.consumer("BROCA_OUT", "out-c", 1).await.is_err());
    bus.consumer("BROCA_OUT", "out-a", 1).await.unwrap();
}

#[tokio::test]
async fn limits_of_the_deployment_are_laid_over_the_files() {
    let server = NatsServer::start();
    let bus = Bus::connect(rig::options(server.url())).await.unwrap();
    let topology = Topology::embedded().unwrap();
    let limits = |stream: &str, max_age, max_bytes| StreamLimits { stream: stream.into(), max_age, max_bytes };
    let short = limits("BROCA_EVENTS", Some(Duration::from_secs(60)), Some(1 << 20));
    let options = ApplyOptions { limits: vec![short], ..ApplyOptions::default() };
    topology.apply(&bus, &options).await.unwrap();
    let events = |changes: Vec<Change>| changes.into_iter().find(|c| c.target == "stream BROCA_EVENTS").unwrap();
    assert!(events(topology.diff(&bus, &options).await.unwrap()).is_unchanged());
    let change = events(topology.diff(&bus, &ApplyOptions::default()).await.unwrap()).to_string();
    assert!(change.contains("max_age 60s → 86400s") && change.contains("duplicate_window 60s → 120s"), "{change}");
    let for_ever = ApplyOptions { limits: vec![limits("BROCA_EVENTS", Some(Duration::ZERO), None)], ..options };
    let change = events(topology.apply(&bus, &for_ever).await.unwrap()).to_string();
    assert!(change.contains("max_age 60s → 0ns"), "{change}");
}
