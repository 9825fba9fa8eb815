//! The plugin on a pipeline in memory, beside a bridge.

use std::sync::{Arc, Once};

use broca_core::{DeliveryError, MessageId, Profile, ProfileId, Receipt, Response, UserId};
use broca_plugin::{Parts, Plugin};
use broca_plugin_webchat::WebchatPlugin;
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline, response_to};
use serde_json::{Value, json};

use crate::bridge::{ADMIN_KEY, API_KEY, Bridge};

pub(crate) const SESSION: &str = "session_mdwj6vj5_okiiczierw";
pub(crate) const UID: &str = "2632f72d266e529c";

pub(crate) struct Scene {
    pub(crate) bridge: Bridge,
    pub(crate) pipeline: Arc<MemoryPipeline>,
    pub(crate) plugin: Arc<WebchatPlugin>,
    pub(crate) hosted: Option<Hosted>,
}

pub(crate) fn plugin(bridge: &Bridge, more: &Value) -> WebchatPlugin {
    static TLS: Once = Once::new();
    TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let url = format!("http://{}", bridge.address);
    let mut client = json!({"api_url": url, "api_key": API_KEY, "admin_key": ADMIN_KEY, "poll_interval_s": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        client[key] = value.clone();
    }
    WebchatPlugin::new(serde_json::from_value(json!({"client": client})).unwrap()).unwrap()
}

impl Scene {
    /// Nothing runs yet.
    pub(crate) async fn set(more: Value) -> Self {
        let bridge = Bridge::start().await;
        let plugin = Arc::new(plugin(&bridge, &more));
        Self { bridge, pipeline: MemoryPipeline::new(), plugin, hosted: None }
    }

    pub(crate) fn run(&mut self) {
        self.hosted = Some(Hosted::start(self.plugin.clone(), &self.pipeline));
    }

    pub(crate) async fn kill(&mut self) {
        self.hosted.take().unwrap().kill().await;
    }

    pub(crate) async fn start() -> Self {
        let mut scene = Self::set(json!({})).await;
        scene.run();
        scene
    }

    pub(crate) async fn until_accepted(&self, count: usize) -> Vec<String> {
        let seen = self.pipeline.until(|seen| seen.accepted.len() >= count).await;
        seen.texts().into_iter().map(str::to_owned).collect()
    }

    /// An answer to the first message.
    pub(crate) fn response(&self, text: &str) -> (Response, Profile) {
        let incoming = self.pipeline.seen().accepted[0].incoming.clone();
        let sender = incoming.sender.clone();
        let profile = Profile {
            id: ProfileId::new(),
            user_id: UserId::new(),
            platform: "webchat".into(),
            platform_user_id: sender.platform_user_id,
            username: sender.username,
            display_name: None,
            metadata: sender.metadata,
        };
        (response_to(&incoming, text), profile)
    }

    pub(crate) async fn deliver(&self, response: &Response, profile: &Profile) -> Result<Receipt, DeliveryError> {
        self.plugin.deliver(response, profile, MessageId::new(), &Parts::in_memory(response)).await
    }
}
