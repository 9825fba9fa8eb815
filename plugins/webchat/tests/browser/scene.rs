//! The server on a pipeline in memory, on one port for all its lives.

use std::{
    net::SocketAddr,
    sync::{Arc, Once},
};

use broca_core::MessageId;
use broca_plugin::{Plugin, PluginState, Typing};
use broca_plugin_webchat::WebchatPlugin;
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use broca_servers::{Browser, browser::Page};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// `chat` is the root of the chat, and `one` and `all` look within it.
const CHAT: Page = Page {
    prelude: "const chat = document.querySelector('broca-chat')?.shadowRoot;
        const one = (where) => chat?.querySelector(where);
        const all = (where) => [...(chat?.querySelectorAll(where) ?? [])];",
    seen: "chat?.textContent ?? document.body.innerHTML",
};

/// One browser at a time is enough for a machine.
static ONE: Mutex<()> = Mutex::const_new(());

pub(crate) struct Scene {
    pub(crate) pipeline: Arc<MemoryPipeline>,
    pub(crate) browser: Browser,
    pub(crate) address: SocketAddr,
    live: Option<(Arc<WebchatPlugin>, Hosted)>,
    settings: Value,
    _folder: TempDir,
    _one: MutexGuard<'static, ()>,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::with(json!({})).await
    }

    pub(crate) async fn with(more: Value) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let one = ONE.lock().await;
        let folder = tempfile::tempdir().unwrap();
        // Taken and given back: the server listens there in a moment, and again after it was killed.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut server = json!({
            "listen": address, "file": folder.path().join("chats.jsonl"), "title": "Harbour Library",
            "greeting": "Hello! Ask me about books, rooms and opening hours.",
            "per_minute": {"public": 10000, "session": 10000},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            server[key] = value.clone();
        }
        let mut scene = Self {
            pipeline: MemoryPipeline::new(),
            browser: Browser::start(CHAT).await,
            address,
            live: None,
            settings: json!({"mode": "server", "server": server}),
            _folder: folder,
            _one: one,
        };
        scene.serve().await;
        scene
    }

    pub(crate) async fn serve(&mut self) {
        let plugin = Arc::new(WebchatPlugin::new(serde_json::from_value(self.settings.clone()).unwrap()).unwrap());
        let before = self.pipeline.seen().states.len();
        let hosted = Hosted::start(plugin.clone(), &self.pipeline);
        self.pipeline.until(|seen| seen.states[before..].contains(&PluginState::Connected)).await;
        self.live = Some((plugin, hosted));
    }

    /// Stops serving, in good order so that the port is free at once.
    pub(crate) async fn stop(&mut self) {
        let (plugin, hosted) = self.live.take().unwrap();
        drop(hosted.stop().await);
        drop(plugin);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Opens the page, and waits until it is connected.
    pub(crate) async fn open(&self) {
        self.browser.open(&self.url()).await;
        self.is_online().await;
    }

    pub(crate) async fn is_online(&self) {
        self.browser.until("one('.panel').dataset.state === 'online'").await;
    }

    /// Types and sends; gives the pipeline's id of it.
    pub(crate) async fn say(&self, text: &str) -> MessageId {
        self.browser.press(&format!("{text}{}", broca_servers::browser::ENTER)).await;
        self.accepted(text).await
    }

    pub(crate) async fn accepted(&self, text: &str) -> MessageId {
        let seen = self.pipeline.until(|seen| seen.texts().contains(&text)).await;
        seen.accepted.iter().rev().find(|message| message.incoming.text == text).unwrap().id
    }

    pub(crate) async fn answer(&self, id: MessageId, text: &str) {
        let (plugin, _) = self.live.as_ref().unwrap();
        self.pipeline.answer(&**plugin, id, text).await.unwrap();
    }

    pub(crate) async fn notice(&self, id: MessageId, text: &str) {
        let (plugin, _) = self.live.as_ref().unwrap();
        self.pipeline.notice(&**plugin, id, text).await.unwrap();
    }

    /// An agent works on the answer to that message.
    pub(crate) async fn typing(&self, message_id: MessageId) {
        let seen = self.pipeline.seen();
        let message = seen.accepted.iter().find(|message| message.id == message_id).unwrap();
        let platform_user_id = message.incoming.sender.platform_user_id.clone();
        let (plugin, _) = self.live.as_ref().unwrap();
        plugin.typing(&Typing { message_id, chat_id: None, platform_user_id }).await;
    }

    /// What stands in the bubbles, in order, without what only a screen reader says.
    pub(crate) async fn said(&self) -> Vec<String> {
        let texts = "return all('li:not([hidden]) > .bubble').filter((b) => !b.closest('.answering')).map((bubble) => {
            const copy = bubble.cloneNode(true);
            copy.querySelectorAll('.hidden').forEach((part) => part.remove());
            return copy.textContent;
        });";
        serde_json::from_value(self.browser.run(texts).await).unwrap()
    }

    pub(crate) async fn close(mut self) {
        self.browser.close().await;
        let (_, hosted) = self.live.take().unwrap();
        drop(hosted.stop().await);
    }
}
