//! Who may talk, decided by machines: what keeps people out or gives power takes two steps, and nobody's texts are told.

use broca_tests::Database;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::prepared::{Prepared, SECRET, json};

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_put_and_taken_back() {
    let prepared = Prepared::start(Database::Sqlite).await;
    let rig = &prepared.rig;
    let operator = prepared.token("operator", &["--access", "operate"]);
    let (api, mcp) = (prepared.api().await, prepared.mcp().await);
    let rule = json!({"who": "demo/@Ben", "instance": "demo", "reason": "a colleague", "for": "2h"});
    let (status, allowed) = api.operation(&operator, "access.allow", &rule).await;
    assert_eq!(status, StatusCode::OK, "{allowed}");
    assert_eq!((&allowed["who"], &allowed["kind"]), (&json!("demo/@ben"), &json!("allow")));
    let (status, _) = api.operation(&operator, "access.admin", &json!({"who": "demo/ben"})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "an operator makes no admins");
    for (request, expected) in [
        (json!({"who": "demo/ben", "instance": "nowhere"}), StatusCode::NOT_FOUND),
        (json!({"who": "demo/"}), StatusCode::BAD_REQUEST),
    ] {
        let (status, answer) = api.operation(&operator, "access.deny", &request).await;
        assert_eq!(status, expected, "{request}: {answer}");
    }

    let deny = json!({"who": "demo/@ben", "instance": "demo", "reason": "insults"});
    let (proposal, failed) = mcp.tool(&operator, "access_deny", &deny).await;
    assert!(!failed, "{proposal}");
    assert_eq!(proposal["would"], "keep demo/@ben out on demo, in place of 'allow'");
    assert_eq!(json(rig, &["access", "list"])["items"].as_array().map(Vec::len), Some(2), "nothing is done");
    let mut confirmed = deny.clone();
    confirmed["confirm"] = proposal["confirm"].clone();
    let (denied, failed) = mcp.tool(&operator, "access_deny", &confirmed).await;
    assert_eq!((failed, &denied["kind"]), (false, &json!("deny")), "{denied}");

    // All that are named are there, or nothing is done.
    let id = &denied["id"];
    let (status, answer) =
        api.operation(&operator, "access.remove", &json!({"ids": [id], "who": ["demo/nobody"]})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    let (status, answer) = api.operation(&operator, "ignore.remove", &json!({"ids": [id]})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it ignores nobody: {answer}");
    let (status, answer) = api.operation(&operator, "access.remove", &json!({"ids": [id], "who": ["demo/@ben"]})).await;
    assert_eq!((status, &answer["removed"]), (StatusCode::OK, &json!(1)), "{answer}");
    let (status, answer) = api.operation(&operator, "access.remove", &json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");

    let acts = json(rig, &["audit", "list", "--about", id.as_str().expect("an id")]);
    let names: Vec<&Value> = acts["items"].as_array().expect("a list").iter().map(|act| &act["operation"]).collect();
    assert!(names.contains(&&json!("access.deny")) && names.contains(&&json!("access.remove")), "{acts}");
    let everything = json(rig, &["audit", "list", "--via", "http"]).to_string();
    assert!(everything.contains("a colleague") && !everything.contains("@ben"), "who is left out: {everything}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_of_without_texts() {
    let prepared = Prepared::start(Database::Sqlite).await;
    let rig = &prepared.rig;
    let (blind, reader) = (
        prepared.token("blind", &["--access", "operate"]),
        prepared.token("all", &["--access", "operate", "--contents"]),
    );
    let (api, mcp) = (prepared.api().await, prepared.mcp().await);
    let set = json!({"who": "demo/ann", "instructions": SECRET, "preferences": {SECRET: 7}});
    let (status, redacted) = api.operation(&blind, "users.set", &set).await;
    assert_eq!(status, StatusCode::OK, "{redacted}");
    assert!(redacted["user_id"].is_string() && !redacted.to_string().contains(SECRET), "{redacted}");
    let (status, told) = api.operation(&reader, "users.set", &json!({"who": "demo/ann", "preferences": {}})).await;
    assert_eq!((status, &told["custom_instructions"]), (StatusCode::OK, &json!(SECRET)), "{told}");
    let (status, answer) = api.operation(&reader, "users.set", &json!({"who": "demo/ann"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");

    let request = json!({"who": "demo/ann", "reason": "asked to"});
    let (proposal, failed) = mcp.tool(&blind, "users_deactivate", &request).await;
    assert_eq!((failed, &proposal["examples"][0]), (false, &told["user_id"]), "{proposal}");
    let mut confirmed = request.clone();
    confirmed["confirm"] = proposal["confirm"].clone();
    let (done, failed) = mcp.tool(&blind, "users_deactivate", &confirmed).await;
    assert_eq!((failed, &done["is_active"], &done["changed"]), (false, &json!(false), &json!(true)), "{done}");
    let (done, failed) = mcp.tool(&blind, "users_activate", &request).await;
    assert_eq!((failed, &done["is_active"]), (false, &json!(true)), "{done}");
    let (answer, failed) = mcp.tool(&blind, "pairing_approve", &json!({"code": "NOTACODE"})).await;
    assert_eq!((failed, &answer["error"]["code"]), (true, &json!("not_found")), "{answer}");

    let acts = json(rig, &["audit", "list"]).to_string();
    assert!(acts.contains("users.deactivate") && acts.contains("users.set"), "{acts}");
    assert!(!acts.contains(SECRET) && !acts.contains("demo/ann"), "{acts}");
}
