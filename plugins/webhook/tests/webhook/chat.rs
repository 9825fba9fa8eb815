//! Requests with a bearer key.

use broca_core::MessageState;
use serde_json::json;

use crate::scene::{KEY, Scene, settings, told};

const SHOP: &str = "another-key-of-the-shop";

#[tokio::test]
async fn the_answer_is_in_the_reply() {
    let scene = Scene::start(settings()).await;
    let body = json!({"user": "alice", "text": "hello", "wait_s": 60});
    let asking = tokio::spawn({
        let request = scene.http.post(scene.url("/v1/chat")).bearer_auth(KEY).json(&body);
        async move { told(request.send().await.unwrap()).await }
    });
    let seen = scene.pipeline.until(|seen| !seen.accepted.is_empty()).await;
    let id = seen.accepted[0].id;
    scene.pipeline.answer(&*scene.plugin, id, "HELLO").await.unwrap();
    let (status, reply) = asking.await.unwrap();
    assert_eq!((status, reply["answer"].as_str()), (200, Some("HELLO")));
    assert_eq!(reply["message_id"], json!(id));
    assert_eq!(seen.accepted[0].incoming.sender.platform_user_id, "desk/alice");
    scene.hosted.stop().await.unwrap();
}

#[tokio::test]
async fn who_cannot_wait_fetches_it_later() {
    let scene = Scene::start(settings()).await;
    let reply = scene.say(KEY, Some("k1"), &json!({"user": "alice", "text": "hello", "wait_s": 0})).await;
    assert_eq!(reply.status(), 202);
    let place = reply.headers()["location"].to_str().unwrap().to_owned();
    let id = scene.pipeline.seen().accepted[0].id;
    assert_eq!(place, format!("/v1/messages/{id}"));
    assert_eq!(scene.get(KEY, &place).await.status(), 202);
    scene.pipeline.answer(&*scene.plugin, id, "HELLO").await.unwrap();
    let (status, reply) = told(scene.get(KEY, &place).await).await;
    assert_eq!((status, reply["answer"].as_str()), (200, Some("HELLO")));
    // The same request again, as after a lost reply.
    let again = scene.say(KEY, Some("k1"), &json!({"user": "alice", "text": "hello", "wait_s": 0})).await;
    let (status, reply) = told(again).await;
    assert_eq!((status, reply["answer"].as_str()), (200, Some("HELLO")));
    assert_eq!(scene.pipeline.seen().accepted.len(), 1);
}

#[tokio::test]
async fn an_end_without_an_answer_ends_the_waiting_too() {
    let scene = Scene::start(settings()).await;
    let body = json!({"user": "alice", "text": "hello", "wait_s": 60});
    let asking = tokio::spawn({
        let request = scene.http.post(scene.url("/v1/chat")).bearer_auth(KEY).json(&body);
        async move { told(request.send().await.unwrap()).await }
    });
    let seen = scene.pipeline.until(|seen| !seen.accepted.is_empty()).await;
    scene.pipeline.end(seen.accepted[0].id, MessageState::Failed, Some("the agent is gone"));
    let (status, reply) = asking.await.unwrap();
    assert_eq!(
        (status, reply["state"].as_str(), reply["reason"].as_str()),
        (200, Some("failed"), Some("the agent is gone"))
    );
}

#[tokio::test]
async fn a_stop_ends_the_waiting_in_good_order() {
    let scene = Scene::start(settings()).await;
    let body = json!({"user": "alice", "text": "hello", "wait_s": 60});
    let asking = tokio::spawn({
        let request = scene.http.post(scene.url("/v1/chat")).bearer_auth(KEY).json(&body);
        async move { told(request.send().await.unwrap()).await }
    });
    scene.pipeline.until(|seen| !seen.accepted.is_empty()).await;
    scene.hosted.stop().await.unwrap();
    assert_eq!(asking.await.unwrap().0, 202);
}

#[tokio::test]
async fn keys_keep_callers_apart() {
    let scene = Scene::start(settings()).await;
    let body = json!({"user": "alice", "text": "hello", "wait_s": 0});
    assert_eq!(scene.say(KEY, Some("k1"), &body).await.status(), 202);
    assert_eq!(scene.say(SHOP, Some("k1"), &body).await.status(), 202);
    assert_eq!(scene.pipeline.seen().accepted.len(), 2, "the same idempotency key of another caller is another's");
    let (_, history) = told(scene.get(KEY, "/v1/history?user=alice").await).await;
    assert_eq!(history["items"].as_array().unwrap().len(), 1);
    for wrong in ["", "a-key-of-the-front-des", "another-key"] {
        let (status, error) = told(scene.say(wrong, None, &body).await).await;
        assert_eq!((status, error["error"]["code"].as_str()), (401, Some("unauthorised")), "{wrong}");
        assert_eq!(scene.get(wrong, "/v1/history?user=alice").await.status(), 401);
    }
}

#[tokio::test]
async fn a_message_that_is_not_there_is_404() {
    let scene = Scene::start(settings()).await;
    for id in ["nonsense".to_owned(), broca_core::MessageId::new().to_string()] {
        assert_eq!(scene.get(KEY, &format!("/v1/messages/{id}")).await.status(), 404);
    }
}

#[tokio::test]
async fn a_picture_comes_with_its_bytes_and_a_broken_one_without() {
    let scene = Scene::start(settings()).await;
    let attachments = json!([
        {"kind": "image", "width": 2, "height": 1, "content": "iVBORw0KGgpieXRlcw=="},
        {"kind": "image", "name": "b.png", "content": "no base64!"},
        {"kind": "voice", "duration_s": 5, "mime": "audio/ogg"},
    ]);
    let body = json!({"user": "alice", "text": "", "attachments": attachments, "wait_s": 0});
    assert_eq!(scene.say(KEY, None, &body).await.status(), 202);
    let seen = scene.pipeline.seen();
    let told = [
        "[Webhook image: 2x1px]",
        "[Webhook image document: name=b.png; not passed on: it came without its content]",
        "[Webhook voice message: duration=5s mime=audio/ogg]",
    ];
    assert_eq!(seen.texts(), [told.join("\n")]);
    let content = seen.accepted[0].incoming.attachments[0].content.as_deref();
    assert_eq!(content, Some(&b"\x89PNG\r\n\x1a\nbytes"[..]));
    let empty = scene.say(KEY, None, &json!({"user": "alice", "text": "", "attachments": []})).await;
    assert_eq!(empty.status(), 422);
    scene.hosted.stop().await.unwrap();
}
