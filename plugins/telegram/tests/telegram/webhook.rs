//! The way in by Telegram's calls.

use std::sync::Arc;

use broca_plugin::PluginState;
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use broca_rehearsal::telegram::{ScriptedTelegram, TelegramScript, in_private};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{ALICE, BOB, DEADLINE, plugin};

struct Scene {
    telegram: ScriptedTelegram,
    pipeline: Arc<MemoryPipeline>,
    url: String,
    listen: String,
}

impl Scene {
    async fn new() -> Self {
        let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
        // Free at this moment; the plugin takes it at once.
        let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
        Self {
            telegram,
            pipeline: MemoryPipeline::new(),
            url: format!("http://{free}/hooks/bot"),
            listen: free.to_string(),
        }
    }

    fn start(&self) -> Hosted {
        let webhook = json!({"webhook_url": self.url, "webhook_listen": self.listen});
        Hosted::start(plugin(&self.telegram.url(), webhook), &self.pipeline)
    }
}

#[tokio::test]
async fn telegram_calls_and_each_chat_keeps_its_order() {
    let scene = Scene::new().await;
    scene.telegram.say(in_private(ALICE, "before"));
    let running = scene.start();
    for n in 0..20 {
        scene.telegram.say(in_private(ALICE, &format!("a{n:02}")));
        scene.telegram.say(in_private(BOB, &format!("b{n:02}")));
    }
    assert!(scene.telegram.wait_for_confirmation(DEADLINE).await);
    running.stop().await.unwrap();
    assert_eq!(scene.telegram.webhook().as_deref(), Some(scene.url.as_str()), "what people write now waits");
    let seen = scene.pipeline.seen();
    let texts = seen.texts();
    let (alice, bob): (Vec<_>, Vec<_>) =
        texts.iter().cloned().partition(|text| !text.starts_with('b') || *text == "before");
    assert_eq!((alice.len(), bob.len()), (21, 20));
    assert!(alice[1..].is_sorted() && bob.is_sorted(), "{texts:?}");
    let states = [PluginState::Connecting, PluginState::Connected, PluginState::Stopped];
    assert_eq!(scene.pipeline.seen().states, states);
}

#[tokio::test]
async fn a_call_is_answered_with_200_only_after_the_commit() {
    let scene = Scene::new().await;
    scene.pipeline.be_unavailable(2);
    let running = scene.start();
    scene.telegram.say(in_private(ALICE, "one"));
    scene.telegram.say(in_private(ALICE, "two"));
    assert!(scene.telegram.wait_for_confirmation(DEADLINE).await);
    assert_eq!(scene.pipeline.seen().unavailable, 0);
    assert_eq!(scene.pipeline.seen().texts(), ["one", "two"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn nobody_but_telegram_is_listened_to() {
    let scene = Scene::new().await;
    let running = scene.start();
    scene.pipeline.until(|state| state.states.last() == Some(&PluginState::Connected)).await;
    let http = reqwest::Client::new();
    let update = json!({"update_id": 1, "message": {
        "message_id": 1, "text": "forged", "chat": {"id": ALICE, "type": "private"}, "from": {"id": ALICE, "first_name": "A"},
    }});
    let post = async |secret: Option<&str>, body: String| {
        let mut request = http.post(&scene.url).body(body);
        if let Some(secret) = secret {
            request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(None, update.to_string()).await, 401);
    assert_eq!(post(Some("guess"), update.to_string()).await, 401);
    assert_eq!(http.get(&scene.url).send().await.unwrap().status().as_u16(), 405);
    let elsewhere = scene.url.replace("/hooks", "/other");
    assert_eq!(http.post(elsewhere).send().await.unwrap().status().as_u16(), 404);

    let secret = scene.telegram.webhook_secret().unwrap();
    assert_eq!(post(Some(&secret), "no json".to_owned()).await, 400);
    assert_eq!(post(Some(&secret), "[1, 2]".to_owned()).await, 200, "it can never be read, and need not come again");
    assert_eq!(post(Some(&secret), "x".repeat(2 << 20)).await, 413);
    assert_eq!(scene.pipeline.seen().texts(), [""; 0]);
    assert_eq!(post(Some(&secret), update.to_string()).await, 200);
    assert_eq!(scene.pipeline.seen().texts(), ["forged"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn going_back_to_polls_takes_what_waits() {
    let scene = Scene::new().await;
    let running = scene.start();
    scene.pipeline.until(|state| state.states.last() == Some(&PluginState::Connected)).await;
    running.stop().await.unwrap();
    scene.telegram.say(in_private(ALICE, "while nobody listens"));
    let running = Hosted::start(plugin(&scene.telegram.url(), json!({})), &scene.pipeline);
    assert!(scene.telegram.wait_for_confirmation(DEADLINE).await);
    assert_eq!(scene.telegram.webhook(), None);
    assert_eq!(scene.pipeline.seen().texts(), ["while nobody listens"]);
    running.stop().await.unwrap();
}
