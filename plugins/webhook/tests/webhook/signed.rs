//! Signed webhooks in.

use serde_json::json;

use crate::scene::{SECRET, Scene, now, plugin, settings, told};

#[tokio::test]
async fn a_signed_webhook_is_accepted_once_however_often_it_comes() {
    let scene = Scene::start(settings()).await;
    let body = json!({"user": "alice", "text": "hello", "attributes": {"ticket": 7}});
    let (status, first) = told(scene.webhook("msg_1", &body).await).await;
    assert_eq!((status, &first["duplicate"]), (202, &json!(false)));
    let (status, again) = told(scene.webhook("msg_1", &body).await).await;
    assert_eq!((status, &again["duplicate"]), (202, &json!(true)));
    assert_eq!(first["message_id"], again["message_id"]);
    let seen = scene.pipeline.seen();
    assert_eq!((seen.texts(), seen.duplicates), (vec!["hello"], 1));
    assert_eq!(seen.accepted[0].incoming.sender.platform_user_id, "alice");
    scene.hosted.stop().await.unwrap();
}

#[tokio::test]
async fn whoever_does_not_sign_is_told_so_and_nothing_is_stored() {
    let scene = Scene::start(settings()).await;
    let body = json!({"user": "alice", "text": "hello"});
    let bare = scene.http.post(scene.url("/v1/messages")).json(&body).send().await.unwrap();
    let (status, error) = told(bare).await;
    assert_eq!((status, error["error"]["code"].as_str()), (401, Some("unsigned")));
    let (status, error) = told(scene.webhook_at("msg_2", now() - 301, &body).await).await;
    assert_eq!(status, 401);
    assert!(error["error"]["message"].as_str().unwrap().contains("clock"), "{error}");
    assert!(scene.pipeline.seen().accepted.is_empty());
}

#[tokio::test]
async fn an_outage_is_503_with_a_pause_and_a_refusal_is_final() {
    let scene = Scene::start(settings()).await;
    let body = json!({"user": "alice", "text": "hello"});
    scene.pipeline.be_unavailable(1);
    let away = scene.webhook("msg_1", &body).await;
    assert_eq!((away.status().as_u16(), away.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(scene.webhook("msg_1", &body).await.status(), 202);
    let (status, error) = told(scene.webhook("msg_2", &json!({"user": "alice", "text": " "})).await).await;
    assert_eq!((status, error["error"]["code"].as_str()), (422, Some("refused")));
    let (status, error) = told(scene.webhook("msg_3", &json!({"user": "alice", "txt": "hi"})).await).await;
    assert_eq!(status, 400);
    assert!(error["error"]["message"].as_str().unwrap().contains("txt"), "{error}");
}

#[tokio::test]
async fn settings_that_let_nobody_in_or_anybody_are_refused() {
    let error = plugin(json!({"listen": "127.0.0.1:0"})).unwrap_err();
    assert!(error.contains("nobody could write"), "{error}");
    let weak = json!({"listen": "127.0.0.1:0", "incoming": {"secrets": ["c2hvcnQ="]}});
    assert!(plugin(weak).unwrap_err().contains("incoming.secrets is shorter than 24 bytes"));
    let short = json!({"listen": "127.0.0.1:0", "chat": {"keys": {"desk": {"key": "short"}}}});
    assert!(plugin(short).unwrap_err().contains("chat.keys.desk.key is shorter"));
    let ftp = json!({"listen": "127.0.0.1:0", "incoming": {"secrets": [SECRET]},
                     "outgoing": {"url": "ftp://x", "secret": SECRET}});
    assert!(plugin(ftp).unwrap_err().contains("outgoing.url"));
}
