//! A bridge that is away, in a bad mood, or somebody else's.

use broca_plugin::{HostError, Plugin, PluginError, PluginState};
use serde_json::json;

use crate::{
    bridge::Fault,
    scene::{SESSION, Scene, UID},
};

fn degraded(state: &PluginState) -> bool {
    matches!(state, PluginState::Degraded { .. })
}

#[tokio::test]
async fn the_bridge_goes_and_comes_back() {
    let mut scene = Scene::start().await;
    scene.pipeline.until(|seen| seen.states.contains(&PluginState::Connected)).await;
    scene.bridge.stop().await;
    scene.pipeline.until(|seen| seen.states.last().is_some_and(degraded)).await;
    let bridge = scene.bridge.start_again().await;
    bridge.says(SESSION, UID, "are you there?");
    scene.pipeline.until(|seen| seen.accepted.len() == 1 && seen.states.last() == Some(&PluginState::Connected)).await;
    scene.hosted.take().unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_is_told_and_nothing_goes_on() {
    let mut scene = Scene::set(json!({"api_key": "api_of_another_bridge"})).await;
    scene.run();
    let ended = scene.hosted.take().unwrap().ends().await;
    assert!(matches!(ended, Err(HostError::Plugin(PluginError::Credentials(_)))), "{ended:?}");
    let states = scene.pipeline.seen().states;
    let Some(PluginState::BadCredentials { detail }) = states.last() else { panic!("{states:?}") };
    assert!(detail.contains("client.api_key") && !detail.contains("api_of_another_bridge"), "{detail}");
}

#[tokio::test]
async fn a_wrong_admin_key_costs_the_recovery_alone() {
    let mut scene = Scene::set(json!({"admin_key": "no such key"})).await;
    scene.bridge.says(SESSION, UID, "hello");
    scene.run();
    scene.until_accepted(1).await;
}

/// Some bridges take a message out of the inbox by showing it, so the doctor does not look there.
#[tokio::test]
async fn only_the_admins_key_is_tried_and_no_message_taken() {
    let checked = async |more: serde_json::Value| {
        let scene = Scene::set(more).await;
        scene.bridge.says(SESSION, UID, "hello");
        let checked = scene.plugin.check().await;
        assert!(!scene.bridge.books().messages[0].4, "it is still to be fetched");
        checked
    };
    assert!(matches!(checked(json!({})).await, Ok(Some(_))));
    assert!(matches!(checked(json!({"admin_key": null})).await, Ok(None)));
    let wrong = checked(json!({"admin_key": "no such key"})).await;
    assert!(matches!(&wrong, Err(PluginError::Credentials(why)) if why.contains("client.admin_key")), "{wrong:?}");
}

#[tokio::test]
async fn a_bridge_that_shows_no_sessions_still_has_messages() {
    let mut scene = Scene::set(json!({})).await;
    for _ in 0..50 {
        scene.bridge.fails("sessions", Fault::Status(500));
    }
    scene.bridge.says(SESSION, UID, "hello");
    scene.run();
    scene.until_accepted(1).await;
    scene.pipeline.until(|seen| seen.states.iter().any(degraded)).await;
}

/// Sessions are read as the admin's limit allows, and nobody waits for that.
#[tokio::test]
async fn a_limit_on_what_admins_ask_holds_up_nobody() {
    let mut scene = Scene::set(json!({})).await;
    for number in 0..3 {
        scene.bridge.says(&format!("session_number_{number}"), UID, &format!("fetched by a dead process {number}"));
        scene.bridge.books().messages[number].4 = true;
        scene.bridge.fails("session_messages", Fault::Limited(1));
    }
    scene.bridge.says(SESSION, UID, "new");
    scene.run();
    assert_eq!(scene.until_accepted(1).await, ["new"], "the limit came first");
    let all = scene.until_accepted(4).await;
    assert_eq!(all.iter().filter(|text| text.starts_with("fetched by a dead process")).count(), 3, "{all:?}");
}

#[tokio::test]
async fn limits_are_kept() {
    let scene = Scene::start().await;
    scene.pipeline.until(|seen| seen.states.contains(&PluginState::Connected)).await;
    scene.bridge.fails("inbox", Fault::Limited(2));
    let seen = scene.pipeline.until(|seen| seen.states.iter().any(degraded)).await;
    let detail = seen.states.iter().find(|state| degraded(state)).unwrap().detail().unwrap().to_owned();
    assert!(detail.contains("poll_interval_s"), "{detail}");
    let calls = scene.bridge.books().calls.len();
    scene.bridge.says(SESSION, UID, "hello");
    let before = std::time::Instant::now();
    scene.until_accepted(1).await;
    assert!(before.elapsed() > std::time::Duration::from_millis(1500), "it was asked again too soon");
    assert!(scene.bridge.books().calls.len() <= calls + 2);
}

#[tokio::test]
async fn a_page_of_somebody_elses_is_no_bridge() {
    let mut scene = Scene::set(json!({})).await;
    for _ in 0..2 {
        scene.bridge.fails("sessions", Fault::Html);
    }
    scene.bridge.says(SESSION, UID, "hello");
    scene.run();
    let seen = scene.pipeline.until(|seen| seen.states.iter().any(degraded)).await;
    let detail = seen.states.iter().find(|state| degraded(state)).unwrap().detail().unwrap().to_owned();
    assert!(detail.contains("client.api_url"), "{detail}");
    scene.until_accepted(1).await;
}
