//! Who may look changes nothing, whatever they try; what was done is written down.

use broca_tests::{Database, Rig};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::prepared::{Prepared, SECRET, json};

/// A request that would do something, for whoever may; the others are tried with an empty one.
fn would_work(prepared: &Prepared, name: &str) -> Value {
    let failed = &prepared.failed;
    match name {
        "message.cancel" | "dlq.show" => json!({"id": failed[0]}),
        "dlq.resolve" => json!({"ids": [failed[0]], "note": "done"}),
        "replay.plan" | "replay.now" => json!({"ids": [failed[1]]}),
        "targets.clear" => json!({"all": true}),
        "hold.add" => json!({"on": {"instance": "demo"}, "reason": "to try"}),
        "hold.release" => {
            let hold = json(&prepared.rig, &["hold", "list"])["items"][0]["id"].clone();
            json!({"ids": [hold]})
        }
        "queue.flush" => json!({"all": true}),
        "token.add" => json!({"name": "more", "access": "admin"}),
        "users.update" => json!({"who": "demo/ann", "display_name": "Anna"}),
        "users.activate" | "users.deactivate" => json!({"who": "demo/ann"}),
        "users.set" => json!({"who": "demo/ann", "instructions": "be brief"}),
        "access.allow" | "access.deny" | "access.admin" | "ignore.add" => json!({"who": "demo/ann"}),
        "access.remove" | "ignore.remove" => json!({"who": ["demo/mallory"]}),
        "pairing.approve" | "pairing.revoke" => json!({"code": "NOTACODE"}),
        "token.revoke" => json!({"name": "reader"}),
        _ => json!({}),
    }
}

/// All that could have been changed.
fn state(rig: &Rig, prepared: &Prepared) -> Vec<Value> {
    let mut state: Vec<Value> = [
        &["dlq", "list", "--all"][..],
        &["hold", "list", "--all"],
        &["targets", "list"],
        &["access", "list", "--all"],
        &["pairing", "list", "--all"],
    ]
    .iter()
    .map(|command| json(rig, command))
    .collect();
    state.extend(prepared.failed.iter().chain([&prepared.answered]).map(|id| json(rig, &["message", "show", id])));
    let tokens = json(rig, &["token", "list", "--all"]);
    let names = tokens["items"].as_array().expect("a list").iter();
    state.extend(names.map(|token| json!([token["name"], token["access"], token["revoked_at"]])));
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_changes_nothing() {
    let prepared = Prepared::start(Database::Sqlite).await;
    let rig = &prepared.rig;
    let admin = prepared.token("admin", &["--access", "admin"]);
    let reader = prepared.token("reader", &["--access", "read", "--contents"]);
    let (api, mcp) = (prepared.api().await, prepared.mcp().await);
    let (table, before) = (api.table(&admin).await, state(rig, &prepared));
    let mut refused = Vec::new();
    for entry in table.iter().filter(|entry| entry["access"] != "read") {
        let name = entry["name"].as_str().expect("a name");
        let request = would_work(&prepared, name);
        for request in [&request, &json!({}), &json!({"nonsense": [1]})] {
            let (status, answer) = api.operation(&reader, name, request).await;
            assert_eq!((status, &answer["error"]["code"]), (StatusCode::FORBIDDEN, &json!("unauthorised")), "{name}");
        }
        let tool = json!({"name": name.replace('.', "_"), "arguments": request});
        for confirm in [Value::Null, json!("yes_0000")] {
            let mut tool = tool.clone();
            tool["arguments"]["confirm"] = confirm;
            match mcp.rpc(&reader, "tools/call", &tool).await {
                Ok(result) => assert_eq!(
                    (&result["isError"], &result["structuredContent"]["error"]["code"]),
                    (&json!(true), &json!("unauthorised")),
                    "{name}: {result}"
                ),
                Err(error) => assert!(entry["absent"].to_string().contains("mcp"), "{name}: {error}"),
            }
        }
        if entry["effect"] != "reads" {
            refused.push(name.to_owned());
        }
    }
    assert!(refused.len() >= 10, "{refused:?}");
    assert_eq!(state(rig, &prepared), before);
    let listed = mcp.rpc(&reader, "tools/list", &json!({})).await.expect("tools");
    for tool in listed["tools"].as_array().expect("a list") {
        assert_eq!(tool["annotations"]["readOnlyHint"], json!(true), "{tool}");
    }
    let written = json(rig, &["audit", "list", "--outcome", "refused", "--by", "http:reader"]);
    let written = written["items"].as_array().expect("a list");
    assert!(written.iter().any(|act| act["operation"] == "hold.add"), "{written:?}");
    assert!(written.iter().all(|act| act["error"].as_str().is_some_and(|why| why.contains("needs"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_written_down() {
    let prepared = Prepared::start(Database::Sqlite).await;
    let rig = &prepared.rig;
    let operator = prepared.token("operator", &["--access", "operate"]);
    let api = prepared.api().await;
    let hold = json!({"on": {"instance": "demo"}, "reason": "a deploy", "for": "2h"});
    let (status, hold) = api.operation(&operator, "hold.add", &hold).await;
    assert_eq!(status, StatusCode::OK, "{hold}");
    let id = hold["id"].as_str().expect("an id");
    let (status, _) = api.operation(&operator, "hold.add", &json!({"on": {"agent": "nobody"}, "reason": "x"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let edited = json!({"edit": prepared.failed[0], "text": format!("{SECRET} in other words"), "reason": "asked to"});
    let (status, replayed) = api.operation(&operator, "replay.now", &edited).await;
    assert_eq!((status, &replayed["report"]["replayed"]), (StatusCode::OK, &json!(1)), "{replayed}");
    let (status, refused) = api.operation(&operator, "token.add", &json!({"name": "mine", "access": "admin"})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{refused}");

    let acts =
        |options: &[&str]| json(rig, &[&["audit", "list"], options].concat())["items"].as_array().unwrap().clone();
    let held = acts(&["--about", id]);
    assert_eq!(held.len(), 1);
    let act = &held[0];
    assert_eq!(
        (&act["actor"], &act["via"], &act["outcome"]),
        (&json!("http:operator"), &json!("http"), &json!("done"))
    );
    assert_eq!((&act["operation"], &act["reason"]), (&json!("hold.add"), &json!("a deploy")));
    assert_eq!((&act["request"]["for"], &act["after"]["id"]), (&json!("7200s"), &json!(id)));
    let failed = acts(&["--outcome", "failed"]);
    assert!(failed[0]["error"].as_str().unwrap().contains("no agent 'nobody'"), "{failed:?}");
    let replays = acts(&["--operation", "replay.now", "--about", &prepared.failed[0]]);
    assert_eq!((replays.len(), &replays[0]["reason"]), (1, &json!("asked to")));
    let everything = serde_json::Value::Array(acts(&[])).to_string();
    assert!(!everything.contains(SECRET), "texts are not kept: {everything}");
    assert!(!everything.contains(operator.as_str()), "nor are secrets");

    let released =
        rig.command(&["hold", "release", id, "--reason", "over"]).env("BROCA_ACTOR", "ann").output().unwrap();
    assert!(released.status.success(), "{released:?}");
    let act = acts(&["--by", "cli:ann"]).remove(0);
    assert_eq!((&act["operation"], &act["before"]["items"][0]["state"]), (&json!("hold.release"), &json!("active")));
    assert_eq!((&act["after"]["items"][0]["hold"]["state"], &act["reason"]), (&json!("over"), &json!("over")));

    let set = json!({"mode": "listen", "plugin": "demo", "for": "1h", "reason": "a storm"});
    let (status, answer) = api.operation(&operator, "mode.set", &set).await;
    assert_eq!((status, answer["revision"].is_u64()), (StatusCode::OK, true), "{answer}");
    assert_eq!(json(rig, &["mode", "show"])["set"]["modes"][0]["of"], "plugin demo");
    let (status, nothing) = api.operation(&operator, "mode.set", &json!({"mode": "echo", "route": "nowhere"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{nothing}");
    let act = acts(&["--operation", "mode.set", "--about", "plugin demo"]).remove(0);
    assert_eq!((&act["reason"], &act["before"]), (&json!("a storm"), &json!({"modes": []})));
    let (status, refused) = api.operation(&operator, "plugin.stop", &json!({"instance": "demo"})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{refused}");
}
