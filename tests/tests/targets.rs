//! People who blocked the bot: their answers are not tried one by one, and whatever shows that they are back is believed.

use broca_core::{MessageState, ResponseState};
use broca_store::{MessageRecord, Store};
use broca_tests::{Database, Process, Rig, RigOptions, answer_in, message_in};
use serde_json::Value;

struct Stage {
    /// Before the rig, whose folder has their logs.
    _plugin: Process,
    _worker: Process,
    rig: Rig,
    store: Store,
}

const TEXTS: [&str; 3] = ["one #letta(takes=4000)", "two", "three"];

impl Stage {
    async fn set(database: Database) -> Self {
        let rig = Rig::start(RigOptions::new(database)).await;
        let store = rig.store().await;
        Self { _plugin: rig.plugin("plugin"), _worker: rig.worker("worker"), rig, store }
    }

    /// They write three times and block the bot before the first answer.
    async fn lose(&self, person: &str) -> Vec<MessageRecord> {
        for text in TEXTS {
            self.rig.platform.say(person, text);
        }
        message_in(&self.store, person, TEXTS[2], MessageState::Received).await;
        self.rig.platform.script(|script| script.blocked.extend([person.to_owned()]));
        let mut records = Vec::new();
        for text in TEXTS {
            records.push(answer_in(&self.store, person, text, ResponseState::Dead).await);
        }
        records
    }

    fn come_back(&self, person: &str) {
        self.rig.platform.script(|script| assert!(script.blocked.remove(person)));
    }

    fn dead(&self) -> Vec<Value> {
        let found: Value = serde_json::from_str(&self.rig.succeeds(&["targets", "list", "--json"])).expect("JSON");
        found["items"].as_array().expect("a list").clone()
    }

    fn asked(&self, person: &str) -> usize {
        self.rig.platform.refused().iter().filter(|refused| *refused == person).count()
    }

    /// What they got, without the header.
    fn sent(&self, person: &str) -> Vec<String> {
        let log = self.rig.platform.log().into_iter().filter(|sent| sent.user == person);
        log.map(|sent| sent.text.rsplit("] ").next().expect("there is a last").to_owned()).collect()
    }
}

/// What a text is without the agent's orders.
fn name(text: &str) -> &str {
    text.split(" #").next().unwrap_or_default()
}

/// One refusal is enough for all that waits; who writes again gets answers again, and an operator the old ones.
async fn somebody_comes_back(stage: &Stage) {
    let lost = stage.lose("cross").await;
    assert_eq!(stage.asked("cross"), 1, "the platform was asked once");
    let reasons: Vec<_> = lost.iter().map(|record| record.responses[0].reason.clone().unwrap_or_default()).collect();
    assert!(!reasons[0].contains("not sent") && reasons[1..].iter().all(|r| r.contains("not sent")), "{reasons:?}");
    assert!(lost.iter().all(|record| record.responses[0].class.as_deref() == Some("blocked")), "{lost:?}");
    let [target] = &stage.dead()[..] else { panic!("one is dead") };
    assert_eq!((&target["platform_user_id"], &target["failures"]), (&"cross".into(), &1.into()), "{target:#}");

    stage.come_back("cross");
    stage.rig.platform.say("cross", "again");
    answer_in(&stage.store, "cross", "again", ResponseState::Delivered).await;
    assert_eq!(stage.dead(), [] as [Value; 0]);
    let ids: Vec<_> = lost.iter().map(|record| record.id.to_string()).collect();
    let replay: Vec<_> = ["replay"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    stage.rig.succeeds(&replay);
    answer_in(&stage.store, "cross", TEXTS[2], ResponseState::Delivered).await;
    assert_eq!(stage.sent("cross").iter().map(|text| name(text)).collect::<Vec<_>>(), ["again", "one", "two", "three"]);
}

/// An operator who knows better says so.
async fn an_operator_says_so(stage: &Stage) {
    stage.lose("mild").await;
    stage.come_back("mild");
    let clear = |target: &str| stage.rig.run(&["targets", "clear", target]).status.code();
    assert_eq!((clear("demo/nobody"), clear("demo/mild"), clear("demo/mild")), (Some(3), Some(0), Some(3)));
    assert_eq!(stage.dead(), [] as [Value; 0]);
}

async fn every_way(database: Database) {
    let stage = Stage::set(database).await;
    somebody_comes_back(&stage).await;
    an_operator_says_so(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    every_way(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    every_way(Database::Postgres).await;
}
