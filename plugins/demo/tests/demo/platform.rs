//! The platform itself, as a process of its own serves it.

use broca_core::ResponseId;
use broca_rehearsal::platform::{PlatformScript, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::plugin;

#[tokio::test]
async fn everything_can_be_done_over_http() {
    // Installs the provider that the HTTP client needs.
    drop(plugin("http://127.0.0.1:9".into()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let first_update = Some(7);
    let serving = tokio::spawn(serve(listener, PlatformScript { first_update, ..PlatformScript::default() }));
    let http = reqwest::Client::new();
    let post = async |path: &str, body: Value| http.post(format!("{url}{path}")).json(&body).send().await.unwrap();
    let get = async |path: &str| http.get(format!("{url}{path}")).send().await.unwrap();

    let said: Value = post("/say", json!({"user": "alice", "text": "hi"})).await.json().await.unwrap();
    assert_eq!(said, json!({"update_id": 7}));
    let update = json!({"update_id": 7, "user": "alice", "chat_id": null, "text": "hi"});
    for _ in 0..2 {
        let seen: Value = get("/updates?offset=7").await.json().await.unwrap();
        assert_eq!(seen, json!({"updates": [update]}), "asking does not confirm");
    }
    let seen: Value = get("/updates?offset=8&limit=5&wait_ms=1").await.json().await.unwrap();
    assert_eq!(seen, json!({"updates": []}));

    let script = json!({"blocked": ["bob"], "send_faults": [{"fault": "rate_limited", "retry_after_s": 3}]});
    assert_eq!(post("/script", script).await.status(), 204);
    let response_id = ResponseId::new();
    let send = |user: &str| json!({"response_id": response_id, "user": user, "text": "hello"});
    assert_eq!(post("/send", send("bob")).await.status(), 403);
    let limited = post("/send", send("alice")).await;
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].to_str().unwrap()), (429, "3"));
    assert_eq!(get(&format!("/sent/{response_id}")).await.status(), 404);
    let sent: Value = post("/send", send("alice")).await.json().await.unwrap();
    assert_eq!(sent, json!({"message_id": "m1"}));
    let found: Value = get(&format!("/sent/{response_id}")).await.json().await.unwrap();
    assert_eq!(found, json!({"parts": [{"message_id": "m1", "bytes": 5, "last": true}]}));
    let log: Value = get("/log").await.json().await.unwrap();
    assert_eq!((log["items"].as_array().unwrap().len(), &log["items"][0]["text"]), (1, &json!("hello")));
    serving.abort();
}
