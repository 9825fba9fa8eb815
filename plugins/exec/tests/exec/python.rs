//! The example in Python, before the scripted platform.

use broca_core::{DeliveryError, agent::FailureClass};
use broca_rehearsal::platform::{Fault, PlatformScript, ScriptedPlatform};
use serde_json::json;

use crate::scene::Scene;

fn settings(platform: &ScriptedPlatform) -> serde_json::Value {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python/plugin.py");
    json!({"command": ["python3", program], "options": {"url": platform.url(), "max_text_chars": 4}})
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reports_delivers_in_parts_and_says_what_failed() {
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    platform.say("alice", "hi");
    let scene = Scene::ready(settings(&platform)).await;
    let message = scene.first().await;
    let receipt = scene.answer(message, "grüß dich").await.unwrap();
    assert_eq!(receipt.platform_message_ids.len(), 3);
    assert_eq!(platform.log().iter().map(|sent| sent.text.as_str()).collect::<Vec<_>>(), ["grüß", " dic", "h"]);
    let faults = [Fault::RateLimited { retry_after_s: 3 }, Fault::ServerError, Fault::CutBefore];
    platform.script(|script| script.send_faults = faults.into());
    let mut classes = Vec::new();
    for _ in 0..3 {
        classes.push(match scene.answer(message, "x").await.unwrap_err() {
            DeliveryError::Retry { failure, .. } | DeliveryError::Unknown(failure) | DeliveryError::Dead(failure) => {
                failure.class
            }
        });
    }
    assert_eq!(classes, [FailureClass::RateLimited, FailureClass::Unavailable, FailureClass::Timeout]);
    scene.hosted.stop().await.unwrap();
}

#[tokio::test]
async fn without_an_address_it_says_what_is_missing() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python/plugin.py");
    let scene = Scene::of(json!({"command": ["python3", program]}));
    let ended = scene.hosted.ends().await.unwrap_err();
    assert!(ended.to_string().contains("url is missing"), "{ended}");
}
