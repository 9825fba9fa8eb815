//! Answers out.

use std::{sync::Arc, time::Duration};

use broca_core::{DeliveryError, MessageId, Receipt, agent::FailureClass, delivery::Settlement};
use broca_plugin::Plugin;
use broca_rehearsal::pipeline::response_to;
use serde_json::{Value, json};

use crate::{
    receiver::{Receiver, Reply},
    scene::{SECRET, Scene, settings},
};

async fn scene(receiver_dedupes: bool) -> (Scene, Arc<Receiver>, MessageId) {
    let (receiver, url) = Receiver::start().await;
    let mut settings = settings();
    settings["outgoing"] = json!({"url": url, "secret": SECRET, "timeout_s": 1, "receiver_dedupes": receiver_dedupes});
    let scene = Scene::start(settings).await;
    let body = json!({"user": "alice", "chat_id": "c1", "text": "hello", "attributes": {"ticket": 7}});
    assert_eq!(scene.webhook("msg_1", &body).await.status(), 202);
    let id = scene.pipeline.seen().accepted[0].id;
    (scene, receiver, id)
}

#[tokio::test]
async fn an_answer_goes_out_signed_with_what_its_message_brought() {
    let (scene, receiver, id) = scene(true).await;
    let receipt = scene.pipeline.answer(&*scene.plugin, id, "HELLO").await.unwrap();
    let received = receiver.received.lock().unwrap().clone();
    let (webhook_id, body): &(String, Value) = &received[0];
    assert_eq!(receipt, Receipt::of(webhook_id.clone()));
    assert_eq!(body["type"], "message.answered");
    assert_eq!(
        body["data"],
        json!({
            "response_id": webhook_id, "kind": "answer", "message_id": id, "user": "alice", "chat_id": "c1",
            "text": "HELLO", "attributes": {"ticket": 7},
        })
    );
}

#[tokio::test]
async fn an_answer_to_a_chat_request_stays_here() {
    let (scene, receiver, _) = scene(true).await;
    scene.say(crate::scene::KEY, None, &json!({"user": "bob", "text": "hi", "wait_s": 0})).await;
    let id = scene.pipeline.seen().accepted[1].id;
    scene.pipeline.answer(&*scene.plugin, id, "HI").await.unwrap();
    assert!(receiver.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_reply_is_retry_or_dead() {
    let (scene, receiver, id) = scene(true).await;
    for (status, after, expected) in [
        (429, Some("7"), "retry rate_limited 7"),
        (429, Some("Fri, 01 Jan 2100 00:00:00 GMT"), "retry rate_limited later"),
        (500, None, "retry unavailable"),
        (503, Some("3"), "retry unavailable 3"),
        (408, None, "retry unavailable"),
        (410, None, "dead blocked"),
        (404, None, "dead not_found"),
        (401, None, "dead unauthorised"),
        (307, None, "dead misconfigured"),
        (400, None, "dead rejected"),
    ] {
        receiver.replies.lock().unwrap().push(Reply::Status(status, after));
        let error = scene.pipeline.answer(&*scene.plugin, id, "HELLO").await.unwrap_err();
        assert_eq!(said(&error), expected, "{status}");
    }
    receiver.replies.lock().unwrap().extend([Reply::Stall, Reply::Cut]);
    let cut = scene.pipeline.answer(&*scene.plugin, id, "HELLO").await.unwrap_err();
    assert_eq!(said(&cut), "retry unavailable");
    let stalled = scene.pipeline.answer(&*scene.plugin, id, "HELLO").await.unwrap_err();
    assert_eq!(said(&stalled), "retry timeout");
}

/// Class and pause, a long one as `later`.
fn said(error: &DeliveryError) -> String {
    match error {
        DeliveryError::Retry { after: None, failure } => format!("retry {}", failure.class),
        DeliveryError::Retry { after: Some(after), failure } if *after > Duration::from_secs(86_400) => {
            format!("retry {} later", failure.class)
        }
        DeliveryError::Retry { after: Some(after), failure } => format!("retry {} {}", failure.class, after.as_secs()),
        DeliveryError::Dead(failure) => format!("dead {}", failure.class),
        DeliveryError::Unknown(failure) => format!("unknown {}", failure.class),
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_dedupe_is_never_told_twice() {
    let (scene, receiver, id) = scene(false).await;
    receiver.replies.lock().unwrap().push(Reply::Cut);
    let error = scene.pipeline.answer(&*scene.plugin, id, "HELLO").await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Unknown(f) if f.class == FailureClass::Unavailable), "{error}");
    let message = &scene.pipeline.seen().accepted[0];
    let response = response_to(&message.incoming, "HELLO");
    let profile = broca_core::Profile {
        id: broca_core::ProfileId::new(),
        user_id: broca_core::UserId::new(),
        platform: "webhook".into(),
        platform_user_id: "alice".into(),
        username: None,
        display_name: None,
        metadata: Value::Null,
    };
    assert_eq!(scene.plugin.settle(&response, &profile, id).await, Settlement::CannotTell);
}

#[tokio::test]
async fn a_receiver_that_is_away_is_tried_again() {
    let (scene, _, id) = scene(false).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/hook", listener.local_addr().unwrap());
    drop(listener);
    let mut settings = settings();
    settings["outgoing"] = json!({"url": nobody, "secret": SECRET, "receiver_dedupes": false});
    let plugin = crate::scene::plugin(settings).unwrap();
    let error = scene.pipeline.answer(&plugin, id, "HELLO").await.unwrap_err();
    assert_eq!(said(&error), "retry unavailable");
}
