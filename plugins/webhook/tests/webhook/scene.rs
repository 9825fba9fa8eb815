//! The plugin on a pipeline in memory, and a client.

use std::sync::{Arc, Once};

use broca_plugin_webhook::{Signer, WebhookPlugin};
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use reqwest::{Client, Response};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
pub(crate) const KEY: &str = "a-key-of-the-front-desk";

pub(crate) struct Scene {
    pub(crate) pipeline: Arc<MemoryPipeline>,
    pub(crate) plugin: Arc<WebhookPlugin>,
    pub(crate) hosted: Hosted,
    pub(crate) http: Client,
}

/// Both roads in, on a free port.
pub(crate) fn settings() -> Value {
    json!({
        "listen": "127.0.0.1:0",
        "incoming": {"secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SECRET]},
        "chat": {"keys": {"desk": {"key": KEY}, "shop": {"key": "another-key-of-the-shop"}}},
    })
}

pub(crate) fn plugin(settings: Value) -> Result<WebhookPlugin, String> {
    static TLS: Once = Once::new();
    TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    WebhookPlugin::new(settings).map_err(|error| error.to_string())
}

impl Scene {
    pub(crate) async fn start(settings: Value) -> Self {
        let plugin = Arc::new(plugin(settings).unwrap());
        let pipeline = MemoryPipeline::new();
        let hosted = Hosted::start(plugin.clone(), &pipeline);
        pipeline.until(|seen| seen.states.contains(&broca_plugin::PluginState::Connected)).await;
        Self { pipeline, plugin, hosted, http: Client::new() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.plugin.address().unwrap())
    }

    /// A webhook as a well-behaved sender makes it.
    pub(crate) async fn webhook(&self, id: &str, body: &Value) -> Response {
        self.webhook_at(id, now(), body).await
    }

    pub(crate) async fn webhook_at(&self, id: &str, timestamp: i64, body: &Value) -> Response {
        let body = body.to_string();
        let signature = Signer::new(SECRET).unwrap().sign(id, timestamp, body.as_bytes());
        let request = self.http.post(self.url("/v1/messages")).header("webhook-id", id);
        let request = request.header("webhook-timestamp", timestamp).header("webhook-signature", signature);
        request.body(body).send().await.unwrap()
    }

    pub(crate) async fn say(&self, key: &str, idempotency: Option<&str>, body: &Value) -> Response {
        let mut request = self.http.post(self.url("/v1/chat")).bearer_auth(key).json(body);
        if let Some(idempotency) = idempotency {
            request = request.header("idempotency-key", idempotency);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Response {
        self.http.get(self.url(path)).bearer_auth(key).send().await.unwrap()
    }
}

/// Status and body.
pub(crate) async fn told(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
