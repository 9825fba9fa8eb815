//! No more than the slots are held, and nothing is kept back at shutdown.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rig;

#[tokio::test]
async fn three_slots_hold_three_messages() {
    let (_server, bus) = rig::server().await;
    rig::publish(&bus, 0..10).await;
    let mut consumer = rig::workers(&bus, 3).await;
    let mut held = vec![rig::next(&mut consumer).await, rig::next(&mut consumer).await, rig::next(&mut consumer).await];
    assert!(rig::next_within(&mut consumer, Duration::from_millis(300)).await.is_none());
    let backlog = bus.backlog("BROCA_IN", "workers").await.unwrap();
    assert_eq!((backlog.ack_pending, backlog.pending, consumer.free_slots()), (3, 7, 0));

    held.remove(0).ack().await.unwrap();
    held.push(rig::next(&mut consumer).await);
    assert!(rig::next_within(&mut consumer, Duration::from_millis(100)).await.is_none());
    assert_eq!(bus.backlog("BROCA_IN", "workers").await.unwrap().ack_pending, 3);
}

#[tokio::test]
async fn freed_slots_are_used_while_a_smaller_request_is_out() {
    let (_server, bus) = rig::server().await;
    rig::publish(&bus, 0..9).await;
    let mut consumer = rig::workers(&bus, 10).await;
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(rig::next(&mut consumer).await);
    }
    // One slot is free, and asked for.
    assert!(rig::next_within(&mut consumer, Duration::from_millis(200)).await.is_none());
    for job in held.drain(..) {
        job.ack().await.unwrap();
    }
    assert!(rig::next_within(&mut consumer, Duration::from_millis(50)).await.is_none());
    rig::publish(&bus, 100..110).await;
    for _ in 0..10 {
        held.push(rig::next(&mut consumer).await);
    }
}

#[tokio::test]
async fn a_long_idle_consumer_still_holds_no_more_than_its_slots() {
    let (_server, bus) = rig::server().await;
    let mut consumer = rig::workers(&bus, 3).await;
    // Longer than a request stands, so that requests expire and are replaced.
    assert!(rig::next_within(&mut consumer, Duration::from_secs(5)).await.is_none());
    rig::until(&bus, "one request is out", |b| b.waiting == 1).await;
    rig::publish(&bus, 0..10).await;
    let _held = [rig::next(&mut consumer).await, rig::next(&mut consumer).await, rig::next(&mut consumer).await];
    assert!(rig::next_within(&mut consumer, Duration::from_millis(200)).await.is_none());
    assert_eq!(bus.backlog("BROCA_IN", "workers").await.unwrap().ack_pending, 3);
}

#[tokio::test]
async fn shutdown_hands_the_buffer_to_another_worker_at_once() {
    let (_server, bus) = rig::server().await;
    rig::publish(&bus, 0..100).await;
    let mut leaving = rig::workers(&bus, 50).await;
    let kept = rig::next(&mut leaving).await;
    rig::until(&bus, "the buffer is full", |b| b.ack_pending == 50).await;

    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let started = Instant::now();
    assert!(leaving.next(&shutdown).await.is_none());
    assert!(leaving.next(&shutdown).await.is_none());

    let mut staying = rig::workers(&bus, 99).await;
    let mut received = std::collections::BTreeSet::new();
    for _ in 0..99 {
        let job = rig::next(&mut staying).await;
        received.insert(rig::text(&job));
        job.ack().await.unwrap();
    }
    assert!(started.elapsed() < rig::PROMPT, "far less than ack_wait: {:?}", started.elapsed());
    assert!(received.len() == 99 && !received.contains(&rig::text(&kept)));
    kept.ack().await.unwrap();
    rig::until(&bus, "all are done", |b| b.pending == 0 && b.ack_pending == 0).await;
}

#[tokio::test]
async fn a_dropped_consumer_hands_its_buffer_back_too() {
    let (_server, bus) = rig::server().await;
    rig::publish(&bus, 0..20).await;
    let mut leaving = rig::workers(&bus, 20).await;
    rig::next(&mut leaving).await.ack().await.unwrap();
    rig::until(&bus, "the buffer is full", |b| b.ack_pending == 19).await;
    drop(leaving);
    let started = Instant::now();
    let mut staying = rig::workers(&bus, 20).await;
    for _ in 0..19 {
        rig::next(&mut staying).await.ack().await.unwrap();
    }
    assert!(started.elapsed() < rig::PROMPT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let (_server, bus) = rig::server().await;
    let mut consumer = rig::workers(&bus, 5).await;
    let publisher = tokio::spawn({
        let bus = bus.clone();
        async move { rig::publish(&bus, 0..300).await }
    });
    let started = Instant::now();
    let mut received = 0;
    while received < 300 {
        if let Some(job) = rig::next_within(&mut consumer, Duration::from_micros(200)).await {
            assert_eq!(job.delivered(), 1);
            job.ack().await.unwrap();
            received += 1;
        }
        assert!(started.elapsed() < rig::PATIENCE, "{received} of 300");
    }
    publisher.await.unwrap();
    assert!(consumer.free_slots() <= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_leave_under_load_delay_nothing() {
    const ROUNDS: u32 = 20;
    const MESSAGES: u32 = 4000;
    let (_server, bus) = rig::server().await;
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..4 {
        let bus = bus.clone();
        publishers.spawn(async move {
            rig::publish(&bus, (0..MESSAGES / 4).map(|i| format!("{publisher}-{i}"))).await;
        });
    }
    let mut received = 0;
    let mut repeated = 0;
    let mut longest = Duration::ZERO;
    for round in 1..=ROUNDS {
        let mut consumer = rig::workers(&bus, 100).await;
        while received < MESSAGES * round / ROUNDS {
            let asked = Instant::now();
            let job = rig::next(&mut consumer).await;
            longest = longest.max(asked.elapsed());
            repeated += u32::from(job.delivered() > 1);
            job.ack().await.unwrap();
            received += 1;
        }
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        assert!(consumer.next(&shutdown).await.is_none());
    }
    publishers.join_all().await;
    eprintln!("{repeated} of {MESSAGES} delivered twice, longest wait {longest:?}");
    assert!(longest < rig::PROMPT, "{longest:?}");
}
