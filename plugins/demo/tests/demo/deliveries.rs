//! The way out.

use std::{path::PathBuf, time::Duration};

use broca_core::{DeliveryError, Receipt, agent::FailureClass, delivery::Settlement};
use broca_plugin::Plugin;
use broca_rehearsal::platform::{Delivery, Fault, PlatformScript, ScriptedPlatform};

use crate::{DEADLINE, alice, message, plugin, response};

/// What a delivery to a platform with this script comes to, and what the platform has logged then.
async fn delivered(script: PlatformScript) -> (Result<Receipt, DeliveryError>, Vec<Delivery>) {
    let platform = ScriptedPlatform::start(script).await.unwrap();
    let outcome = plugin(platform.url()).deliver(&response("hello"), &alice(), message()).await;
    (outcome, platform.log())
}

async fn failed_with(fault: Fault) -> (Result<Receipt, DeliveryError>, Vec<Delivery>) {
    delivered(PlatformScript { send_faults: [fault].into(), ..PlatformScript::default() }).await
}

fn retried(outcome: &Result<Receipt, DeliveryError>) -> (Option<Duration>, FailureClass) {
    match outcome {
        Err(DeliveryError::Retry { after, failure }) => (*after, failure.class),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_reaches_its_person_under_its_own_id() {
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    let plugin = plugin(platform.url());
    let (answer, mut group) = (response("hello"), response("hello all"));
    group.chat_id = Some("garden".into());
    let receipt = plugin.deliver(&answer, &alice(), message()).await.unwrap();
    plugin.deliver(&group, &alice(), message()).await.unwrap();
    let log = platform.log();
    assert_eq!(receipt, Receipt::of(log[0].message_id.clone()));
    assert_eq!((log[0].response_id, log[0].user.as_str(), log[0].text.as_str()), (answer.id, "alice", "hello"));
    assert_eq!(log[1].chat_id.as_deref(), Some("garden"));
}

#[tokio::test]
async fn a_failure_before_the_send_is_tried_again() {
    let (outcome, log) = failed_with(Fault::RateLimited { retry_after_s: 7 }).await;
    assert_eq!(retried(&outcome), (Some(Duration::from_secs(7)), FailureClass::RateLimited));
    assert!(log.is_empty());
    let (outcome, log) = failed_with(Fault::ServerError).await;
    assert_eq!(retried(&outcome), (None, FailureClass::Unavailable));
    assert!(log.is_empty());
    let (outcome, log) = failed_with(Fault::CutBefore).await;
    assert_eq!(retried(&outcome), (None, FailureClass::Unavailable));
    assert!(log.is_empty());

    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    let url = platform.url();
    platform.stop().await;
    let outcome = plugin(url).deliver(&response("hello"), &alice(), message()).await;
    assert_eq!(retried(&outcome), (None, FailureClass::Unavailable));
}

#[tokio::test]
async fn a_person_who_blocked_the_bot_gets_nothing_ever() {
    let blocked = ["alice".to_owned()].into();
    let (outcome, log) = delivered(PlatformScript { blocked, ..PlatformScript::default() }).await;
    assert!(matches!(outcome, Err(DeliveryError::Dead(failure)) if failure.class == FailureClass::Blocked));
    assert!(log.is_empty());
}

#[tokio::test]
async fn a_send_whose_answer_was_lost_is_found_by_asking() {
    let (outcome, log) = failed_with(Fault::CutAfter).await;
    assert_eq!(outcome, Ok(Receipt::of(log[0].message_id.clone())));
    assert_eq!(log.len(), 1);
}

#[tokio::test]
async fn a_send_that_cannot_be_asked_about_is_unknown() {
    let platform = ScriptedPlatform::start(PlatformScript { hold_ms: 60_000, ..PlatformScript::default() });
    let platform = platform.await.unwrap();
    let plugin = plugin(platform.url());
    let sending = tokio::spawn(async move { plugin.deliver(&response("hello"), &alice(), message()).await });
    assert_eq!(platform.wait_for_sends(1, DEADLINE).await.len(), 1);
    platform.stop().await;
    assert!(matches!(sending.await.unwrap(), Err(DeliveryError::Unknown(_))));
}

#[tokio::test]
async fn a_delivery_that_was_killed_is_settled_by_asking() {
    let log_dir = tempfile::tempdir().unwrap();
    let log: PathBuf = log_dir.path().join("sent.jsonl");
    let script = PlatformScript { log: Some(log.clone()), hold_ms: 60_000, ..PlatformScript::default() };
    let platform = ScriptedPlatform::start(script.clone()).await.unwrap();
    let first = plugin(platform.url());
    let (answer, never_sent) = (response("hello"), response("never"));
    let sending = tokio::spawn({
        let answer = answer.clone();
        async move { first.deliver(&answer, &alice(), message()).await }
    });
    assert_eq!(platform.wait_for_sends(1, DEADLINE).await.len(), 1);
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());

    let second = plugin(platform.url());
    let settled = second.settle(&answer, &alice(), message()).await;
    assert_eq!(settled, Settlement::Delivered(Receipt::of("m1")));
    assert_eq!(second.settle(&never_sent, &alice(), message()).await, Settlement::NotDelivered);
    assert_eq!(platform.log().len(), 1);

    // The receipts outlive the platform, too.
    platform.stop().await;
    assert_eq!(second.settle(&answer, &alice(), message()).await, Settlement::CannotTell);
    let platform = ScriptedPlatform::start(script).await.unwrap();
    let settled = plugin(platform.url()).settle(&answer, &alice(), message()).await;
    assert_eq!(settled, Settlement::Delivered(Receipt::of("m1")));
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn the_platform_hides_no_duplicate() {
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    let (plugin, answer) = (plugin(platform.url()), response("hello"));
    let first = plugin.deliver(&answer, &alice(), message()).await.unwrap();
    let second = plugin.deliver(&answer, &alice(), message()).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(platform.log().len(), 2);
    assert_eq!(plugin.settle(&answer, &alice(), message()).await, Settlement::Delivered(first));
}
