//! Who does not even come in, and what they are told.

use broca_tests::Database;
use reqwest::{StatusCode, header};
use serde_json::json;

use crate::{
    client::Server,
    prepared::{Prepared, json},
};

async fn is_guarded(server: &Server, path: &str, token: &str) {
    let post = || server.http.post(server.url(path)).json(&json!({}));
    let code = async |request| {
        let (status, answer) = server.answer(request).await;
        (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let unauthorised = |status| (status, "unauthorised".to_owned());
    assert_eq!(code(post()).await, unauthorised(StatusCode::UNAUTHORIZED), "no token");
    assert_eq!(code(post().bearer_auth("broca_0")).await, unauthorised(StatusCode::UNAUTHORIZED), "another token");
    assert_eq!(code(post().basic_auth("a", Some(token))).await, unauthorised(StatusCode::UNAUTHORIZED));
    let shown = post().send().await.unwrap();
    assert_eq!(shown.headers().get(header::WWW_AUTHENTICATE).unwrap(), "Bearer");
    let page = post().bearer_auth(token).header(header::ORIGIN, "https://evil.example");
    assert_eq!(code(page).await, unauthorised(StatusCode::FORBIDDEN), "a web page");
    let rebound = post().bearer_auth(token).header(header::HOST, "evil.example");
    assert_eq!(code(rebound).await, unauthorised(StatusCode::FORBIDDEN), "another name");
    let (status, _) = server.answer(server.http.get(server.url("/healthz"))).await;
    assert_eq!(status, StatusCode::OK, "health is nobody's secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_token_and_no_page_at_all() {
    let prepared = Prepared::start(Database::Sqlite).await;
    let rig = &prepared.rig;
    let token = prepared.token("reader", &["--access", "read"]);
    let (mut api, mcp) = (prepared.api().await, prepared.mcp().await);
    is_guarded(&api, "/v1/operations/check.run", &token).await;
    is_guarded(&mcp, "/mcp", &token).await;

    let status = async |name: &str, request| api.operation(&token, name, &request).await.0;
    assert_eq!(status("check.run", json!({})).await, StatusCode::OK);
    assert_eq!(status("check.run", json!(null)).await, StatusCode::OK, "nothing asked is everything");
    assert_eq!(status("nothing.here", json!({})).await, StatusCode::NOT_FOUND);
    assert_eq!(status("dlq.list", json!({"limt": 3})).await, StatusCode::BAD_REQUEST, "a slip of the pen");
    assert_eq!(status("dlq.list", json!({"limit": 0})).await, StatusCode::BAD_REQUEST);
    assert_eq!(status("message.show", json!({"id": "01a20a75263475f9aaa572502bdb0e44"})).await, StatusCode::NOT_FOUND);
    assert_eq!(status("dlq.list", json!({"cursor": "x".repeat(300_000)})).await, StatusCode::PAYLOAD_TOO_LARGE);
    let get = api.http.get(api.url("/v1/operations/check.run")).bearer_auth(&token);
    assert_eq!(api.answer(get).await.0, StatusCode::NOT_FOUND);
    let no_json = api.http.post(api.url("/v1/operations/check.run")).bearer_auth(&token).body("{");
    assert_eq!(api.answer(no_json).await.0, StatusCode::BAD_REQUEST);

    json(rig, &["token", "revoke", "reader"]);
    assert_eq!(status("check.run", json!({})).await, StatusCode::UNAUTHORIZED, "revoked is revoked at once");
    let expired = prepared.token("short", &["--access", "read", "--expires", "1ms"]);
    assert_eq!(api.operation(&expired, "check.run", &json!({})).await.0, StatusCode::UNAUTHORIZED);
    let twice = rig.run(&["token", "add", "short", "--access", "read"]);
    assert_eq!(twice.status.code(), Some(4), "{twice:?}");
    let everywhere = rig.run(&["api", "--listen", "0.0.0.0:0"]);
    assert_eq!(everywhere.status.code(), Some(2), "{everywhere:?}");
    let ended = api.process.stop(std::time::Duration::from_secs(20));
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", api.process.output());
}
