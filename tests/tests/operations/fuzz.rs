//! Nonsense at every operation: it is refused, and nothing breaks.

use std::time::Duration;

use broca_tests::Database;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use crate::prepared::Prepared;

/// Requests at each operation, on each way.
const EACH: usize = 25;

/// Values that were thought of, and others.
fn leaf(ids: Vec<String>) -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_i64..200).prop_map(Value::from),
        proptest::sample::select(ids).prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "(2h|7d|-5m|99999999999999999d|2026-11-23T08:00:00Z|9999-99-99T00:00:00Z|turn|delivery|demo|default|%|_|')"
            .prop_map(Value::from),
        Just(Value::from("\0\u{202e}\u{1f600}".repeat(300))),
    ]
}

fn nonsense(keys: Vec<String>, ids: Vec<String>) -> impl Strategy<Value = Value> {
    let key = proptest::sample::select(keys);
    leaf(ids).prop_recursive(4, 24, 4, move |inner| {
        let field = (prop_oneof![9 => key.clone(), 1 => "[a-z_]{1,8}"], inner.clone());
        prop_oneof![
            1 => proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            4 => proptest::collection::vec(field, 0..5).prop_map(|fields| Value::from(Map::from_iter(fields))),
        ]
    })
}

/// All names of fields that a schema has, anywhere.
fn names(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                found.extend(properties.keys().cloned());
            }
            fields.values().for_each(|field| names(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_breaks_nothing_on_sqlite() {
    nonsense_is_refused_and_nothing_breaks(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_breaks_nothing_on_postgres() {
    nonsense_is_refused_and_nothing_breaks(Database::Postgres).await;
}

async fn nonsense_is_refused_and_nothing_breaks(database: Database) {
    let prepared = Prepared::start(database).await;
    let token = prepared.token("admin", &["--access", "admin", "--contents"]);
    let (mut api, mut mcp) = (prepared.api().await, prepared.mcp().await);
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let mut ids = prepared.failed.clone();
    ids.push(prepared.answered.clone());
    let (mut accepted, mut refused) = (0, 0);
    for entry in api.table(&token).await {
        let name = entry["name"].as_str().expect("a name").to_owned();
        let mut keys = vec!["id".to_owned()];
        names(&entry["request"], &mut keys);
        let strategy = nonsense(keys, ids.clone());
        for _ in 0..EACH {
            let request = strategy.new_tree(&mut runner).expect("a value").current();
            let (status, answer) = api.operation(&token, &name, &request).await;
            assert!(
                status.as_u16() < 500 || status == StatusCode::SERVICE_UNAVAILABLE,
                "{name} {request}: {status} {answer}"
            );
            assert!(status == StatusCode::OK || answer["error"]["message"].is_string(), "{name}: {status} {answer}");
            *(if status == StatusCode::OK { &mut accepted } else { &mut refused }) += 1;
            let tool = json!({"name": name.replace('.', "_"), "arguments": request});
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool});
            let (status, answer) = mcp.post_mcp(&token, &call).await;
            assert!(status.as_u16() < 500, "{name} {call}: {status} {answer}");
        }
    }
    assert!(accepted > 10 && refused > 100, "{accepted} accepted, {refused} refused");
    let anything = nonsense(["jsonrpc", "id", "method", "params", "name", "uri"].map(str::to_owned).to_vec(), ids);
    for _ in 0..4 * EACH {
        let body = anything.new_tree(&mut runner).expect("a value").current();
        let (status, answer) = mcp.post_mcp(&token, &body).await;
        assert!(status.as_u16() < 500, "{body}: {status} {answer}");
    }
    for server in [&mut api, &mut mcp] {
        assert!(server.process.has_ended().is_none(), "{}", server.process.output());
        assert!(!server.process.output().contains("panicked"), "{}", server.process.output());
        assert_eq!(server.answer(server.http.get(server.url("/healthz"))).await.0, StatusCode::OK);
    }
    let (status, check) = api.operation(&token, "check.run", &json!({"overdue": "1d"})).await;
    assert_eq!((status, &check["orphans"]), (StatusCode::OK, &json!(0)), "{check}");
    let ended = api.process.stop(Duration::from_secs(20));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}
