//! What happens is told across processes, to whoever listens; and people see that an answer is on its way.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use broca_core::{
    AttachmentPolicy, DeliveryError, Event, EventType, Limits, MessageId, Profile, Receipt, Response, route::Routes,
};
use broca_pipeline::{commands::CommandOptions, deliver::DeliveryOptions, events::EventOptions, plugin::PluginDeps};
use broca_plugin::{
    Blueprint, Capabilities, Context, Listen, Manifest, Parts, Plugin, PluginError, PluginState, SettingsSchema, Typing,
};
use broca_rehearsal::telegram::{ScriptedTelegram, TOKEN, TelegramScript, in_private};
use broca_tests::{Database, Process, Rig, RigOptions, eventually};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a command that follows the events wrote so far.
fn told(follower: &Process) -> Vec<Value> {
    follower.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_sees_a_message_on_its_way() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let follower = rig.spawn("follower", &["events", "--follow", "--json"], &[]);
    let states = rig.spawn("states", &["events", "--follow", "--type", "status", "--instance", "demo"], &[]);
    let bus = rig.bus().await;
    // Both listen by now when both hear the same.
    eventually("they listen", PATIENCE, || async {
        bus.announce(
            "broca.events.status.demo".into(),
            br#"{"v":1,"type":"status","instance":"demo","at":1,"data":{}}"#.to_vec(),
        )
        .await
        .expect("NATS is there");
        !told(&follower).is_empty() && states.output().contains("status")
    })
    .await;
    let mut plugin = rig.plugin("plugin");
    let _worker = rig.worker("worker");
    rig.platform.say("ann", "hello #letta(takes=200)");
    rig.platform.say("ben", "no #letta(http=400)");
    let seen = |user: &str| -> BTreeSet<String> {
        let events = told(&follower).into_iter().filter(|event| event["data"]["platform_user_id"] == user);
        let word =
            |event: Value| event["data"]["answer"].as_str().or(event["data"]["state"].as_str()).map(str::to_owned);
        events.filter_map(word).collect()
    };
    eventually("all is told", PATIENCE, || async { seen("ann").len() >= 4 && seen("ben").len() >= 3 }).await;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(seen("ann"), words(&["received", "processing", "completed", "delivered"]));
    assert_eq!(seen("ben"), words(&["received", "processing", "failed"]));
    let all = told(&follower);
    let failed = all.iter().find(|event| event["data"]["state"] == "failed").expect("it is told");
    assert!(failed["data"]["reason"].as_str().unwrap().contains("400"), "{failed}");
    assert!(all.iter().any(|event| event["type"] == "status" && event["data"]["state"] == "connected"), "{all:?}");
    assert!(all.iter().all(|event| !event.to_string().contains("hello")), "an event has a text");

    plugin.stop(PATIENCE);
    eventually("its end is told", PATIENCE, || async { states.output().contains("state=stopped") }).await;
    assert!(!states.output().contains("processing"), "{}", states.output());
    let before = told(&follower).len();
    let mut silent = rig.spawn("silent", &["plugin", "run", "demo"], &[("BROCA_EVENTS__ENABLED", "false")]);
    eventually("it runs", PATIENCE, || async { silent.output().contains("Connected") }).await;
    silent.stop(PATIENCE);
    assert_eq!(told(&follower).len(), before, "it was told to be silent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_is_seen_typing_while_its_agent_works() {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.expect("a free port");
    let settings = format!(
        "[plugins.telegram.settings]\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\nrequire_owner = false\n",
        telegram.url()
    );
    let rig = Rig::start(RigOptions { settings, ..RigOptions::new(Database::Sqlite) }).await;
    let _processes = [rig.worker("worker"), rig.spawn("telegram", &["plugin", "run", "telegram"], &[])];
    telegram.say(in_private(7, "quick"));
    telegram.wait_for_log(PATIENCE, |log| log.len() == 1).await;
    telegram.say(in_private(8, "slow #letta(takes=6000)"));
    assert!(telegram.wait_for_typing(2, PATIENCE).await, "typing is shown, and again: {:?}", telegram.typing());
    assert_eq!(telegram.log().len(), 1, "before there is an answer");
    telegram.wait_for_log(PATIENCE, |log| log.len() == 2).await;
    assert!(telegram.typing().iter().all(|(chat, _)| *chat == 8), "{:?}", telegram.typing());
}

/// Tells that it is there, and remembers what it hears.
#[derive(Debug)]
struct Gossip {
    wants: Vec<Listen>,
    heard: Mutex<Vec<Event>>,
    typing: Mutex<Vec<Typing>>,
}

#[async_trait]
impl Plugin for Gossip {
    fn manifest(&self) -> Manifest {
        manifest()
    }

    async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        ctx.report(PluginState::Connected);
        let mut again = tokio::time::interval(Duration::from_millis(100));
        while ctx.shutdown.run_until_cancelled(again.tick()).await.is_some() {
            ctx.emit(EventType::own("x-here").expect("a type"), json!({"is": ctx.instance.as_str()}));
        }
        Ok(())
    }

    async fn deliver(&self, _: &Response, _: &Profile, _: MessageId, _: &Parts) -> Result<Receipt, DeliveryError> {
        Ok(Receipt::default())
    }

    fn listens(&self) -> Vec<Listen> {
        self.wants.clone()
    }

    async fn on_event(&self, event: &Event) {
        self.heard.lock().expect("nobody panics with it").push(event.clone());
        assert_ne!(event.data["is"], "panic", "on purpose");
    }

    async fn typing(&self, typing: &Typing) {
        self.typing.lock().expect("nobody panics with it").push(typing.clone());
    }
}

fn manifest() -> Manifest {
    let capabilities = Capabilities { typing: true, ..Capabilities::default() };
    Manifest { capabilities, ..Manifest::new("gossip", "1") }
}

/// Runs it as a process of its own would be: with a connection of its own.
async fn host(rig: &Rig, instance: &str, wants: Vec<Listen>, shutdown: &CancellationToken) -> Arc<Gossip> {
    let plugin = Arc::new(Gossip { wants, heard: Mutex::default(), typing: Mutex::default() });
    let built = plugin.clone();
    let deps = PluginDeps {
        commands: CommandOptions::default(),
        store: rig.store().await,
        bus: rig.bus().await,
        blueprint: Blueprint::with_schema(manifest(), SettingsSchema::none(), move |_| Ok(built.clone())),
        settings: json!({}),
        instance: instance.parse().expect("a name"),
        routes: Arc::new(Routes::default()),
        limits: Limits::default(),
        attachments: AttachmentPolicy::default(),
        options: DeliveryOptions::default(),
        events: EventOptions::default(),
        access: broca_pipeline::admission::AccessOptions::default(),
        settled: CancellationToken::new(),
    };
    tokio::spawn(broca_pipeline::plugin::run(deps, shutdown.clone()));
    plugin
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_hear_what_they_listen_to() {
    let rig = Rig::start(RigOptions { instances: 2, ..RigOptions::new(Database::Sqlite) }).await;
    let shutdown = CancellationToken::new();
    let here = EventType::own("x-here").expect("a type");
    let wants = vec![Listen::everybody(here.clone()), Listen::own(EventType::Message)];
    let everybody = host(&rig, "demo", wants, &shutdown).await;
    let own = host(&rig, "demo-2", vec![Listen::own(here)], &shutdown).await;
    let heard = |plugin: &Gossip| -> BTreeSet<String> {
        let heard = plugin.heard.lock().expect("nobody panics with it");
        heard.iter().map(|event| format!("{} {}", event.kind, event.instance)).collect()
    };
    let bus = rig.bus().await;
    let say = async |subject: &str, event: Value| {
        bus.announce(subject.to_owned(), event.to_string().into_bytes()).await.expect("NATS is there");
    };
    eventually("they hear one another", PATIENCE, || async { heard(&everybody).len() >= 2 && !heard(&own).is_empty() })
        .await;
    let event = |kind: &str, instance: &str, data: Value| json!({"v": 1, "type": kind, "instance": instance, "at": 1, "data": data});
    // A panic costs one event; what claims to be another's, is of another type or no event at all is not handed on.
    say("broca.events.x-here.demo", event("x-here", "demo", json!({"is": "panic"}))).await;
    say("broca.events.message.demo", event("message", "demo-2", json!({"is": "forged"}))).await;
    say("broca.events.message.demo-2", event("message", "demo-2", json!({}))).await;
    say("broca.events.message.demo", json!({"no": "event"})).await;
    say("broca.events.message.demo", event("message", "demo", json!({"is": "last"}))).await;
    eventually("the last one is heard", PATIENCE, || async { heard(&everybody).contains("message demo") }).await;
    let all = ["message demo", "x-here demo", "x-here demo-2"].map(str::to_owned);
    assert_eq!(heard(&everybody), all.into());
    assert_eq!(heard(&own), ["x-here demo-2".to_owned()].into());
    let typing = Typing { message_id: MessageId::new(), chat_id: None, platform_user_id: "ann".into() };
    say("broca.typing.demo", serde_json::to_value(&typing).expect("it has a JSON form")).await;
    eventually("who waits is told", PATIENCE, || async { *everybody.typing.lock().expect("fine") == [typing.clone()] })
        .await;
    assert!(own.typing.lock().expect("fine").is_empty());
    shutdown.cancel();
}
