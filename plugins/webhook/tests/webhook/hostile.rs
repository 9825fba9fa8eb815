//! What nobody should send.

use proptest::prelude::*;
use reqwest::Method;
use serde_json::json;

use crate::scene::{KEY, SECRET, Scene, now, settings};
use broca_plugin_webhook::Signer;

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_the_next_is_heard() {
    let scene = Scene::start(settings()).await;
    let big = json!({"user": "alice", "text": "x".repeat(300 * 1024)});
    assert_eq!(scene.say(KEY, None, &big).await.status(), 413);
    assert_eq!(scene.say(KEY, None, &json!({"user": "alice", "text": "hi", "wait_s": 0})).await.status(), 202);
}

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_told_to_come_back() {
    let mut settings = settings();
    settings["max_requests"] = json!(1);
    let scene = Scene::start(settings).await;
    let waiting = scene.http.post(scene.url("/v1/chat")).bearer_auth(KEY);
    let waiting = waiting.json(&json!({"user": "alice", "text": "hi", "wait_s": 60}));
    let waiting = tokio::spawn(async move { waiting.send().await.unwrap().status() });
    let seen = scene.pipeline.until(|seen| !seen.accepted.is_empty()).await;
    assert_eq!(scene.say(KEY, None, &json!({"user": "bob", "text": "hi"})).await.status(), 503);
    scene.pipeline.answer(&*scene.plugin, seen.accepted[0].id, "HI").await.unwrap();
    assert_eq!(waiting.await.unwrap(), 200);
}

/// Whatever comes, it is answered with a client's error, or taken; the server stays.
#[test]
fn no_request_breaks_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let scene = runtime.block_on(Scene::start(settings()));
    let path = prop_oneof![
        Just("/v1/chat".to_owned()),
        Just("/v1/messages".to_owned()),
        "/v1/messages/[ -~]{0,40}",
        "/v1/history\\?[ -~]{0,40}",
        "/[ -~]{0,40}",
    ];
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        any::<String>().prop_map(|text| json!({"user": text, "text": "hi", "wait_s": 0}).to_string().into_bytes()),
        any::<String>().prop_map(|text| json!({"user": "u", "text": text, "wait_s": 0}).to_string().into_bytes()),
        (any::<String>(), any::<i64>()).prop_map(|(key, number)| {
            json!({"user": "u", "text": "t", "wait_s": 0, "attributes": {key: number}}).to_string().into_bytes()
        }),
    ];
    let header = proptest::option::of("[ -~]{0,60}");
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(path in path, body in body, id in header, get in any::<bool>())| {
        let Ok(url) = reqwest::Url::parse(&scene.url(&path)) else { return Ok(()) };
        let id = id.unwrap_or_else(|| "msg".into());
        let signature = Signer::new(SECRET).unwrap().sign(&id, now(), &body);
        let request = scene.http.request(if get { Method::GET } else { Method::POST }, url).bearer_auth(KEY);
        let request = request.header("webhook-id", &id).header("webhook-timestamp", now());
        let request = request.header("webhook-signature", signature).header("idempotency-key", &id).body(body);
        let status = runtime.block_on(request.send()).unwrap().status();
        prop_assert!(status.is_success() || status.is_client_error(), "{}", status);
    });
    let alive = runtime.block_on(scene.http.get(scene.url("/healthz")).send()).unwrap();
    assert_eq!(alive.status(), 200);
}
