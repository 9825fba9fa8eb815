//! Three servers, three copies: the leader dies and nothing else does.

use std::{collections::BTreeSet, time::Duration};

use broca_bus::{ApplyOptions, Bus};
use broca_servers::NatsCluster;
use serde_json::Value;
use tokio::time::Instant;

use crate::rig;

async fn leader(url: &str) -> String {
    let client = async_nats::connect(url.split(',').collect::<Vec<_>>()).await.unwrap();
    let answer = client.request("$JS.API.STREAM.INFO.BROCA_IN", "".into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    answer["cluster"]["leader"].as_str().expect("a stream has a leader").to_owned()
}

async fn publish_until_stored(bus: &Bus, id: u32) {
    let deadline = Instant::now() + rig::PATIENCE;
    while let Err(error) = bus.publish(rig::outgoing(id)).await {
        assert!(error.is_transient() && Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_streams_leader_may_die() {
    const MESSAGES: u32 = 200;
    let mut cluster = NatsCluster::start(3);
    let url = cluster.url();
    // What was on its way from the leader when it died comes again after this.
    let ack_wait = Some(Duration::from_secs(5));
    let bus = rig::prepared(&url, &ApplyOptions { replicas: Some(3), ack_wait, ..ApplyOptions::default() }).await;
    let mut consumer = rig::workers(&bus, 20).await;

    let publisher = tokio::spawn({
        let bus = bus.clone();
        async move {
            for id in 0..MESSAGES {
                publish_until_stored(&bus, id).await;
            }
        }
    });
    let mut received = BTreeSet::new();
    let mut killed = None;
    let mut longest_gap = Duration::ZERO;
    let mut last = Instant::now();
    while received.len() < MESSAGES as usize {
        let job = rig::next(&mut consumer).await;
        longest_gap = longest_gap.max(last.elapsed());
        last = Instant::now();
        received.insert(rig::text(&job));
        // An acknowledgement that got lost with the leader brings the message back; the set absorbs it.
        job.ack().await.ok();
        if received.len() == 50 && killed.is_none() {
            let name = leader(&url).await;
            cluster.named(&name).expect("the leader is one of ours").kill9();
            killed = Some(name);
            last = Instant::now();
        }
    }
    publisher.await.unwrap();
    eprintln!("killed {killed:?}, longest wait for a job {longest_gap:?}");
    assert!(longest_gap < rig::PATIENCE, "{longest_gap:?}");
}
