//! A platform that is away for an hour, at a scale of 1 : 720: an hour is five seconds, and every pause of the default
//! policy as much shorter. Then the broker.

use std::time::{Duration, Instant};

use broca_core::{
    ResponseState,
    retry::{Decision, RetryPolicy},
};
use broca_pipeline::deliver::DeliveryOptions;
use broca_tests::eventually;

use crate::{
    far::{Kind, PATIENCE},
    stage::{PEOPLE, Stage},
};

const HOUR: Duration = Duration::from_secs(5);
const SCALE: u64 = 720;

fn policy() -> RetryPolicy {
    DeliveryOptions::default().retry
}

/// Whatever chance says of the pauses.
#[test]
fn the_default_outlasts_an_hour_and_comes_back_within_minutes() {
    for _ in 0..200 {
        let (mut age, mut attempts) = (Duration::ZERO, 0);
        while age < Duration::from_secs(3_600) {
            attempts += 1;
            match policy().decide(attempts, age, None) {
                Decision::RetryAfter(pause) => {
                    assert!(pause <= Duration::from_secs(300), "{pause:?} after {attempts} attempts");
                    age += pause;
                }
                Decision::GiveUp(why) => panic!("given up after {age:?}: {why}"),
            }
        }
    }
}

async fn an_hour_away(kind: Kind) {
    let policy = policy();
    let scaled = |ms: u64| (ms / SCALE).max(1).to_string();
    let (initial, max) = (scaled(policy.initial_ms), scaled(policy.max_ms));
    let attempts = policy.max_attempts.to_string();
    let env = [
        ("BROCA_DELIVERY_RETRY__INITIAL_MS", initial.as_str()),
        ("BROCA_DELIVERY_RETRY__MAX_MS", max.as_str()),
        ("BROCA_DELIVERY_RETRY__MAX_ATTEMPTS", attempts.as_str()),
    ];
    let mut stage = Stage::set(kind, "", &env).await;
    stage.everybody_says("").await;
    stage.ends_well("before").await;
    // Taken while the platform is there, and answered when it is not.
    let before = stage.rig.letta.arrived();
    stage.everybody_says(" #letta(takes=1500)").await;
    eventually("the agent has them all", PATIENCE, || async { stage.rig.letta.arrived() >= before + PEOPLE }).await;
    stage.far.goes_away().await;
    let since = Instant::now();
    let waiting = i64::try_from(PEOPLE).unwrap();
    eventually("the answers wait, and an hour is over", PATIENCE, || async {
        stage.responses(ResponseState::Retry).await == waiting && since.elapsed() >= HOUR
    })
    .await;
    stage.far.comes_back(&stage.rig).await;
    stage.everybody_says("").await;
    stage.ends_well("after an hour").await;
    assert_eq!((stage.plugin.replaced, stage.workers.replaced), (0, 0), "nobody gave up");
    assert_eq!(stage.responses(ResponseState::Delivered).await, waiting * 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn telegram_is_away_for_an_hour() {
    an_hour_away(Kind::Telegram).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_webhooks_is_away_for_an_hour() {
    an_hour_away(Kind::Webhook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_of_web_chats_is_away_for_an_hour() {
    an_hour_away(Kind::Webchat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_of_a_program_is_away_for_an_hour() {
    an_hour_away(Kind::Exec).await;
}

/// Telegram and the page have their own.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_messages_are_taken_and_answered_when_it_is_back() {
    for kind in [Kind::Webhook, Kind::Webchat, Kind::Exec] {
        let mut stage = Stage::set(kind, "", &[]).await;
        stage.everybody_says("").await;
        stage.ends_well("before").await;
        let messages = async |stage: &Stage| stage.counts().await.messages.values().sum::<i64>();
        let before = messages(&stage).await;
        stage.rig.nats.node_mut(0).kill9();
        stage.everybody_says("").await;
        let taken = before + i64::try_from(PEOPLE).unwrap();
        eventually("SQL has them", PATIENCE, || async { messages(&stage).await >= taken }).await;
        stage.rig.nats.node_mut(0).restart();
        stage.ends_well("after the broker was away").await;
    }
}
