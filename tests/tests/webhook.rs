//! The webhook plugin with the real binary: a signed message comes back as a signed answer, a chat request gets its
//! answer in the reply, and neither is lost or doubled when the plugin is killed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use broca_plugin_webhook::Signer;
use broca_tests::{Database, Process, Rig, RigOptions, eventually};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const KEY: &str = "a-key-of-the-front-desk";
const PATIENCE: Duration = Duration::from_secs(30);

/// What the receiver got, by `webhook-id`: how often, and the body.
type Received = Arc<Mutex<BTreeMap<String, (usize, Value)>>>;

async fn receiver() -> (Received, String) {
    async fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        let mut received = received.lock().unwrap();
        let entry = received.entry(id).or_insert((0, serde_json::from_slice(&body).unwrap()));
        entry.0 += 1;
    }
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(take)).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (received, url)
}

struct Scene {
    plugin: Process,
    _worker: Process,
    rig: Rig,
    received: Received,
    url: String,
    http: Client,
}

impl Scene {
    async fn set(database: Database) -> Self {
        let (received, receiver) = receiver().await;
        // Taken and given back: the plugin listens there in a moment, and again after it was killed.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let settings = format!(
            r#"[plugins.webhook.settings]
listen = "{free}"
incoming = {{ secrets = ["{SECRET}"] }}
outgoing = {{ url = "{receiver}", secret = "{SECRET}" }}
chat = {{ keys = {{ desk = {{ key = "{KEY}" }} }} }}
"#
        );
        let rig = Rig::start(RigOptions { settings, ..RigOptions::new(database) }).await;
        let plugin = rig.spawn("webhook", &["plugin", "run", "webhook"], &[]);
        let worker = rig.worker("worker");
        let scene = Self { plugin, _worker: worker, rig, received, url: format!("http://{free}"), http: Client::new() };
        scene.is_up().await;
        scene
    }

    async fn is_up(&self) {
        let health = format!("{}/healthz", self.url);
        let up = || async { self.http.get(&health).send().await.is_ok_and(|reply| reply.status() == StatusCode::OK) };
        eventually("the plugin listens", PATIENCE, up).await;
    }

    async fn webhook(&self, id: &str, text: &str) -> StatusCode {
        let body = json!({"user": "alice", "text": text}).to_string();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let signature = Signer::new(SECRET).unwrap().sign(id, i64::try_from(now).unwrap(), body.as_bytes());
        let request = self.http.post(format!("{}/v1/messages", self.url)).header("webhook-id", id);
        let request = request.header("webhook-timestamp", now).header("webhook-signature", signature);
        request.body(body).send().await.map_or(StatusCode::SERVICE_UNAVAILABLE, |reply| reply.status())
    }

    async fn chat(&self, key: &str, text: &str) -> reqwest::Result<Value> {
        let request = self.http.post(format!("{}/v1/chat", self.url)).bearer_auth(KEY).header("idempotency-key", key);
        request.json(&json!({"user": "bob", "text": text, "wait_s": 30})).send().await?.json().await
    }

    /// What people were answered, without the agent's header.
    fn answers(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        let mut texts: Vec<String> =
            received.values().map(|(_, body)| body["data"]["text"].as_str().unwrap().to_owned()).collect();
        texts.sort();
        texts
    }
}

async fn every_road_works_and_survives_a_kill(database: Database) {
    let mut scene = Scene::set(database).await;
    assert_eq!(scene.webhook("msg_1", "one").await, StatusCode::ACCEPTED);
    assert_eq!(scene.webhook("msg_1", "one").await, StatusCode::ACCEPTED);
    let reply = scene.chat("k1", "hello").await.unwrap();
    assert_eq!(reply["state"], "completed");
    assert!(reply["answer"].as_str().unwrap().contains("hello"), "{reply}");

    // Killed with messages on their way, whose senders say them again until they are told that they are taken.
    assert_eq!(scene.webhook("msg_2", "two").await, StatusCode::ACCEPTED);
    scene.plugin.kill9();
    assert_ne!(scene.webhook("msg_3", "three").await, StatusCode::ACCEPTED);
    scene.plugin = scene.rig.spawn("webhook", &["plugin", "run", "webhook"], &[]);
    scene.is_up().await;
    assert_eq!(scene.webhook("msg_3", "three").await, StatusCode::ACCEPTED);
    let again = scene.chat("k1", "hello").await.unwrap();
    assert_eq!((&again["message_id"], &again["answer"]), (&reply["message_id"], &reply["answer"]));

    eventually("all three are answered", PATIENCE, || async { scene.answers().len() == 3 }).await;
    for (answer, text) in scene.answers().iter().zip(["one", "three", "two"]) {
        assert!(answer.contains(text), "{answer} is not about {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    every_road_works_and_survives_a_kill(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    every_road_works_and_survives_a_kill(Database::Postgres).await;
}
