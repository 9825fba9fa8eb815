//! What waits is listed, counted, and ended on an operator's word, with a reason and a way back.

use std::time::Duration;

use broca_tests::{Crew, Database, Rig, RigOptions, all_over, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn asked(rig: &Rig, args: &[&str]) -> (Option<i32>, Value) {
    let output = rig.run(&[args, &["--json"]].concat());
    let told = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("broca {args:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), told)
}

fn ids(list: &Value) -> Vec<String> {
    let id = |item: &Value| item["id"].as_str().or(item["message_id"].as_str()).expect("an id").to_owned();
    list["items"].as_array().expect("a list").iter().map(id).collect()
}

async fn the_queue_is_flushed_and_comes_back(database: Database) {
    let rig = Rig::start(RigOptions::new(database)).await;
    let mut plugin = Crew::plugin(&rig, &[]);
    for person in ["ann", "ben", "cem"] {
        rig.platform.say(person, &format!("hello from {person}"));
    }
    // No worker runs, so all of it waits.
    let store = rig.store().await;
    eventually("all of it is accepted", PATIENCE, || {
        plugin.tend(&rig);
        let store = store.clone();
        async move { store.counts().await.expect("the store answers").messages.get("received") == Some(&3) }
    })
    .await;
    let (code, queue) = asked(&rig, &["queue", "list"]);
    assert_eq!((code, ids(&queue).len(), &queue["items"][0]["stand"]), (Some(0), 3, &json!("received")), "{queue}");
    let page = asked(&rig, &["queue", "list", "--limit", "2"]).1;
    let rest = asked(&rig, &["queue", "list", "--cursor", page["next_cursor"].as_str().expect("a cursor")]).1;
    assert_eq!([ids(&page), ids(&rest)].concat(), ids(&queue));
    let stats = asked(&rig, &["queue", "stats"]).1;
    assert_eq!((&stats["waiting"], &stats["waiting_conversations"]), (&json!({"received": 3}), &json!(3)), "{stats}");

    // Looking does nothing, and neither does what nobody said yes to.
    let (code, foreseen) = asked(&rig, &["queue", "flush", "--all", "--dry-run"]);
    assert_eq!((code, &foreseen["count"]), (Some(0), &json!(3)), "{foreseen}");
    assert_eq!(asked(&rig, &["queue", "flush", "--all"]).0, Some(2));
    assert_eq!(asked(&rig, &["queue", "flush", "--yes"]).0, Some(2), "which?");
    assert_eq!(ids(&asked(&rig, &["queue", "list"]).1).len(), 3);

    let anns = asked(&rig, &["queue", "list", "--user", "ann"]).1;
    let first = ids(&anns)[0].clone();
    let (code, done) = asked(&rig, &["queue", "flush", "--id", &first, "--reason", "she called", "--yes"]);
    assert_eq!((code, &done["flushed"]), (Some(0), &json!(1)), "{done}");
    let (code, again) = asked(&rig, &["queue", "delete", "--id", &first, "--yes"]);
    assert_eq!((code, &again["flushed"]), (Some(4), &json!(0)), "{again}");
    assert!(again["skipped"][0]["reason"].as_str().is_some_and(|why| why.contains("cancelled")), "{again}");
    let (code, done) = asked(&rig, &["--actor", "ops", "queue", "flush", "--all", "--reason", "a drill", "-y"]);
    assert_eq!((code, &done["flushed"], &done["more"]), (Some(0), &json!(2), &json!(false)), "{done}");

    // The rows are there, with who and why; and so is what was done.
    let ended = asked(&rig, &["messages", "list", "--state", "cancelled"]).1;
    assert_eq!(ids(&ended).len(), 3, "{ended}");
    let reasons: Vec<&str> =
        ended["items"].as_array().expect("a list").iter().filter_map(|item| item["reason"].as_str()).collect();
    assert_eq!(reasons.iter().filter(|why| why.ends_with("flushed by cli:ops: a drill")).count(), 2, "{reasons:?}");
    assert!(reasons.iter().any(|why| why.ends_with("she called")), "{reasons:?}");
    let acts = asked(&rig, &["audit", "list", "--operation", "queue.flush"]).1;
    let outcomes: Vec<&Value> = acts["items"].as_array().expect("a list").iter().map(|act| &act["outcome"]).collect();
    assert_eq!(outcomes, ["done", "done", "done"], "{acts}");

    // Who is kept out, is; nobody is not.
    let ben = asked(&rig, &["users", "update", "demo/ben", "inactive", "--reason", "left us"]).1;
    assert_eq!(ben["is_active"], false, "{ben}");
    let ben = asked(&rig, &["users", "update", "demo/ben", "active", "--display-name", "Ben"]).1;
    assert_eq!((&ben["is_active"], &ben["display_name"]), (&json!(true), &json!("Ben")), "{ben}");
    assert_eq!(asked(&rig, &["users", "update", "demo/nobody", "inactive"]).0, Some(3));

    // A replay brings one back, and it is answered.
    rig.succeeds(&["replay", &first]);
    let mut workers = Crew::workers(&rig, 1, &[]);
    eventually("she is answered", PATIENCE, || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let store = store.clone();
        async move {
            let counts = store.counts().await.expect("the store answers");
            counts.responses.get("delivered") == Some(&1) && all_over(&store).await
        }
    })
    .await;
    let of_ann = asked(&rig, &["conversations", "list", "--user", "demo/ann"]).1;
    let conversation = of_ann["items"][0]["id"].as_str().expect("a conversation").to_owned();
    let shown = asked(&rig, &["conversations", "show", &conversation]).1;
    assert_eq!(shown["items"][0]["answers"][0]["state"], "delivered", "{shown}");
    assert_eq!(shown["conversation"]["waiting"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_flushed_and_comes_back_on_sqlite() {
    the_queue_is_flushed_and_comes_back(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_flushed_and_comes_back_on_postgres() {
    the_queue_is_flushed_and_comes_back(Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_say_whether_they_are_there_and_routes_why_they_were_chosen() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let (code, asked_all) = asked(&rig, &["agents", "health-check"]);
    assert_eq!((code, &asked_all["items"][0]["is_there"]), (Some(0), &json!(true)), "{asked_all}");
    let info = asked(&rig, &["agent", "info"]).1;
    let settings = &info["settings"];
    assert_eq!((&info["routes"], &settings["kind"]), (&json!(["default"]), &json!("letta")), "{info}");
    assert_eq!(asked(&rig, &["agents", "info", "nobody"]).0, Some(3));
    let mut rig = rig;
    rig.letta.die().await;
    let (code, away) = asked(&rig, &["agents", "status"]);
    assert_eq!((code, &away["items"][0]["is_there"]), (Some(6), &json!(false)), "{away}");

    let routes =
        r#"[{"name": "vip", "user": "ann", "agent": "vip"}, {"name": "groups", "group": true, "mode": "listen"}]"#;
    let explain = |args: &[&str]| {
        let output = rig
            .command(&[&["routes", "explain", "--instance", "demo"], args, &["--json"]].concat())
            .env("BROCA_ROUTES", routes)
            .env("BROCA_AGENTS__VIP__KIND", "echo")
            .output()
            .expect("the binary runs");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let ann = explain(&["--user", "ann"]);
    assert_eq!((&ann["route"], &ann["agent"], &ann["passed_over"]), (&json!("vip"), &json!("vip"), &json!([])));
    let group = explain(&["--user", "ben", "--chat", "7", "--group"]);
    assert_eq!(
        (&group["route"], &group["mode"], &group["scope"]),
        (&json!("groups"), &json!("listen"), &json!("chat"))
    );
    assert_eq!(group["passed_over"], json!([{"route": "vip", "because": "user is ben, and not ann"}]));
    let alone = explain(&["--user", "ben"]);
    assert_eq!((&alone["route"], alone["passed_over"].as_array().map(Vec::len)), (&json!("default"), Some(2)));
}
