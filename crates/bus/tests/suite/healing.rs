//! A consumer ends only by shutdown.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use broca_bus::{ApplyOptions, Bus, BusError, Topology};
use broca_servers::NatsServer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rig;

/// Runs something that blocks its thread beside the test.
async fn beside(server: &Arc<Mutex<NatsServer>>, act: fn(&mut NatsServer)) {
    let server = Arc::clone(server);
    tokio::task::spawn_blocking(move || act(&mut server.lock().unwrap())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_survived_quickly() {
    let (server, bus) = rig::server().await;
    let server = Arc::new(Mutex::new(server));
    let mut consumer = rig::workers(&bus, 10).await;
    for round in 0..3 {
        rig::publish(&bus, [format!("before-{round}")]).await;
        rig::next(&mut consumer).await.ack_confirmed().await.unwrap();
        // The consumer waits in `next` while the server goes away and comes back.
        let waiting = async {
            let job = rig::next(&mut consumer).await;
            assert_eq!(rig::text(&job), format!("after-{round}"));
            job.ack_confirmed().await.unwrap();
        };
        let restart = async {
            beside(&server, if round % 2 == 0 { NatsServer::kill9 } else { NatsServer::stop }).await;
            beside(&server, NatsServer::restart).await;
            let restarted = Instant::now();
            while bus.publish(rig::outgoing(format!("after-{round}"))).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            restarted
        };
        let ((), restarted) = tokio::join!(waiting, restart);
        let gap = restarted.elapsed();
        eprintln!("round {round}: a job {gap:?} after the restart");
        assert!(gap < Duration::from_secs(5), "{gap:?}");
    }
}

#[tokio::test]
async fn a_deleted_consumer_is_bound_again_when_it_is_back() {
    let (server, bus) = rig::server().await;
    let js = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let mut consumer = rig::workers(&bus, 10).await;
    rig::publish(&bus, ["before"]).await;
    rig::next(&mut consumer).await.ack_confirmed().await.unwrap();

    js.delete_consumer_from_stream("workers", "BROCA_IN").await.unwrap();
    rig::publish(&bus, ["meanwhile"]).await;
    assert!(rig::next_within(&mut consumer, Duration::from_secs(1)).await.is_none());
    let missing = bus.consumer("BROCA_IN", "workers", 1).await.unwrap_err();
    assert!(matches!(missing, BusError::MissingConsumer { .. }) && missing.to_string().contains("broca nats apply"));

    Topology::embedded().unwrap().apply(&bus, &ApplyOptions::default()).await.unwrap();
    let recreated = Instant::now();
    let job = rig::next(&mut consumer).await;
    assert_eq!(rig::text(&job), "meanwhile");
    assert!(recreated.elapsed() < rig::PROMPT, "{:?}", recreated.elapsed());
}

#[tokio::test]
async fn an_outage_costs_no_spinning_and_shutdown_works_in_it() {
    let (server, bus) = rig::server().await;
    let js = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let mut consumer = rig::workers(&bus, 10).await;
    js.delete_stream("BROCA_IN").await.unwrap();
    let client = js.client();
    let mut asked = client.subscribe("$JS.API.CONSUMER.>").await.unwrap();
    client.flush().await.unwrap();
    assert!(rig::next_within(&mut consumer, Duration::from_secs(3)).await.is_none());
    let mut requests = 0;
    while let Some(Some(_)) = futures::FutureExt::now_or_never(futures::StreamExt::next(&mut asked)) {
        requests += 1;
    }
    assert!((2..=20).contains(&requests), "{requests} requests in three seconds without a stream");

    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let started = Instant::now();
    assert!(consumer.next(&shutdown).await.is_none());
    assert!(started.elapsed() < rig::PROMPT, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_does_not_hang_on_a_dead_server() {
    let (mut server, bus) = rig::server().await;
    rig::publish(&bus, 0..5).await;
    let mut consumer = rig::workers(&bus, 5).await;
    rig::next(&mut consumer).await.ack().await.unwrap();
    server.kill9();
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let started = Instant::now();
    assert!(consumer.next(&shutdown).await.is_none());
    assert!(started.elapsed() < rig::PROMPT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_server_that_hangs_with_its_connection_open_is_noticed() {
    let (server, bus) = rig::server().await;
    let mut consumer = rig::workers(&bus, 3).await;
    rig::publish(&bus, ["before"]).await;
    rig::next(&mut consumer).await.ack_confirmed().await.unwrap();
    server.freeze();
    // Longer than the silence that ends a binding, shorter than what ends the connection.
    assert!(rig::next_within(&mut consumer, Duration::from_secs(4)).await.is_none());
    server.thaw();
    let thawed = Instant::now();
    rig::publish(&bus, 0..10).await;
    let _held = [rig::next(&mut consumer).await, rig::next(&mut consumer).await, rig::next(&mut consumer).await];
    assert!(thawed.elapsed() < rig::PROMPT, "{:?}", thawed.elapsed());
    assert!(rig::next_within(&mut consumer, Duration::from_millis(200)).await.is_none());
    assert_eq!(bus.backlog("BROCA_IN", "workers").await.unwrap().ack_pending, 3);
}

#[tokio::test]
async fn other_kinds_of_consumers_are_refused_with_a_reason() {
    let (server, bus) = rig::server().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let create = r#"{"stream_name":"BROCA_EVENTS","config":{"durable_name":"push","deliver_subject":"to.me","ack_policy":"none"}}"#;
    client.request("$JS.API.CONSUMER.CREATE.BROCA_EVENTS.push", create.into()).await.unwrap();
    let error = bus.consumer("BROCA_EVENTS", "push", 1).await.unwrap_err();
    assert!(matches!(error, BusError::WrongConsumer { .. }), "{error}");
    let error = Bus::consumer(&bus, "NO_STREAM", "x", 1).await.unwrap_err();
    assert!(matches!(error, BusError::MissingConsumer { .. }), "{error}");
}
