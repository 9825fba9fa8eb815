//! Who is let in, from where, and how often.

use reqwest::Method;
use serde_json::json;

use crate::scene::{ADMIN_KEY, API_KEY, SESSION, Scene, ok, refused};

#[tokio::test]
async fn what_needs_a_key_is_closed_without_it() {
    let scene = Scene::start().await;
    for (method, action, key) in [
        (Method::GET, "inbox", API_KEY),
        (Method::POST, "outbox", API_KEY),
        (Method::GET, "sessions", ADMIN_KEY),
        (Method::GET, "session_messages", ADMIN_KEY),
        (Method::GET, "config", ADMIN_KEY),
        (Method::POST, "config", ADMIN_KEY),
        (Method::POST, "cleanup", ADMIN_KEY),
        (Method::POST, "clear_data", ADMIN_KEY),
    ] {
        let request = || scene.http.request(method.clone(), scene.url(&format!("action={action}")));
        let other = if key == API_KEY { ADMIN_KEY } else { API_KEY };
        assert_eq!(refused(request(), 401).await, "Authentication required", "{action}");
        for wrong in [other, "", &key[1..], &format!("{key}x")] {
            refused(request().bearer_auth(wrong), 401).await;
        }
        let own_key = request().bearer_auth(key).send().await.unwrap();
        assert_ne!(own_key.status(), 401, "{action}");
    }
    let closed = Scene::with(json!({"api_key": null, "admin_key": null})).await;
    refused(closed.get("action=inbox").bearer_auth(""), 401).await;
    refused(closed.get("action=sessions").bearer_auth(ADMIN_KEY), 401).await;
}

#[tokio::test]
async fn a_site_chats_here_if_it_may() {
    let scene = Scene::with(json!({"allowed_origins": ["https://shop.example"]})).await;
    let say = |origin: &str| {
        scene.post("messages", &json!({"session_id": SESSION, "message": "hi"})).header("origin", origin)
    };
    let allowed = say("https://shop.example").send().await.unwrap();
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://shop.example");
    assert_eq!(allowed.status(), 200);
    for other in ["https://evil.example", "https://shop.example.evil.example", "http://shop.example", "null"] {
        let response = say(other).send().await.unwrap();
        assert_eq!(response.status(), 403, "{other}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{other}");
    }
    assert_eq!(say(&format!("http://{}", scene.plugin.address().unwrap())).send().await.unwrap().status(), 200);
    let preflight =
        scene.http.request(Method::OPTIONS, scene.url("action=messages")).header("origin", "https://shop.example");
    let preflight = preflight.send().await.unwrap();
    assert_eq!(
        (preflight.status().as_u16(), &preflight.headers()["access-control-allow-origin"]),
        (204, &"https://shop.example".parse().unwrap())
    );
    // Another site's page has no business with keys, whoever gave it one.
    let admin = scene.get("action=sessions").bearer_auth(ADMIN_KEY).header("origin", "https://shop.example");
    refused(admin, 403).await;
    assert_eq!(scene.pipeline.seen().accepted.len(), 2);
}

#[tokio::test]
async fn too_much_is_too_much() {
    let limits = json!({"per_minute": {"public": 10, "session": 3, "admin": 2, "plugin": 4}});
    let scene = Scene::with(limits).await;
    for _ in 0..3 {
        scene.say("hi").await;
    }
    let fourth = scene.post("messages", &json!({"session_id": SESSION, "message": "hi"})).send().await.unwrap();
    assert_eq!(fourth.status(), 429);
    let wait: u64 = fourth.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    let body: serde_json::Value = fourth.json().await.unwrap();
    assert_eq!(
        (&body["error"], &body["retry_after"]),
        (&json!("Rate limit exceeded. Please try again later."), &json!(wait))
    );
    assert_eq!(scene.pipeline.seen().accepted.len(), 3);
    // The address has six left, whatever it asks for.
    for _ in 0..6 {
        refused(scene.get("action=nonsense"), 400).await;
    }
    refused(scene.get(&format!("action=responses&session_id={SESSION}")), 429).await;
    // Guesses at a key are counted, too.
    for _ in 0..2 {
        refused(scene.get("action=sessions").bearer_auth("a guess"), 401).await;
    }
    refused(scene.get("action=sessions").bearer_auth(ADMIN_KEY), 429).await;
    for _ in 0..4 {
        ok(scene.get("action=inbox").bearer_auth(API_KEY)).await;
    }
    refused(scene.get("action=inbox").bearer_auth(API_KEY), 429).await;
}

#[tokio::test]
async fn a_proxy_is_believed_if_it_is_ours() {
    let limits = json!({"public": 1, "session": 100, "admin": 100, "plugin": 100});
    let ask = |scene: &Scene, hops: &str| {
        scene.get(&format!("action=responses&session_id={SESSION}")).header("x-forwarded-for", hops)
    };
    let behind = Scene::with(json!({"trusted_proxies": ["127.0.0.1", "192.0.2.9"], "per_minute": limits})).await;
    ok(ask(&behind, "192.0.2.1")).await;
    ok(ask(&behind, "192.0.2.1, 192.0.2.2")).await;
    refused(ask(&behind, "203.0.113.7, 192.0.2.2, 192.0.2.9"), 429).await;
    let direct = Scene::with(json!({"per_minute": limits})).await;
    ok(ask(&direct, "192.0.2.1")).await;
    refused(ask(&direct, "192.0.2.2"), 429).await;
}
