//! A job is decided once, or it comes back.

use std::time::Duration;

use broca_bus::ApplyOptions;
use broca_servers::NatsServer;
use tokio::time::Instant;

use crate::rig;

#[tokio::test]
async fn acked_is_gone() {
    let (_server, bus) = rig::server().await;
    rig::publish(&bus, ["a", "b"]).await;
    let mut consumer = rig::workers(&bus, 2).await;
    rig::next(&mut consumer).await.ack().await.unwrap();
    rig::next(&mut consumer).await.ack_confirmed().await.unwrap();
    rig::until(&bus, "both are gone", |b| b.pending == 0 && b.ack_pending == 0).await;
    assert_eq!(consumer.ack_wait(), Duration::from_secs(30));
}

#[tokio::test]
async fn dropped_comes_back_after_about_a_second() {
    let (_server, bus) = rig::server().await;
    rig::publish(&bus, ["a"]).await;
    let mut consumer = rig::workers(&bus, 2).await;
    let job = rig::next(&mut consumer).await;
    assert_eq!(job.delivered(), 1);
    let dropped = Instant::now();
    drop(job);
    let again = rig::next(&mut consumer).await;
    assert_eq!((again.delivered(), rig::text(&again).as_str()), (2, "a"));
    let waited = dropped.elapsed();
    assert!(waited >= Duration::from_millis(900) && waited < rig::PROMPT, "{waited:?}");
}

#[tokio::test]
async fn dropped_outside_the_runtime_comes_back_too() {
    let (_server, bus) = rig::server().await;
    rig::publish(&bus, ["a"]).await;
    let mut consumer = rig::workers(&bus, 1).await;
    let job = rig::next(&mut consumer).await;
    std::thread::spawn(move || drop(job)).join().unwrap();
    assert_eq!(rig::next(&mut consumer).await.delivered(), 2);
}

#[tokio::test]
async fn a_nak_keeps_its_delay() {
    let (_server, bus) = rig::server().await;
    rig::publish(&bus, ["a"]).await;
    let mut consumer = rig::workers(&bus, 1).await;

    let refused = Instant::now();
    rig::next(&mut consumer).await.nak(Duration::from_millis(400)).await.unwrap();
    let job = rig::next(&mut consumer).await;
    let waited = refused.elapsed();
    assert!(waited >= Duration::from_millis(390) && waited < rig::PROMPT, "{waited:?}");

    let refused = Instant::now();
    job.nak(Duration::ZERO).await.unwrap();
    assert_eq!(rig::next(&mut consumer).await.delivered(), 3);
    assert!(refused.elapsed() < rig::PROMPT, "{:?}", refused.elapsed());
}

#[tokio::test]
async fn terminated_never_comes_back_and_the_reason_is_told() {
    let (server, bus) = rig::server().await;
    let plain = async_nats::connect(server.url()).await.unwrap();
    let mut advisories = plain.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>").await.unwrap();
    plain.flush().await.unwrap();

    rig::publish(&bus, ["a"]).await;
    let mut consumer = rig::workers(&bus, 1).await;
    rig::next(&mut consumer).await.term("not an envelope").await.unwrap();
    let advisory =
        tokio::time::timeout(rig::PATIENCE, futures::StreamExt::next(&mut advisories)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&advisory.payload).contains("not an envelope"));
    rig::until(&bus, "it is gone", |b| b.pending == 0 && b.ack_pending == 0).await;
}

#[tokio::test]
async fn progress_prevents_redelivery_and_silence_does_not() {
    let server = NatsServer::start();
    let apply = ApplyOptions { ack_wait: Some(Duration::from_secs(1)), ..ApplyOptions::default() };
    let bus = rig::prepared(&server.url(), &apply).await;
    rig::publish(&bus, ["held", "silent"]).await;
    let mut consumer = rig::workers(&bus, 4).await;
    assert_eq!(consumer.ack_wait(), Duration::from_secs(1));
    let (held, silent) = (rig::next(&mut consumer).await, rig::next(&mut consumer).await);

    let handle = held.progress_handle();
    let heartbeat = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(300));
        loop {
            ticks.tick().await;
            handle.progress().await.unwrap();
        }
    });
    let again = rig::next(&mut consumer).await;
    assert_eq!((rig::text(&again).as_str(), again.delivered()), ("silent", 2));
    again.ack().await.unwrap();
    let other = rig::next_within(&mut consumer, Duration::from_millis(2500)).await;
    assert!(other.is_none(), "a job in progress was delivered again: {other:?}");
    held.progress().await.unwrap();
    heartbeat.abort();
    held.ack_confirmed().await.unwrap();
    // An ack of an old delivery is accepted too: it fences nothing.
    silent.ack().await.unwrap();
    rig::until(&bus, "all are gone", |b| b.pending == 0 && b.ack_pending == 0).await;
}
