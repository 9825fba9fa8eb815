//! Requests that nobody means well with.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use crate::scene::{API_KEY, SESSION, Scene, ok, refused};

#[tokio::test]
async fn requests_that_are_wrong_are_told_so() {
    let scene = Scene::with(json!({"max_message_chars": 100})).await;
    assert_eq!(refused(scene.get("action=nonsense"), 400).await, "Invalid action");
    assert_eq!(refused(scene.get(""), 400).await, "Invalid action");
    assert_eq!(refused(scene.get("action=messages"), 405).await, "Method not allowed");
    refused(scene.get("action=responses"), 400).await;
    for body in [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({"session_id": SESSION}),
        json!({"session_id": 7, "message": "x"}),
        json!({"session_id": "../../etc", "message": "x"}),
        json!({"session_id": "session_\u{0}_null", "message": "x"}),
        json!({"session_id": "s".repeat(65), "message": "x"}),
        json!({"session_id": SESSION, "message": ""}),
        json!({"session_id": SESSION, "message": " \u{0} "}),
        json!({"session_id": SESSION, "message": "x".repeat(101)}),
        json!({"session_id": SESSION, "message": "x", "client_message_id": "a b"}),
        json!({"session_id": SESSION, "message": "x", "visitor": "short"}),
    ] {
        refused(scene.post("messages", &body), 400).await;
    }
    for query in ["limit=-1", "limit=x", "offset=1e9", "since=yesterday"] {
        refused(scene.get(&format!("action=inbox&{query}")).bearer_auth(API_KEY), 400).await;
    }
    ok(scene.get("action=inbox&limit=99999999&offset=18446744073709551615").bearer_auth(API_KEY)).await;
    let long = scene.http.post(scene.url("action=messages")).body("x".repeat(1 << 20)).send().await.unwrap();
    assert_eq!(long.status(), 413);
    assert_eq!(scene.pipeline.seen().accepted.len(), 0);
    // Four bytes each, and as many as there may be.
    ok(scene.post("messages", &json!({"session_id": SESSION, "message": "😀".repeat(100)}))).await;
}

#[tokio::test]
async fn what_is_said_is_text() {
    let scene = Scene::start().await;
    let nasty = "<script>alert(1)</script> ' \" \\ \u{202e} \r\n data: x\n\nevent: y";
    scene.say(nasty).await;
    let text = scene.pipeline.seen().accepted[0].incoming.text.clone();
    scene.answer(&text, nasty).await.unwrap();
    assert_eq!(scene.responses("").await[0]["response"], nasty);
    let reply = scene.get(&format!("action=responses&session_id={SESSION}")).send().await.unwrap();
    assert_eq!(reply.headers()["content-type"], "application/json");
    assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
    assert!(reply.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
}

#[tokio::test]
async fn the_page_takes_nothing_from_elsewhere() {
    let scene = Scene::with(json!({"title": "<b>\"Shop\"", "greeting": "{title}"})).await;
    let root = format!("http://{}/", scene.plugin.address().unwrap());
    let page = scene.http.get(&root).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(page.contains("&lt;b&gt;&quot;Shop&quot;") && !page.contains("<b>"), "{page}");
    assert!(page.contains("data-greeting=\"&#123;title}\""), "{page}");
    let script = scene.http.get(format!("{root}chat.js")).send().await.unwrap().text().await.unwrap();
    assert!(!script.contains("innerHTML") && !script.contains("eval("));
    assert_eq!(scene.http.get(format!("{root}../../etc/passwd")).send().await.unwrap().status(), 404);
}

/// Whatever comes, there is an envelope and never a 5xx.
#[tokio::test(flavor = "multi_thread")]
async fn fuzzed_requests_are_answered() {
    let scene = Scene::start().await;
    let action = prop_oneof![
        Just("messages"),
        Just("responses"),
        Just("conversation"),
        Just("inbox"),
        Just("outbox"),
        Just("sessions"),
        Just("session_messages"),
        Just("config"),
        Just("cleanup"),
        Just("nonsense"),
    ];
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        any::<String>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([[{}]])),
        Just(json!(SESSION))
    ];
    let body = proptest::collection::btree_map(
        prop_oneof![
            Just("session_id".to_owned()),
            Just("message".to_owned()),
            Just("response".to_owned()),
            Just("message_id".to_owned()),
            any::<String>()
        ],
        leaf,
        0..5,
    );
    let query = proptest::collection::vec(
        (
            prop_oneof![
                Just("session_id"),
                Just("limit"),
                Just("offset"),
                Just("since"),
                Just("after"),
                Just("active")
            ],
            any::<String>(),
        ),
        0..4,
    );
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let handle = tokio::runtime::Handle::current();
    let run = runner.run(&(action, query, body, any::<bool>(), any::<bool>()), |(action, query, body, post, key)| {
        let mut url = reqwest::Url::parse(&scene.url(&format!("action={action}"))).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let request = if post { scene.http.post(url).json(&body) } else { scene.http.get(url) };
        let request = if key { request.bearer_auth(API_KEY) } else { request };
        let (status, reply) = tokio::task::block_in_place(|| {
            handle.block_on(async {
                let response = request.send().await.unwrap();
                (response.status().as_u16(), response.json::<Value>().await)
            })
        });
        prop_assert!(status < 500, "{status} {reply:?}");
        prop_assert!(reply.is_ok_and(|reply| reply["success"].is_boolean()), "{status} has no envelope");
        Ok(())
    });
    run.unwrap();
    scene.say("it still works").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_taken_or_refused_and_nothing_breaks() {
    let scene = std::sync::Arc::new(Scene::with(json!({"max_requests": 8, "max_sessions": 50})).await);
    let many = (0..400).map(|number| {
        let scene = scene.clone();
        tokio::spawn(async move {
            let session = format!("session_flood_{}", number % 120);
            let body = json!({"session_id": session, "message": format!("m{number}")});
            scene.post("messages", &body).send().await.unwrap().status().as_u16()
        })
    });
    let mut taken = 0;
    for status in futures::future::join_all(many).await {
        match status.unwrap() {
            200 => taken += 1,
            503 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(scene.pipeline.seen().accepted.len(), taken, "who was told so is accepted, and nobody else");
    scene.say("afterwards").await;
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let scene = Scene::with(json!({"max_mib": 1, "max_message_chars": 60000})).await;
    let long = "x".repeat(60_000);
    for number in 0..40 {
        let body = json!({"session_id": format!("session_long_{number}"), "message": long});
        ok(scene.post("messages", &body)).await;
    }
    assert_eq!(scene.pipeline.seen().accepted.len(), 40, "all of it is the pipeline's");
    let file = scene.folder.path().join("chats.jsonl");
    let scene = scene.killed_and_started().await;
    assert!(std::fs::metadata(file).unwrap().len() < (1 << 20) + 200_000);
    let last = ok(scene.get("action=conversation&session_id=session_long_39")).await;
    assert_eq!(last["messages"].as_array().unwrap().len(), 1, "the oldest went");
}
