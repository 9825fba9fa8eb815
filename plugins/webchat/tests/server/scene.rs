//! The server on a pipeline in memory, and a client.

use std::sync::{Arc, Once};

use broca_core::{DeliveryError, MessageId, Receipt};
use broca_plugin::PluginState;
use broca_plugin_webchat::WebchatPlugin;
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const API_KEY: &str = "api_h8hcbfg4uiqfz6sjy1h6ri";
pub(crate) const ADMIN_KEY: &str = "an-admin-key-of-some-length";
pub(crate) const SESSION: &str = "session_mdwj6vj5_okiiczierw";

pub(crate) struct Scene {
    pub(crate) pipeline: Arc<MemoryPipeline>,
    pub(crate) plugin: Arc<WebchatPlugin>,
    pub(crate) hosted: Hosted,
    pub(crate) http: Client,
    pub(crate) folder: TempDir,
    more: Value,
}

pub(crate) fn plugin(folder: &TempDir, more: &Value) -> WebchatPlugin {
    static TLS: Once = Once::new();
    TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let mut server = json!({
        "listen": "127.0.0.1:0", "file": folder.path().join("chats.jsonl"), "api_key": API_KEY, "admin_key": ADMIN_KEY,
        "per_minute": {"public": 10000, "session": 10000, "admin": 10000, "plugin": 10000},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        server[key] = value.clone();
    }
    let settings = serde_json::from_value(json!({"mode": "server", "server": server})).unwrap();
    WebchatPlugin::new(settings).unwrap()
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// With more settings.
    pub(crate) async fn with(more: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::on(MemoryPipeline::new(), folder, more).await
    }

    async fn on(pipeline: Arc<MemoryPipeline>, folder: TempDir, more: Value) -> Self {
        let plugin = Arc::new(plugin(&folder, &more));
        let before = pipeline.seen().states.len();
        let hosted = Hosted::start(plugin.clone(), &pipeline);
        pipeline.until(|seen| seen.states[before..].contains(&PluginState::Connected)).await;
        Self { pipeline, plugin, hosted, http: Client::new(), folder, more }
    }

    /// Ends it where it stands and starts another on the same file and the same pipeline.
    pub(crate) async fn killed_and_started(self) -> Self {
        let Self { pipeline, plugin, hosted, folder, more, http } = self;
        hosted.kill().await;
        // What a connection of a killed process would hold, too.
        drop((plugin, http));
        Self::on(pipeline, folder, more).await
    }

    pub(crate) fn url(&self, query: &str) -> String {
        format!("http://{}/api/v1/?{query}", self.plugin.address().unwrap())
    }

    pub(crate) fn get(&self, query: &str) -> RequestBuilder {
        self.http.get(self.url(query))
    }

    pub(crate) fn post(&self, action: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(&format!("action={action}"))).json(body)
    }

    /// Says something in the session; gives what was told.
    pub(crate) async fn say(&self, text: &str) -> Value {
        ok(self.post("messages", &json!({"session_id": SESSION, "message": text}))).await
    }

    /// The pipeline's id of the message with that text.
    pub(crate) fn accepted(&self, text: &str) -> MessageId {
        self.pipeline.seen().accepted.iter().find(|message| message.incoming.text == text).unwrap().id
    }

    pub(crate) async fn answer(&self, to: &str, text: &str) -> Result<Receipt, DeliveryError> {
        self.pipeline.answer(&*self.plugin, self.accepted(to), text).await
    }

    /// What the session was answered.
    pub(crate) async fn responses(&self, more: &str) -> Vec<Value> {
        let data = ok(self.get(&format!("action=responses&session_id={SESSION}{more}"))).await;
        data["responses"].as_array().unwrap().clone()
    }
}

pub(crate) async fn told(request: RequestBuilder) -> (u16, Value) {
    let response: Response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

/// The data of a request that must succeed, whose envelope must be whole.
pub(crate) async fn ok(request: RequestBuilder) -> Value {
    let (status, body) = told(request).await;
    assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    assert!(body["message"].is_string() && body["timestamp"].is_string(), "{body}");
    body["data"].clone()
}

/// The error of a request that must be refused with that status, whose envelope must be whole.
pub(crate) async fn refused(request: RequestBuilder, wanted: u16) -> String {
    let (status, body) = told(request).await;
    assert_eq!((status, &body["success"]), (wanted, &json!(false)), "{body}");
    assert!(body["timestamp"].is_string(), "{body}");
    body["error"].as_str().unwrap().to_owned()
}
