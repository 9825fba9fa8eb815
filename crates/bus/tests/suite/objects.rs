//! Files: kept once under their name, read whole or not at all, gone when they expire.

use std::time::{Duration, Instant};

use broca_bus::{ApplyOptions, Bus, BusError, StreamLimits};
use broca_servers::NatsServer;

use crate::rig;

const BUCKET: &str = "BROCA_FILES_cli";

async fn with_bucket(limits: StreamLimits) -> (NatsServer, Bus) {
    let server = NatsServer::start();
    let limits = vec![StreamLimits { stream: format!("OBJ_{BUCKET}"), ..limits }];
    let options = ApplyOptions { with_files: vec!["cli".parse().unwrap()], limits, ..ApplyOptions::default() };
    let bus = rig::prepared(&server.url(), &options).await;
    (server, bus)
}

#[tokio::test]
async fn what_was_kept_is_read_and_what_was_dropped_is_gone() {
    let (_server, bus) = with_bucket(StreamLimits::default()).await;
    assert_eq!(bus.object(BUCKET, "nothing", 9).await.unwrap(), None);
    let large = vec![7; 1_000_000];
    for (name, content) in [("empty", &[][..]), ("small", b"small"), ("large", &large)] {
        bus.put_object(BUCKET, name, content).await.unwrap();
        assert_eq!(bus.object(BUCKET, name, 1_000_000).await.unwrap().as_deref(), Some(content), "{name}");
    }
    assert_eq!(bus.object(BUCKET, "large", 999_999).await.unwrap(), None, "more than its reader wants");
    assert!(bus.drop_object(BUCKET, "large").await.unwrap());
    assert!(!bus.drop_object(BUCKET, "large").await.unwrap());
    assert_eq!(bus.object(BUCKET, "large", 1_000_000).await.unwrap(), None);
    bus.put_object(BUCKET, "large", &large).await.unwrap();
    assert_eq!(bus.object(BUCKET, "large", 1_000_000).await.unwrap(), Some(large), "it may come again");
}

#[tokio::test]
async fn a_full_bucket_refuses_and_keeps_what_it_has() {
    let (_server, bus) = with_bucket(StreamLimits { max_bytes: Some(200_000), ..StreamLimits::default() }).await;
    bus.put_object(BUCKET, "first", &vec![1; 100_000]).await.unwrap();
    let refused = bus.put_object(BUCKET, "second", &vec![2; 150_000]).await.unwrap_err();
    assert!(matches!(&refused, BusError::Unavailable(why) if why.contains(BUCKET)), "{refused}");
    assert_eq!(bus.object(BUCKET, "first", 200_000).await.unwrap(), Some(vec![1; 100_000]));
    assert_eq!(bus.object(BUCKET, "second", 200_000).await.unwrap(), None, "half a file is none");
}

#[tokio::test]
async fn a_file_expires() {
    let (_server, bus) =
        with_bucket(StreamLimits { max_age: Some(Duration::from_secs(1)), ..StreamLimits::default() }).await;
    bus.put_object(BUCKET, "short", b"lived").await.unwrap();
    let deadline = Instant::now() + rig::PATIENCE;
    // It may also go while it is read, which is an error then.
    while !matches!(bus.object(BUCKET, "short", 99).await, Ok(None)) {
        assert!(Instant::now() < deadline, "it is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn without_a_bucket_it_is_said_what_to_do() {
    let server = NatsServer::start();
    let bus = rig::prepared(&server.url(), &ApplyOptions::default()).await;
    for error in [bus.put_object(BUCKET, "a", b"b").await.unwrap_err(), bus.object(BUCKET, "a", 9).await.unwrap_err()] {
        assert!(error.is_transient() && error.to_string().contains("broca nats apply"), "{error}");
    }
    assert!(!bus.drop_object(BUCKET, "a").await.unwrap(), "nothing to drop");
}
