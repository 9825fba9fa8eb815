//! A server with the topology applied, and short names for what every test does.

use std::time::Duration;

use broca_bus::{ApplyOptions, Auth, Bus, BusOptions, Consumer, Job, Outgoing, Topology};
use broca_core::subject::{CONSUMER_WORKERS, STREAM_IN};
use broca_servers::NatsServer;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine; nothing waits for it to pass unless a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// What is done at once is done within this, on the slowest machine; what waits for `ack_wait` (30 s) or hangs is not.
pub(crate) const PROMPT: Duration = Duration::from_secs(15);

pub(crate) fn options(url: impl Into<String>) -> BusOptions {
    BusOptions { url: url.into(), auth: Auth::None, ..BusOptions::default() }
}

pub(crate) async fn server() -> (NatsServer, Bus) {
    let server = NatsServer::start();
    let bus = prepared(&server.url(), &ApplyOptions::default()).await;
    (server, bus)
}

pub(crate) async fn prepared(url: &str, apply: &ApplyOptions) -> Bus {
    let bus = Bus::connect(options(url)).await.unwrap();
    let changes = Topology::embedded().unwrap().apply(&bus, apply).await.unwrap();
    assert!(changes.iter().all(|change| !change.is_refused()), "{changes:?}");
    bus
}

pub(crate) async fn workers(bus: &Bus, slots: usize) -> Consumer {
    bus.consumer(STREAM_IN, CONSUMER_WORKERS, slots).await.unwrap()
}

pub(crate) fn outgoing(id: impl ToString) -> Outgoing {
    let id = id.to_string();
    Outgoing { subject: "broca.in.cli".into(), payload: id.clone().into_bytes(), msg_id: id, trace: None }
}

pub(crate) async fn publish(bus: &Bus, ids: impl IntoIterator<Item = impl ToString>) {
    for id in ids {
        bus.publish(outgoing(id)).await.unwrap();
    }
}

/// The next job, which must come.
pub(crate) async fn next(consumer: &mut Consumer) -> Job {
    let never = CancellationToken::new();
    timeout(PATIENCE, consumer.next(&never)).await.expect("a job must come").expect("no shutdown was asked for")
}

/// Whether a job comes within `within`.
pub(crate) async fn next_within(consumer: &mut Consumer, within: Duration) -> Option<Job> {
    let never = CancellationToken::new();
    timeout(within, consumer.next(&never)).await.ok().flatten()
}

pub(crate) fn text(job: &Job) -> String {
    String::from_utf8(job.payload().to_vec()).unwrap()
}

/// Waits until the consumer's counters fit.
pub(crate) async fn until(bus: &Bus, what: &str, fits: impl Fn(broca_bus::Backlog) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let backlog = bus.backlog(STREAM_IN, CONSUMER_WORKERS).await.unwrap();
        if fits(backlog) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {backlog:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
