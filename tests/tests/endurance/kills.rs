//! A process that ends between two durable points.

use broca_core::ResponseState;
use broca_pipeline::crash::CrashPoint;
use broca_tests::eventually;

use crate::{
    far::{Kind, PATIENCE},
    stage::{PEOPLE, Stage},
};

async fn dies_at(kind: Kind, point: CrashPoint) {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("crashed");
    let env = [("BROCA_CRASH_AT", point.name()), ("BROCA_CRASH_ONCE", marker.to_str().unwrap())];
    let mut stage = Stage::set(kind, "", &env).await;
    for _ in 0..2 {
        stage.everybody_says("").await;
    }
    eventually(&format!("{kind:?} dies at {}", point.name()), PATIENCE, || {
        stage.tend();
        let died = marker.exists();
        async move { died }
    })
    .await;
    stage.ends_well(point.name()).await;
    assert_eq!(stage.plugin.replaced, 1, "{kind:?} died at {}", point.name());
    // Both ask the far side what it has, or send again what it knows by its id.
    let all = i64::try_from(PEOPLE * 2).unwrap();
    assert_eq!(stage.responses(ResponseState::Delivered).await, all, "{kind:?} at {}", point.name());
}

const POINTS: [CrashPoint; 5] = [
    CrashPoint::Ingested,
    CrashPoint::Published,
    CrashPoint::DeliveryBegun,
    CrashPoint::PlatformSent,
    CrashPoint::DeliveryFinished,
];

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_plugin_dies_at_each_point() {
    for point in POINTS {
        dies_at(Kind::Webhook, point).await;
    }
}

/// The host of a program: the program goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_of_a_program_dies_at_each_point() {
    for point in POINTS.into_iter().chain([CrashPoint::PartRecorded]) {
        dies_at(Kind::Exec, point).await;
    }
}
