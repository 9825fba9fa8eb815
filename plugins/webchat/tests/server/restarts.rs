//! What a process leaves behind, and what its successor makes of it.

use std::{io::Write, sync::Arc};

use broca_core::{DeliveryError, MessageId, Profile, ProfileId, UserId, delivery::Settlement};
use broca_plugin::{Parts, Plugin, PluginState};
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline, response_to};
use serde_json::{Value, json};

use crate::scene::{SESSION, Scene, ok, plugin, refused};

#[tokio::test]
async fn an_answer_that_nobody_fetched_survives() {
    let scene = Scene::start().await;
    scene.say("hello").await;
    scene.answer("hello", "good day").await.unwrap();
    let scene = scene.killed_and_started().await;
    assert_eq!(scene.responses("").await[0]["response"], "good day");
    let again = scene.say("and again").await;
    assert_eq!((&again["message_id"], &again["is_new_user"]), (&json!(3), &json!(false)));
}

fn nobody(uid: &str) -> Profile {
    Profile {
        id: ProfileId::new(),
        user_id: UserId::new(),
        platform: "webchat".into(),
        platform_user_id: uid.into(),
        username: None,
        display_name: None,
        metadata: Value::Null,
    }
}

#[tokio::test]
async fn an_answer_is_there_once_however_often_it_is_handed_over() {
    let scene = Scene::start().await;
    scene.say("hello").await;
    let incoming = scene.pipeline.seen().accepted[0].incoming.clone();
    let (response, profile, id) = (response_to(&incoming, "good day"), nobody("u"), MessageId::new());
    assert_eq!(scene.plugin.settle(&response, &profile, id).await, Settlement::NotDelivered);
    let parts = Parts::in_memory(&response);
    let receipt = scene.plugin.deliver(&response, &profile, id, &parts).await.unwrap();
    let scene = scene.killed_and_started().await;
    assert_eq!(scene.plugin.settle(&response, &profile, id).await, Settlement::Delivered(receipt.clone()));
    assert_eq!(scene.plugin.deliver(&response, &profile, id, &parts).await.unwrap(), receipt);
    assert_eq!(scene.responses("").await.len(), 1);
}

#[tokio::test]
async fn half_a_line_is_left_out() {
    let scene = Scene::start().await;
    scene.say("hello").await;
    scene.answer("hello", "good day").await.unwrap();
    let path = scene.folder.path().join("chats.jsonl");
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"t\":\"told\",\"sess").unwrap();
    let scene = scene.killed_and_started().await;
    assert_eq!(scene.responses("").await.len(), 1);
    scene.say("more").await;
    let scene = scene.killed_and_started().await;
    let data = ok(scene.get(&format!("action=conversation&session_id={SESSION}"))).await;
    assert_eq!(data["messages"].as_array().unwrap().len(), 2, "what came after it is there");
}

#[tokio::test]
async fn without_the_pipeline_nothing_is_promised() {
    let scene = Scene::start().await;
    scene.pipeline.be_unavailable(1);
    let body = json!({"session_id": SESSION, "message": "hello", "client_message_id": "c1"});
    refused(scene.post("messages", &body), 503).await;
    ok(scene.post("messages", &body)).await;
    assert_eq!(scene.pipeline.seen().texts(), ["hello"]);
}

/// A folder that takes no new file is a disk that is full, as far as one can be had.
#[tokio::test]
async fn an_answer_that_cannot_be_kept_comes_again() {
    let scene = Scene::start().await;
    scene.say("hello").await;
    let incoming = scene.pipeline.seen().accepted[0].incoming.clone();
    let no_session = response_to(&broca_core::Incoming { attributes: json!({}), ..incoming }, "x");
    let dead = scene.plugin.deliver(&no_session, &nobody("u"), MessageId::new(), &Parts::in_memory(&no_session)).await;
    assert!(matches!(dead, Err(DeliveryError::Dead(_))), "{dead:?}");
    let nowhere = tempfile::tempdir().unwrap();
    std::fs::write(nowhere.path().join("file"), "").unwrap();
    let path = nowhere.path().join("file/chats.jsonl");
    let broken = plugin(&nowhere, &json!({"file": path}));
    let response = response_to(&scene.pipeline.seen().accepted[0].incoming, "x");
    let refused = broken.deliver(&response, &nobody("u"), MessageId::new(), &Parts::in_memory(&response)).await;
    assert!(matches!(refused, Err(DeliveryError::Retry { .. })), "{refused:?}");
    assert_eq!(broken.settle(&response, &nobody("u"), MessageId::new()).await, Settlement::CannotTell);
}

#[tokio::test]
async fn one_file_has_one_process() {
    let scene = Scene::start().await;
    let second = Arc::new(plugin(&scene.folder, &json!({})));
    let pipeline = MemoryPipeline::new();
    let hosted = Hosted::start(second, &pipeline);
    pipeline.until(|seen| seen.states.iter().any(|state| matches!(state, PluginState::WaitingForAccount { .. }))).await;
    let Scene { plugin, hosted: first, .. } = scene;
    first.kill().await;
    drop(plugin);
    pipeline.until(|seen| seen.states.contains(&PluginState::Connected)).await;
    hosted.stop().await.unwrap();
}
