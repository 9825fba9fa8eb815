//! One database, three ways, one answer.

use broca_tests::Database;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::prepared::{Prepared, SECRET, json};

/// What differs by when it is asked.
const OF_THE_MOMENT: &[&str] =
    &["now", "age_s", "youngest_s", "oldest_s", "last_used_at", "alive", "since", "whole_since", "accounts"];

fn lasting(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, _| !OF_THE_MOMENT.contains(&key.as_str()));
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

/// Every operation that reads, with its command and its request.
fn questions(prepared: &Prepared) -> Vec<(&'static str, Vec<&str>, Value)> {
    let (answered, failed) = (prepared.answered.as_str(), prepared.failed[0].as_str());
    let conversation = prepared.conversation.as_str();
    vec![
        ("status.show", vec!["status"], json!({})),
        ("metrics.show", vec!["metrics"], json!({})),
        ("flow.show", vec!["flow", "--window", "1d"], json!({"window": "1d"})),
        ("queue.show", vec!["queues"], json!({})),
        ("worker.list", vec!["workers"], json!({"limit": 50})),
        ("plugin.status", vec!["plugin", "status"], json!({})),
        ("message.list", vec!["message", "list", "--user", "ann"], json!({"filter": {"user": "ann"}, "limit": 50})),
        ("conversation.busy", vec!["conversations", "busy"], json!({"limit": 50})),
        ("conversation.show", vec!["conversation", "show", conversation], json!({"id": conversation})),
        ("check.run", vec!["check", "--overdue", "120s"], json!({"overdue": "120s"})),
        ("message.show", vec!["message", "show", answered], json!({"id": answered})),
        ("message.explain", vec!["explain", failed], json!({"id": failed})),
        (
            "dlq.list",
            vec!["dlq", "list", "--class", "rejected", "--limit", "2"],
            json!({"filter": {"class": "rejected"}, "limit": 2}),
        ),
        ("queue.list", vec!["queue", "list"], json!({"limit": 50})),
        ("queue.stats", vec!["queue", "stats"], json!({})),
        ("conversation.list", vec!["conversations", "list", "--user", "demo/ann"], json!({"who": "demo/ann"})),
        ("route.list", vec!["routes", "list"], json!({})),
        ("route.explain", vec!["routes", "explain", answered], json!({"message": answered})),
        ("agent.list", vec!["agents", "list"], json!({})),
        ("agent.show", vec!["agents", "info"], json!({"name": "default"})),
        ("agent.status", vec!["agents", "status"], json!({})),
        ("dlq.show", vec!["dlq", "show", failed], json!({"id": failed})),
        ("replay.preview", vec!["replay", "--dry-run", "--since", "1h"], json!({"filter": {"since": "1h"}})),
        ("targets.list", vec!["targets", "list"], json!({})),
        ("hold.list", vec!["hold", "list", "--all"], json!({"all": true})),
        ("audit.list", vec!["audit", "list", "--limit", "3"], json!({"limit": 3})),
        ("users.list", vec!["users", "list", "--platform", "demo"], json!({"platform": "demo", "limit": 50})),
        ("users.show", vec!["users", "get", "demo/ann"], json!({"who": "demo/ann"})),
        ("users.conversations", vec!["users", "conversations", "demo/ann"], json!({"who": "demo/ann"})),
        ("preferences.show", vec!["users", "preferences", "get", "demo/ann"], json!({"who": "demo/ann"})),
        ("access.list", vec!["access", "list", "--all"], json!({"all": true})),
        ("ignore.list", vec!["ignore", "list"], json!({})),
        ("pairing.list", vec!["pairing", "list", "--all"], json!({"all": true})),
        ("retention.show", vec!["retention", "show"], json!({})),
        ("retention.plan", vec!["retention", "run", "--dry-run"], json!({})),
        ("backlog.show", vec!["backlog"], json!({})),
        (
            "backlog.preview",
            vec!["backlog", "skip", "--dry-run", "--older-than", "0s"],
            json!({"fate": "skip", "filter": {"older_than": "0s"}}),
        ),
        ("mode.show", vec!["mode", "show"], json!({})),
        ("mode.history", vec!["mode", "history"], json!({})),
        ("plugin.history", vec!["plugin", "history", "demo"], json!({"instance": "demo"})),
        ("token.list", vec!["token", "list"], json!({})),
    ]
}

async fn every_way_gives_the_same_answer(database: Database) {
    let prepared = Prepared::start(database).await;
    let (all, blind) =
        (prepared.token("all", &["--access", "admin", "--contents"]), prepared.token("blind", &["--access", "admin"]));
    let (api, mcp) = (prepared.api().await, prepared.mcp().await);
    let questions = questions(&prepared);
    let mut hidden = 0;
    for (name, command, request) in &questions {
        let told = lasting(json(&prepared.rig, command));
        let (status, over_http) = api.operation(&all, name, request).await;
        assert_eq!((status, &lasting(over_http)), (StatusCode::OK, &told), "{name}");
        let (over_mcp, failed) = mcp.tool(&all, &name.replace('.', "_"), request).await;
        assert_eq!((failed, &lasting(over_mcp)), (false, &told), "{name}");
        // Texts are for those who may read them.
        let (status, redacted) = api.operation(&blind, name, request).await;
        assert_eq!(status, StatusCode::OK, "{name}: {redacted}");
        let (over_mcp, _) = mcp.tool(&blind, &name.replace('.', "_"), request).await;
        for text in [redacted.to_string(), over_mcp.to_string()] {
            assert!(!text.contains(SECRET), "{name} tells what was said: {text}");
        }
        hidden += usize::from(told.to_string().contains(SECRET));
    }
    assert!(hidden >= 3, "the test knows where texts are");

    let asked = questions.iter().map(|(name, ..)| *name).collect::<Vec<_>>();
    for entry in api.table(&all).await {
        let name = entry["name"].as_str().expect("a name");
        assert!(entry["effect"] != "reads" || asked.contains(&name), "{name} reads, and this test does not ask it");
        assert_eq!(
            (&entry["request"]["type"], &entry["answer"]["type"]),
            (&json!("object"), &json!("object")),
            "{name}"
        );
    }
    let contains = json!({"filter": {"contains": SECRET}});
    assert_eq!(api.operation(&all, "dlq.list", &contains).await.1["items"].as_array().map(Vec::len), Some(3));
    for (name, answer) in [
        ("dlq.list", api.operation(&blind, "dlq.list", &contains).await),
        ("replay.preview", api.operation(&blind, "replay.preview", &contains).await),
        ("dlq.resolve", api.operation(&blind, "dlq.resolve", &contains).await),
    ] {
        assert_eq!(answer.0, StatusCode::FORBIDDEN, "{name}: {}", answer.1);
    }
    assert!(mcp.tool(&blind, "dlq_resolve", &contains).await.1, "counting by text tells of texts");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_gives_the_same_answer_on_sqlite() {
    every_way_gives_the_same_answer(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_gives_the_same_answer_on_postgres() {
    every_way_gives_the_same_answer(Database::Postgres).await;
}
