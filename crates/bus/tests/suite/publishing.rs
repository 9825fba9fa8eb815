//! A publish that returned `Ok` is stored, once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use broca_bus::{Bus, BusError, Outgoing};
use broca_core::TraceParent;
use tokio::{task::JoinSet, time::Instant};

use crate::rig::{self, PATIENCE};

#[tokio::test]
async fn one_id_is_stored_once() {
    let (_server, bus) = rig::server().await;
    let first = bus.publish(rig::outgoing("a")).await.unwrap();
    let again = bus.publish(rig::outgoing("a")).await.unwrap();
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.sequence, again.sequence);
    assert_ne!(bus.publish(rig::outgoing("b")).await.unwrap().sequence, first.sequence);
    rig::until(&bus, "two are stored", |backlog| backlog.pending == 2).await;
}

#[tokio::test]
async fn the_trace_travels() {
    let (_server, bus) = rig::server().await;
    let trace = TraceParent::random();
    bus.publish(Outgoing { trace: Some(trace), ..rig::outgoing("a") }).await.unwrap();
    bus.publish(rig::outgoing("b")).await.unwrap();
    let mut consumer = rig::workers(&bus, 2).await;
    let (with, without) = (rig::next(&mut consumer).await, rig::next(&mut consumer).await);
    assert_eq!((with.trace(), without.trace()), (Some(trace), None));
    assert_eq!(with.subject(), "broca.in.cli");
}

#[tokio::test]
async fn what_can_never_be_published_differs_from_what_cannot_now() {
    let (_server, bus) = rig::server().await;
    let large = Outgoing { payload: vec![0; 2 << 20], ..rig::outgoing("large") };
    let error = bus.publish(large).await.unwrap_err();
    assert!(matches!(error, BusError::TooLarge { limit: 1_048_576, .. }) && !error.is_transient(), "{error}");

    let stray = Outgoing { subject: "other.subject".into(), ..rig::outgoing("stray") };
    let error = bus.publish(stray).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("broca nats apply"), "{error}");
}

/// What the publishers of the crash test have seen.
#[derive(Debug, Default)]
struct Seen {
    acked: HashSet<String>,
    failed: usize,
}

/// Publishes one id after the other, each until it is acked, as the outbox does.
async fn publish_on(bus: Bus, name: usize, ids: usize, seen: Arc<Mutex<Seen>>) {
    for i in 0..ids {
        let id = format!("{name}-{i}");
        while let Err(error) = bus.publish(rig::outgoing(&id)).await {
            assert!(error.is_transient(), "{error}");
            seen.lock().unwrap().failed += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen.lock().unwrap().acked.insert(id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acked_is_missing_after_kill_9() {
    const PUBLISHERS: usize = 50;
    const EACH: usize = 100;
    let (mut server, bus) = rig::server().await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut publishers = JoinSet::new();
    for name in 0..PUBLISHERS {
        publishers.spawn(publish_on(bus.clone(), name, EACH, Arc::clone(&seen)));
    }
    let under_way = Instant::now() + PATIENCE;
    while seen.lock().unwrap().acked.len() < PUBLISHERS * EACH / 4 {
        assert!(Instant::now() < under_way);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let server = tokio::task::spawn_blocking(move || {
        server.kill9();
        server.restart();
        server
    });
    let _server = server.await.unwrap();
    tokio::time::timeout(PATIENCE, publishers.join_all()).await.expect("publishers recover");
    assert!(seen.lock().unwrap().failed > 0, "the kill hit publishes in flight");

    let mut stored = HashSet::new();
    let mut consumer = rig::workers(&bus, 500).await;
    for _ in 0..PUBLISHERS * EACH {
        let job = rig::next(&mut consumer).await;
        assert!(stored.insert(rig::text(&job)), "{} is stored twice", rig::text(&job));
        job.ack().await.unwrap();
    }
    assert_eq!(stored, seen.lock().unwrap().acked);
    rig::until(&bus, "nothing is left", |b| b.pending == 0 && b.ack_pending == 0).await;
}

#[tokio::test]
async fn an_unreachable_server_is_said_clearly_and_waited_for_on_request() {
    let mut server = broca_servers::NatsServer::start();
    server.stop();
    let error = Bus::connect(rig::options(server.url())).await.unwrap_err();
    assert!(matches!(error, BusError::Unreachable { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().contains("check that it runs"), "{error}");

    let brief = Bus::connect_within(rig::options(server.url()), Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(brief, BusError::Unreachable { .. }), "{brief}");

    let waiting = tokio::spawn(Bus::connect_within(rig::options(server.url()), PATIENCE));
    let server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let server = server.await.unwrap();
    let bus = waiting.await.unwrap().unwrap();
    assert!(bus.is_connected());
    let facts = bus.server().unwrap();
    assert_eq!((facts.name.as_str(), facts.cluster), (server.name(), None));
    assert!(facts.version.is_supported());
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused() {
    // Account A has no JetStream.
    let server = broca_servers::NatsServer::start_with(
        "accounts { A { users: [ { user: a, password: a } ] }, B { jetstream: enabled, users: [ { user: b, password: b } ] } }",
    );
    let as_user = |user: &str, password: &str| broca_bus::BusOptions {
        auth: broca_bus::Auth::UserPassword { user: user.into(), password: password.into() },
        ..rig::options(server.url())
    };
    let error = Bus::connect(as_user("a", "a")).await.unwrap_err();
    assert!(matches!(error, BusError::NoJetStream(_)) && !error.is_transient(), "{error}");
    let error = Bus::connect(as_user("b", "wrong")).await.unwrap_err();
    assert!(matches!(error, BusError::Unauthorised { .. }) && !error.is_transient(), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong"), "{error}");
    Bus::connect(as_user("b", "b")).await.unwrap();
}
