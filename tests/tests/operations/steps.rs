//! A machine that destroys something is told first, and says yes to exactly that.

use broca_tests::Database;
use serde_json::{Value, json};

use crate::prepared::{Prepared, json};

fn with(request: &Value, confirm: &Value) -> Value {
    let mut request = request.clone();
    request["confirm"] = confirm.clone();
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn what_destroys_takes_two_steps() {
    let prepared = Prepared::start(Database::Sqlite).await;
    let rig = &prepared.rig;
    let (mine, other) =
        (prepared.token("mine", &["--access", "operate"]), prepared.token("other", &["--access", "operate"]));
    let mcp = prepared.mcp().await;
    let open = || json(rig, &["dlq", "list"])["items"].as_array().map(Vec::len);
    let request = json!({"filter": {"user": "ben"}, "note": "told him"});
    let propose = async || {
        let (proposal, failed) = mcp.tool(&mine, "dlq_resolve", &request).await;
        assert!(!failed, "{proposal}");
        proposal
    };
    let proposal = propose().await;
    assert_eq!((&proposal["count"], &proposal["ceiling"]), (&json!(1), &json!(1)), "{proposal}");
    assert_eq!(open(), Some(3), "nothing is done");
    let confirm = &proposal["confirm"];

    let code = async |token: &str, tool: &str, request: Value| {
        let (answer, failed) = mcp.tool(token, tool, &request).await;
        (failed, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let conflict = (true, "conflict".to_owned());
    assert_eq!(code(&mine, "dlq_resolve", with(&request, &json!("yes_1"))).await, conflict, "not what was given");
    assert_eq!(code(&other, "dlq_resolve", with(&request, confirm)).await, conflict, "not to them");
    let wider = json!({"filter": {"class": "rejected"}});
    assert_eq!(code(&mine, "dlq_resolve", with(&wider, confirm)).await, conflict, "not for that");
    assert_eq!(code(&mine, "message_cancel", with(&json!({"id": prepared.failed[0]}), confirm)).await, conflict);
    assert_eq!(open(), Some(3));

    let (done, failed) = mcp.tool(&mine, "dlq_resolve", &with(&request, confirm)).await;
    assert_eq!((failed, done["resolved"].as_array().map(Vec::len)), (false, Some(1)), "{done}");
    assert_eq!(open(), Some(2));
    assert_eq!(code(&mine, "dlq_resolve", with(&request, confirm)).await, conflict, "once");

    // Between the question and the yes, more came to match.
    let all = json!({"filter": {"class": "rejected"}});
    let (proposal, _) = mcp.tool(&mine, "dlq_resolve", &all).await;
    assert_eq!(proposal["count"], json!(2));
    json(rig, &["replay", &prepared.failed[0], "--stage", "turn"]);
    let later = code(&mine, "dlq_resolve", with(&all, &proposal["confirm"])).await;
    assert_eq!(later, (false, String::new()), "fewer is fine");

    let by_machine = json(rig, &["audit", "list", "--via", "mcp", "--by", "mcp:mine"]);
    assert_eq!(by_machine["items"].as_array().map(Vec::len), Some(2), "asking is not doing: {by_machine}");
    let (held, failed) =
        mcp.tool(&mine, "hold_add", &json!({"on": {"instance": "demo"}, "reason": "can be undone"})).await;
    assert!(!failed && held["state"] == "active", "{held}");

    let admin = prepared.token("admin", &["--access", "admin"]);
    let (proposal, failed) = mcp.tool(&admin, "plugin_stop", &json!({"instance": "demo"})).await;
    assert!(!failed && proposal["confirm"].is_string(), "{proposal}");
    let would = proposal["would"].as_str().expect("what it would do");
    assert_eq!(would, "stop the plugin instance demo; no supervisor ever spoke of it");
    let nobody = with(&json!({"instance": "demo", "timeout_s": 1}), &Value::Null);
    let (proposal, _) = mcp.tool(&admin, "plugin_stop", &nobody).await;
    let stopped = code(&admin, "plugin_stop", with(&nobody, &proposal["confirm"])).await;
    assert_eq!(stopped, (true, "unavailable".to_owned()), "no supervisor runs");
}
