//! A waiting consumer has a new message at once, and keeps up with many.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

use crate::rig;

/// Generous for a debug build on a busy machine: a request that waits to fill up, or to expire, takes seconds.
const PROMPT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_request_does_not_delay_one_message() {
    let (_server, bus) = rig::server().await;
    let mut consumer = rig::workers(&bus, 64).await;
    let mut waits = Vec::new();
    for i in 0..100 {
        let started = Instant::now();
        let (job, _) = tokio::join!(rig::next(&mut consumer), rig::publish(&bus, [i]));
        waits.push(started.elapsed());
        job.ack().await.unwrap();
    }
    waits.sort();
    eprintln!("publish to job: p50 {:?}, p90 {:?}, max {:?}", waits[50], waits[90], waits[99]);
    assert!(waits[50] < PROMPT, "p50 {:?}, p90 {:?}", waits[50], waits[90]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_pass() {
    const MESSAGES: usize = 10_000;
    let (_server, bus) = rig::server().await;
    let started = Instant::now();
    let mut publishers = JoinSet::new();
    for publisher in 0..100 {
        let bus = bus.clone();
        publishers.spawn(async move {
            rig::publish(&bus, (0..MESSAGES / 100).map(|i| format!("{publisher}-{i}"))).await;
        });
    }
    publishers.join_all().await;
    let published = started.elapsed();

    let started = Instant::now();
    let mut consumer = rig::workers(&bus, 2000).await;
    for _ in 0..MESSAGES {
        rig::next(&mut consumer).await.ack().await.unwrap();
    }
    let consumed = started.elapsed();
    eprintln!("{MESSAGES} published in {published:?}, consumed in {consumed:?}");
    assert!(published < rig::PATIENCE && consumed < rig::PATIENCE);
    rig::until(&bus, "all acks arrive", |b| b.pending == 0 && b.ack_pending == 0).await;
}
