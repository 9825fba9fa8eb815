//! The web chat with the real binary. Pages talk to the server, and to a bridge that is another Broca's; the plugins are
//! killed in mid-flight: nobody's message is lost or asked twice, nobody's answer is lost or shown twice.

use std::{collections::BTreeMap, time::Duration};

use broca_pipeline::crash::CrashPoint;
use broca_tests::{Database, Process, Rig, RigOptions, eventually};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const API_KEY: &str = "api_h8hcbfg4uiqfz6sjy1h6ri";
const ADMIN_KEY: &str = "admin_free0ps_and_more";
const PATIENCE: Duration = Duration::from_secs(60);

async fn free_address() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A page: it sends each message under its own id until it is taken.
#[derive(Clone)]
struct Page {
    url: String,
    session: String,
    http: Client,
}

impl Page {
    fn new(address: std::net::SocketAddr, session: &str) -> Self {
        Self { url: format!("http://{address}/api/v1/"), session: session.to_owned(), http: Client::new() }
    }

    async fn is_taken(&self, text: &str) -> bool {
        let body = json!({"session_id": self.session, "message": text, "client_message_id": text});
        let request = self.http.post(format!("{}?action=messages", self.url)).json(&body);
        request.send().await.is_ok_and(|reply| reply.status() == StatusCode::OK)
    }

    async fn say(&self, text: &str) {
        eventually("the message is taken", PATIENCE, || self.is_taken(text)).await;
    }

    async fn answers(&self) -> Vec<String> {
        let url = format!("{}?action=responses&session_id={}", self.url, self.session);
        let Ok(reply) = self.http.get(url).send().await else { return Vec::new() };
        let Ok(reply) = reply.json::<Value>().await else { return Vec::new() };
        let responses = reply["data"]["responses"].as_array().cloned().unwrap_or_default();
        responses.iter().map(|response| response["response"].as_str().unwrap().to_owned()).collect()
    }
}

/// How often each text is answered: an answer of the scripted agent has its message's text in it.
fn count(answers: &[String], said: &[String]) -> BTreeMap<String, usize> {
    said.iter()
        .map(|text| {
            (text.clone(), answers.iter().filter(|answer| answer.split_whitespace().any(|word| word == text)).count())
        })
        .collect()
}

async fn each_is_answered_once(page: &Page, said: &[String]) {
    eventually("every message is answered", PATIENCE, || async { page.answers().await.len() >= said.len() }).await;
    let counted = count(&page.answers().await, said);
    assert!(counted.values().all(|times| *times == 1), "{counted:?}");
}

fn settings(server: std::net::SocketAddr) -> String {
    format!(
        r#"[plugins.webchat.settings]
mode = "server"
[plugins.webchat.settings.server]
listen = "{server}"
api_key = "{API_KEY}"
admin_key = "{ADMIN_KEY}"
per_minute = {{ public = 100000, session = 1000, admin = 10000, plugin = 10000 }}
"#
    )
}

fn run(rig: &Rig, instance: &str) -> Process {
    rig.spawn(instance, &["plugin", "run", instance], &[])
}

/// While an agent works, the pages of the session are told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_told_that_an_agent_works() {
    let address = free_address().await;
    let mut options = RigOptions { settings: settings(address), ..RigOptions::new(Database::Sqlite) };
    (options.letta.min_ms, options.letta.max_ms) = (5_000, 5_000);
    let rig = Rig::start(options).await;
    let (_worker, _plugin) = (rig.worker("worker"), run(&rig, "webchat"));
    let page = Page::new(address, "session_mdwj6vj5_okiiczierw");
    page.say("hello").await;
    let url = format!("{}?action=stream&session_id={}", page.url, page.session);
    let mut stream = page.http.get(url).send().await.unwrap();
    let mut read = String::new();
    let told = async {
        while !read.contains("event: response") {
            read.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().expect("it goes on")).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it is answered");
    let typing = read.find("event: typing").unwrap_or_else(|| panic!("not told: {read}"));
    assert!(typing < read.find("event: response").expect("it is there"), "{read}");
    assert!(read.contains(r#""kind":"answer""#), "{read}");
}

async fn the_server_is_killed_in_mid_flight(database: Database) {
    let address = free_address().await;
    let rig = Rig::start(RigOptions { settings: settings(address), ..RigOptions::new(database) }).await;
    let _worker = rig.worker("worker");
    let mut plugin = run(&rig, "webchat");
    let page = Page::new(address, "session_mdwj6vj5_okiiczierw");
    let said: Vec<String> = (0..12).map(|number| format!("m{number:02}")).collect();
    for (at, text) in said.iter().enumerate() {
        page.say(text).await;
        if at % 4 == 2 {
            plugin.kill9();
            assert!(!page.is_taken("nobody").await);
            plugin = run(&rig, "webchat");
        }
    }
    each_is_answered_once(&page, &said).await;
    // Answered while nobody listened, and there after one more death.
    plugin.kill9();
    plugin = run(&rig, "webchat");
    each_is_answered_once(&page, &said).await;
    drop(plugin);
    eventually("nothing is amiss", PATIENCE, || async { rig.is_sound().is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    the_server_is_killed_in_mid_flight(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    the_server_is_killed_in_mid_flight(Database::Postgres).await;
}

/// The bridge is this plugin as a server, whose route only listens; a second instance fetches from it as a client.
fn with_bridge(address: std::net::SocketAddr) -> RigOptions {
    let more = format!(
        r#"[plugins.visitors]
plugin = "webchat"
[plugins.visitors.settings]
mode = "client"
[plugins.visitors.settings.client]
api_url = "http://{address}"
api_key = "{API_KEY}"
admin_key = "{ADMIN_KEY}"
poll_interval_s = 1
[[routes]]
name = "bridge"
instance = "webchat"
mode = "listen"
"#
    );
    RigOptions { settings: settings(address) + &more, ..RigOptions::new(Database::Sqlite) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_killed_in_mid_flight() {
    let address = free_address().await;
    let rig = Rig::start(with_bridge(address)).await;
    let _worker = rig.worker("worker");
    let mut bridge = run(&rig, "webchat");
    let mut client = run(&rig, "visitors");
    let page = Page::new(address, "session_mdwj6vj5_okiiczierw");
    let said: Vec<String> = (0..12).map(|number| format!("m{number:02}")).collect();
    for (at, text) in said.iter().enumerate() {
        page.say(text).await;
        if at % 3 == 1 {
            client.kill9();
            client = run(&rig, "visitors");
        }
        if at == 6 {
            bridge.kill9();
            bridge = run(&rig, "webchat");
        }
    }
    each_is_answered_once(&page, &said).await;
    drop((client, bridge));
}

/// Where a plugin process may end between two durable points.
const POINTS: [CrashPoint; 4] =
    [CrashPoint::Ingested, CrashPoint::DeliveryBegun, CrashPoint::PlatformSent, CrashPoint::DeliveryFinished];

async fn ends_at_each_point(instance: &str, options: impl Fn(std::net::SocketAddr) -> RigOptions) {
    for point in POINTS {
        let address = free_address().await;
        let rig = Rig::start(options(address)).await;
        let _worker = rig.worker("worker");
        let marker = rig.folder().join("crashed");
        let env = [("BROCA_CRASH_AT", point.name()), ("BROCA_CRASH_ONCE", marker.to_str().unwrap())];
        let mut plugin = rig.spawn(instance, &["plugin", "run", instance], &env);
        let other = (instance != "webchat").then(|| run(&rig, "webchat"));
        let page = Page::new(address, "session_mdwj6vj5_okiiczierw");
        let said: Vec<String> = (0..3).map(|number| format!("m{number:02}")).collect();
        let mut taken = 0;
        eventually(&format!("every message is answered after an end at {}", point.name()), PATIENCE, || {
            if plugin.has_ended().is_some() {
                plugin = run(&rig, instance);
            }
            let (page, said) = (page.clone(), said.clone());
            let next = said.get(taken).cloned();
            let answered = async move {
                match next {
                    Some(text) => (page.is_taken(&text).await, false),
                    None => (false, page.answers().await.len() >= said.len()),
                }
            };
            let (took, done) = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(answered));
            taken += usize::from(took);
            async move { done }
        })
        .await;
        assert!(marker.exists(), "nothing came to {}", point.name());
        eventually("nothing is amiss", PATIENCE, || async { rig.is_sound().is_ok() }).await;
        each_is_answered_once(&page, &said).await;
        drop((plugin, other));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_ends_at_each_point() {
    ends_at_each_point("webchat", |address| RigOptions {
        settings: settings(address),
        ..RigOptions::new(Database::Sqlite)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_ends_at_each_point() {
    ends_at_each_point("visitors", with_bridge).await;
}

/// The broker is away for a while: the page is told that its message is taken, because the database has it.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_messages_are_taken() {
    let address = free_address().await;
    let mut rig = Rig::start(RigOptions { settings: settings(address), ..RigOptions::new(Database::Sqlite) }).await;
    let _worker = rig.worker("worker");
    let _plugin = run(&rig, "webchat");
    let page = Page::new(address, "session_mdwj6vj5_okiiczierw");
    page.say("before").await;
    rig.nats.node_mut(0).kill9();
    page.say("meanwhile").await;
    rig.nats.node_mut(0).restart();
    each_is_answered_once(&page, &["before".to_owned(), "meanwhile".to_owned()]).await;
}
