//! A caller of the servers, who speaks plain HTTP and JSON-RPC.

use broca_tests::Process;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) http: Client,
    pub(crate) process: Process,
}

impl Server {
    pub(crate) fn new(address: String, process: Process) -> Self {
        // No server of this test speaks TLS, and the machine may have no certificates.
        let http = Client::builder().tls_certs_only([]).build().expect("a client");
        Self { address, http, process }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn answer(&self, request: RequestBuilder) -> (StatusCode, Value) {
        let response = request.send().await.expect("the server answers");
        let status = response.status();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// An operation over HTTP.
    pub(crate) async fn operation(&self, token: &str, name: &str, request: &Value) -> (StatusCode, Value) {
        let url = self.url(&format!("/v1/operations/{name}"));
        self.answer(self.http.post(url).bearer_auth(token).json(request)).await
    }

    pub(crate) async fn table(&self, token: &str) -> Vec<Value> {
        let (status, table) = self.answer(self.http.get(self.url("/v1/operations")).bearer_auth(token)).await;
        assert_eq!(status, StatusCode::OK, "{table}");
        table["items"].as_array().expect("a list").clone()
    }

    /// A JSON-RPC call to the MCP server: the result, or the error.
    pub(crate) async fn rpc(&self, token: &str, method: &str, params: &Value) -> Result<Value, Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (status, answer) = self.post_mcp(token, &body).await;
        assert!(status.is_success(), "{method}: {status}: {answer}");
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    pub(crate) async fn post_mcp(&self, token: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.http.post(self.url("/mcp")).bearer_auth(token).json(body);
        self.answer(request.header("accept", "application/json, text/event-stream")).await
    }

    /// What a tool answers, and whether that is an error.
    pub(crate) async fn tool(&self, token: &str, name: &str, arguments: &Value) -> (Value, bool) {
        let called = self.rpc(token, "tools/call", &json!({"name": name, "arguments": arguments})).await;
        let result = called.unwrap_or_else(|error| panic!("{name}: {error}"));
        (result["structuredContent"].clone(), result["isError"] == json!(true))
    }
}
