//! What admins ask.

use serde_json::{Value, json};

use crate::scene::{ADMIN_KEY, API_KEY, SESSION, Scene, ok, refused};

fn sessions(scene: &Scene, more: &str) -> reqwest::RequestBuilder {
    scene.get(&format!("action=sessions{more}")).bearer_auth(ADMIN_KEY)
}

#[tokio::test]
async fn sessions_are_listed_page_by_page_and_shown() {
    let scene = Scene::start().await;
    for number in 0..5 {
        let body = json!({"session_id": format!("session_number_{number}"), "message": "hi"});
        ok(scene.post("messages", &body)).await;
    }
    scene.say("hello").await;
    scene.answer("hello", "good day").await.unwrap();
    let page = ok(sessions(&scene, "&limit=4")).await;
    assert_eq!(page["pagination"], json!({"total": 6, "limit": 4, "offset": 0, "has_more": true}));
    let row = &page["sessions"][0];
    assert_eq!((&row["id"], &row["message_count"], &row["response_count"]), (&json!(SESSION), &json!(1), &json!(1)));
    assert_eq!((&row["ip_address"], &row["metadata"]), (&json!("127.0.0.1"), &json!([])));
    assert_eq!(row["created_at"].as_str().unwrap().len(), "2025-08-04 03:08:53".len());
    let rest = ok(sessions(&scene, "&limit=4&offset=4")).await;
    assert_eq!((rest["sessions"].as_array().unwrap().len(), &rest["pagination"]["has_more"]), (2, &json!(false)));

    let shown = ok(scene.get(&format!("action=session_messages&session_id={SESSION}")).bearer_auth(ADMIN_KEY)).await;
    assert_eq!((&shown["session"]["id"], &shown["messages"][0]["message"]), (&json!(SESSION), &json!("hello")));
    assert_eq!(shown["responses"][0]["response"], "good day");
    let nobody = scene.get("action=session_messages&session_id=session_nobody_x").bearer_auth(ADMIN_KEY);
    assert_eq!(refused(nobody, 404).await, "Session not found");
}

#[tokio::test]
async fn keys_change_at_run_time_and_are_shown_to_nobody() {
    let scene = Scene::start().await;
    let config = |scene: &Scene, key: &str| scene.get("action=config").bearer_auth(key);
    let shown = ok(config(&scene, ADMIN_KEY)).await;
    assert_eq!(shown, json!({"api_key": "********", "admin_key": "********", "session_timeout": 1800}));
    let new = json!({"api_key": "api_new_key_123456", "admin_key": "new_admin_password", "session_timeout": 600});
    let changed = ok(scene.post("config", &new).bearer_auth(ADMIN_KEY)).await;
    assert_eq!(changed["session_timeout"], 600);
    let scene = scene.killed_and_started().await;
    refused(config(&scene, ADMIN_KEY), 401).await;
    refused(scene.get("action=inbox").bearer_auth(API_KEY), 401).await;
    assert_eq!(ok(config(&scene, "new_admin_password")).await["session_timeout"], 600);
    ok(scene.get("action=inbox").bearer_auth("api_new_key_123456")).await;
    // What was read may be written back.
    ok(scene.post("config", &ok(config(&scene, "new_admin_password")).await).bearer_auth("new_admin_password")).await;
    ok(config(&scene, "new_admin_password")).await;
    let file = std::fs::read_to_string(scene.folder.path().join("chats.jsonl")).unwrap();
    assert!(!file.contains("api_new_key_123456") && !file.contains("new_admin_password"));
    for bad in [
        json!({"api_key": "short"}),
        json!({"session_timeout": 1}),
        json!({"api_key": "the same for both", "admin_key": "the same for both"}),
    ] {
        refused(scene.post("config", &bad).bearer_auth("new_admin_password"), 400).await;
    }
}

#[tokio::test]
async fn a_clean_up_leaves_what_waits() {
    let scene = Scene::start().await;
    scene.say("hello").await;
    ok(scene.post("config", &json!({"session_timeout": 60})).bearer_auth(ADMIN_KEY)).await;
    let cleaned = ok(scene.post("cleanup", &json!({})).bearer_auth(ADMIN_KEY)).await;
    assert_eq!(cleaned, json!({"cleaned_count": 0}), "it is active");
    let cleared = ok(scene.post("clear_data", &json!({})).bearer_auth(ADMIN_KEY)).await;
    assert_eq!(cleared, json!({"cleared_sessions": 1, "cleared_messages": 1, "cleared_responses": 0}));
    assert_eq!(ok(sessions(&scene, "&active=false")).await["sessions"], Value::Array(vec![]));
    // The message is Broca's: its answer finds its page all the same.
    scene.answer("hello", "late").await.unwrap();
    assert_eq!(scene.responses("").await[0]["response"], "late");
    assert_eq!(scene.responses("").await[0]["id"], 2, "an id is given once");
}
