//! The way out.

use std::{path::PathBuf, time::Duration};

use broca_core::{DeliveryError, Part, Receipt, Response, agent::FailureClass, delivery::Settlement};
use broca_plugin::{Parts, Plugin};
use broca_plugin_demo::DemoPlugin;
use broca_rehearsal::platform::{Delivery, Fault, PlatformScript, ScriptedPlatform};

use crate::{DEADLINE, alice, message, plugin, plugin_that_cuts, response};

/// What a delivery to a platform with this script comes to, and what the platform has logged then.
async fn delivered(script: PlatformScript) -> (Result<Receipt, DeliveryError>, Vec<Delivery>) {
    let platform = ScriptedPlatform::start(script).await.unwrap();
    let outcome = send(&plugin(platform.url()), &response("hello")).await;
    (outcome, platform.log())
}

async fn send(plugin: &DemoPlugin, response: &Response) -> Result<Receipt, DeliveryError> {
    plugin.deliver(response, &alice(), message(), &Parts::in_memory(response)).await
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
    let receipt = send(&plugin, &answer).await.unwrap();
    send(&plugin, &group).await.unwrap();
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
    let outcome = send(&plugin(url), &response("hello")).await;
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
    let sending = tokio::spawn(async move { send(&plugin, &response("hello")).await });
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
        async move { send(&first, &answer).await }
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
    let first = send(&plugin, &answer).await.unwrap();
    let second = send(&plugin, &answer).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(platform.log().len(), 2);
    assert_eq!(plugin.settle(&answer, &alice(), message()).await, Settlement::Delivered(first));
}

/// The parts at the platform: their numbers and texts.
fn parts(log: &[Delivery]) -> Vec<(u32, &str, bool)> {
    log.iter().map(|sent| (sent.part, sent.text.as_str(), sent.last)).collect()
}

#[tokio::test]
async fn a_long_answer_goes_out_in_parts() {
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    let plugin = plugin_that_cuts(platform.url(), Some(4));
    let receipt = send(&plugin, &response("für immer")).await.unwrap();
    assert_eq!(receipt.platform_message_ids, ["m1", "m2", "m3"]);
    assert_eq!(parts(&platform.log()), [(0, "für ", false), (1, "imme", false), (2, "r", true)]);
}

#[tokio::test]
async fn what_failed_in_the_middle_goes_on_there() {
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    let plugin = plugin_that_cuts(platform.url(), Some(3));
    let mut answer = response("onetwosix");
    platform.script(|script| script.hold_ms = 60_000);
    let sending = tokio::spawn({
        let (plugin, answer) = (plugin.clone(), answer.clone());
        async move { send(&plugin, &answer).await }
    });
    assert_eq!(platform.wait_for_sends(1, DEADLINE).await.len(), 1);
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    platform.script(|script| script.hold_ms = 0);

    // Nothing was noted of it; the platform is asked.
    let one = Part { platform_message_id: "m1".into(), text_end: 3 };
    assert_eq!(plugin.settle(&answer, &alice(), message()).await, Settlement::Partly(vec![one.clone()]));
    answer.parts = vec![one];
    platform.script(|script| script.send_faults = [Fault::CutAfter, Fault::ServerError].into());
    let noted = Parts::in_memory(&answer);
    let outcome = plugin.deliver(&answer, &alice(), message(), &noted).await;
    assert_eq!(retried(&outcome), (None, FailureClass::Unavailable));
    assert_eq!(parts(&platform.log()), [(0, "one", false), (1, "two", false)], "the cut part is found by asking");
    answer.parts = noted.all();
    let receipt = send(&plugin, &answer).await.unwrap();
    assert_eq!(receipt.platform_message_ids, ["m1", "m2", "m3"]);
    assert_eq!(parts(&platform.log()).last(), Some(&(2, "six", true)));
}
