//! What `broca explain` and `broca message show` say of messages while real processes work on them.

use std::time::Duration;

use broca_core::{MessageState, ResponseState};
use broca_store::Store;
use broca_tests::{
    Database, Process, Rig, RigOptions, answer_in, documented, eventually, message_in, message_of, shape,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(40);

const LURKER: &str = r#"
[[routes]]
name = "listens"
user = "lurker"
mode = "listen"
"#;

struct Scene {
    /// Before the rig, whose folder has their logs.
    plugin: Process,
    worker: Process,
    rig: Rig,
    store: Store,
}

impl Scene {
    async fn set(database: Database) -> Self {
        // What is explained has to hold still until it is asked for, also when a busy machine starves the heartbeats.
        let options = RigOptions { lease_ttl_ms: 6_000, settings: LURKER.to_owned(), ..RigOptions::new(database) };
        let rig = Rig::start(options).await;
        let store = rig.store().await;
        Self { plugin: rig.plugin("plugin"), worker: rig.worker("worker"), rig, store }
    }

    /// What a command prints with `--json`.
    fn json(&self, args: &[&str]) -> Value {
        let text = self.rig.succeeds(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("broca {args:?}: {error}\n{text}"))
    }

    fn verdict(&self, id: &str) -> String {
        self.json(&["explain", id])["verdict"].as_str().expect("there is a verdict").to_owned()
    }

    async fn is_explained(&self, id: &str, verdict: &str) -> String {
        let mut last = String::new();
        eventually(&format!("{id} is {verdict}"), PATIENCE, || {
            last = self.verdict(id);
            let met = last == verdict;
            async move { met }
        })
        .await;
        self.rig.succeeds(&["explain", id])
    }

    /// Whoever wrote this is told of by the id of their message, once it is accepted.
    async fn says(&self, user: &str, text: &str) -> String {
        self.rig.platform.say(user, text);
        let accepted = async || message_of(&self.store, user, text).await.is_some();
        eventually(&format!("'{text}' is accepted"), PATIENCE, accepted).await;
        message_of(&self.store, user, text).await.expect("it is accepted").id.to_string()
    }

    fn kinds(&self, id: &str) -> Vec<String> {
        let shown = self.json(&["message", "show", id]);
        let journey = shown["journey"].as_array().expect("there is a journey").clone();
        journey.iter().map(|event| event["kind"].as_str().expect("a step has a kind").to_owned()).collect()
    }
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("no '{part}' after what stands before it in:\n{text}")).1;
    }
}

/// A worker thinks, another message waits behind, the worker dies, its successor ends both.
async fn a_worker_that_dies(scene: &mut Scene) {
    let id = scene.says("ann", "think #letta(takes=50000)").await;
    let behind = scene.says("ann", "and then?").await;
    let text = scene.is_explained(&id, "held_by_worker").await;
    contains(&text, &["held by worker worker", " since ", "lease of epoch 1 until ", "last heartbeat "]);
    let with_agent = async || scene.rig.succeeds(&["explain", &id]).contains("attempt 1 is with the agent for");
    eventually("the agent is asked", PATIENCE, with_agent).await;
    let text = scene.is_explained(&behind, "behind").await;
    contains(&text, &["waits behind the message before it, ", &id, "held by worker worker"]);

    let watch = scene.rig.folder().join("watch.log");
    let mut watching = scene.rig.spawn("watch", &["message", "show", &id, "--watch", "--json"], &[]);
    scene.worker.kill9();
    let text = scene.is_explained(&id, "lease_ran_out").await;
    contains(&text, &["left by worker worker", "whose lease ran out", "the sweep of any worker wakes it at"]);
    scene.worker = scene.rig.worker("successor");
    answer_in(&scene.store, "ann", "and then?", ResponseState::Delivered).await;
    let text = scene.is_explained(&id, "delivered").await;
    let receipt = &scene.rig.platform.log()[0].message_id;
    contains(&text, &["delivered at ", &format!("receipt {receipt}\n")]);

    let kinds = scene.kinds(&id);
    // Whoever confirms a publish runs beside this road.
    let road = ["accepted", "claimed", "turn_started", "run_known", "taken_over", "turn_resumed", "turn_answered"];
    let mut at = kinds.iter();
    for kind in road.into_iter().chain(["answered", "delivery_begun", "delivered"]) {
        assert!(at.any(|found| found == kind), "no {kind} in its place: {kinds:?}");
    }
    assert!(watching.wait(PATIENCE).is_some_and(|status| status.success()), "who watches is done when it is over");
    let watched = std::fs::read_to_string(watch).expect("what was watched is there");
    let lines = watched.lines().filter(|line| line.starts_with('{'));
    let mut watched: Vec<String> = lines
        .map(|line| serde_json::from_str::<Value>(line).expect("each line is an object")["kind"].to_string())
        .collect();
    let mut shown: Vec<String> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
    watched.sort();
    shown.sort();
    assert_eq!(watched, shown, "each step once");
}

async fn what_the_agent_says(scene: &Scene) {
    let id = scene.says("ben", "slow down #letta(rate_limited=600)").await;
    let text = scene.is_explained(&id, "parked").await;
    contains(&text, &["parked until ", "after rate_limited: ", "(attempt 1 of 6)", "attempt 1 failed: rate_limited"]);
    // Which steps were the last ones depends on who was quicker.
    let settled = |text: &str| {
        let mut lines = shape(text);
        lines.retain(|line| ["parked until", "failed:", "next:"].iter().any(|part| line.contains(part)));
        lines
    };
    assert_eq!(settled(&text), settled(&documented("broca explain")), "{text}");
    let behind = scene.says("ben", "still there?").await;
    let text = scene.is_explained(&behind, "behind").await;
    contains(&text, &["waits behind", &id, "parked until ", "after rate_limited"]);

    let id = scene.says("cem", "no #letta(http=400)").await;
    let text = scene.is_explained(&id, "failed").await;
    contains(&text, &["failed: rejected: ", "attempt 1 failed for good", &format!("`broca replay {id}`")]);
    let id = scene.says("dea", "hm #letta(empty)").await;
    contains(&scene.is_explained(&id, "nothing_to_say").await, &["the agent had nothing to say"]);
    let id = scene.says("lurker", "so it goes").await;
    contains(&scene.is_explained(&id, "stored").await, &["it was only listened to"]);
}

async fn what_the_platform_does(scene: &mut Scene) {
    scene.rig.platform.script(|script| script.blocked.extend(["eve".to_owned()]));
    let id = scene.says("eve", "go away").await;
    contains(&scene.is_explained(&id, "delivery_dead").await, &["cannot be delivered: blocked", "broca replay"]);

    scene.rig.platform.script(|script| script.hold_ms = 30_000);
    let id = scene.says("fay", "one").await;
    contains(&scene.is_explained(&id, "delivering").await, &["is being delivered by out-demo"]);
    let behind = scene.says("fay", "two").await;
    contains(&scene.is_explained(&behind, "answer_behind").await, &["behind the one before it in its chat", &id]);
    scene.plugin.kill9();
    contains(&scene.is_explained(&id, "delivery_cut_off").await, &["out-demo", "went silent"]);
    scene.rig.platform.script(|script| script.hold_ms = 0);
    scene.plugin = scene.rig.plugin("plugin-2");
    answer_in(&scene.store, "fay", "two", ResponseState::Delivered).await;
    assert!(scene.kinds(&id).contains(&"delivery_taken_over".to_owned()), "{:?}", scene.kinds(&id));

    let id = scene.says("gus", "later #letta(takes=5000)").await;
    assert!(scene.plugin.stop(PATIENCE).is_some_and(|status| status.success()));
    message_in(&scene.store, "gus", "later #letta(takes=5000)", MessageState::Completed).await;
    contains(&scene.is_explained(&id, "answer_queued").await, &["waits for the plugin of instance demo"]);
}

/// As it stood at each of its steps, and by less than its id.
async fn a_look_back(scene: &Scene) {
    let id = message_of(&scene.store, "ann", "and then?").await.expect("it is there").id.to_string();
    let now = scene.json(&["message", "show", &id]);
    assert_eq!(now["state"], "completed");
    let journey = now["journey"].as_array().expect("there is a journey");
    let begun = journey.iter().find(|event| event["kind"] == "turn_started").expect("a turn was started");
    let micros = begun["at"].as_i64().expect("a step has a time");
    let at = format!("1970-01-01T00:00:00.{:06}Z", 0);
    assert_eq!(scene.rig.run(&["message", "show", &id, "--at", &at]).status.code(), Some(3), "it was not there yet");
    let second = broca_core::format::rfc3339(broca_core::Timestamp(micros));
    let then = second.replace('Z', &format!(".{:06}Z", micros % 1_000_000));
    let then = scene.json(&["message", "show", &id, "--at", &then]);
    assert_eq!((&then["state"], &then["turns"][0]["state"]), (&"processing".into(), &"started".into()), "{then:#}");
    assert_eq!((then["responses"].as_array().map(Vec::len), then["as_of"].as_i64()), (Some(0), Some(micros)));
    let text = scene.rig.succeeds(&["message", "show", &id[..20], "--at", "-0s"]);
    contains(&text, &["as of", "accepted through demo as its event", "  +", "delivered, receipt "]);
    let by_event = journey[0]["detail"]["event_id"].as_str().expect("it came as an event").to_owned();
    let explained = scene.json(&["explain", "--event", &format!("demo/{by_event}")]);
    assert_eq!(explained["message_id"], id.as_str());
    for (args, code) in [
        (&["explain", "--event", "demo/nothing"][..], 3),
        (&["explain", "01900000-0000-7000-8000-000000000000"], 3),
        (&["explain", "01900000-0000"], 3),
        (&["explain"], 2),
        (&["explain", "0190"], 2),
        (&["explain", &id, "--event", "demo/1"], 2),
        (&["message", "show", &id, "--watch", "--at", "-1m"], 2),
    ] {
        assert_eq!(scene.rig.run(args).status.code(), Some(code), "{args:?}");
    }
}

async fn a_broker_that_is_away(scene: &mut Scene) {
    assert!(scene.worker.stop(PATIENCE).is_some_and(|status| status.success()));
    scene.plugin = scene.rig.plugin("plugin-3");
    let id = scene.says("hal", "anybody?").await;
    let text = scene.is_explained(&id, "queued").await;
    contains(&text, &["waiting for a worker", "broca status"]);
    scene.rig.nats.node_mut(0).kill9();
    let id = scene.says("ida", "and now?").await;
    contains(&scene.is_explained(&id, "unpublished").await, &["the broker has not confirmed its wake"]);
}

/// One after the other on one rig: each has people of its own.
async fn every_scene(database: Database) {
    let mut scene = Scene::set(database).await;
    a_worker_that_dies(&mut scene).await;
    what_the_agent_says(&scene).await;
    a_look_back(&scene).await;
    what_the_platform_does(&mut scene).await;
    a_broker_that_is_away(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    every_scene(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    every_scene(Database::Postgres).await;
}
