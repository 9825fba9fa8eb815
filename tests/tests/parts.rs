//! An answer that its platform takes in several messages: each part is sent once and in order, whatever fails between
//! two of them, and a receipt names them all.

use std::time::Duration;

use broca_core::ResponseState;
use broca_rehearsal::platform::{Delivery, Fault};
use broca_store::{MessageRecord, Store};
use broca_tests::{Database, Process, Rig, RigOptions, Verdict, answer_in};

const PATIENCE: Duration = Duration::from_secs(20);
/// The answer repeats it behind a header: at ten characters a message, it takes about a dozen of them.
const LONG: &str = "-m1 all that could be said of it, and then some more, and still it is not the end of it";

struct Stage {
    /// Before the rig, whose folder has their logs.
    plugin: Process,
    _worker: Process,
    rig: Rig,
    store: Store,
}

impl Stage {
    async fn set(database: Database) -> Self {
        let rig = Rig::start(RigOptions { max_text_chars: Some(10), ..RigOptions::new(database) }).await;
        let store = rig.store().await;
        Self { plugin: rig.plugin("plugin"), _worker: rig.worker("worker"), rig, store }
    }

    fn say(&self, person: &str) -> String {
        let text = format!("{person}{LONG}");
        self.rig.platform.say(person, &text);
        text
    }

    fn sent(&self, person: &str) -> Vec<Delivery> {
        self.rig.platform.log().into_iter().filter(|sent| sent.user == person).collect()
    }

    /// The answer came whole and once, and its receipt names what the platform has.
    fn is_whole(&self, person: &str, text: &str, record: &MessageRecord) {
        let (sent, answer) = (self.sent(person), &record.responses[0]);
        let ids: Vec<_> = sent.iter().map(|part| part.message_id.clone()).collect();
        assert_eq!(answer.receipt.as_ref().expect("it is delivered").platform_message_ids, ids);
        assert_eq!(sent.iter().map(|part| part.text.as_str()).collect::<String>(), answer.text);
        assert!(sent.len() > 9 && answer.text.ends_with(text), "{}", answer.text);
    }
}

/// More failures than there are attempts, each after a part: whoever gets on may go on.
async fn a_failure_between_two_parts(stage: &Stage) {
    let faults = [Fault::None, Fault::ServerError, Fault::None, Fault::CutAfter, Fault::CutBefore];
    stage
        .rig
        .platform
        .script(|script| script.send_faults.extend(faults.into_iter().chain([Fault::None]).cycle().take(30)));
    let text = stage.say("slow");
    let record = answer_in(&stage.store, "slow", &text, ResponseState::Delivered).await;
    stage.rig.platform.script(|script| script.send_faults.clear());
    stage.is_whole("slow", &text, &record);
    assert!(record.responses[0].attempts > 6, "the budget is six: {:?}", record.responses[0]);
}

/// The platform has a part of which nothing is recorded; the successor hears of it and goes on behind it.
async fn a_plugin_killed_between_two_parts(stage: &mut Stage) {
    stage.rig.platform.script(|script| script.send_faults.extend([Fault::None; 3]));
    let text = stage.say("cut");
    let before = stage.rig.platform.log().len();
    stage.rig.platform.wait_for_sends(before + 2, PATIENCE).await;
    stage.rig.platform.script(|script| script.hold_ms = 30_000);
    stage.rig.platform.wait_for_sends(stage.rig.platform.log().len() + 1, PATIENCE).await;
    stage.plugin.kill9();
    stage.rig.platform.script(|script| script.hold_ms = 0);
    stage.plugin = stage.rig.plugin("successor");
    let record = answer_in(&stage.store, "cut", &text, ResponseState::Delivered).await;
    stage.is_whole("cut", &text, &record);
}

/// Nobody can say whether the platform has the part that was cut off. What an operator sends again is that part and
/// what is behind it, not what is on record.
async fn a_part_in_doubt(stage: &Stage) {
    stage.rig.platform.script(|script| {
        script.receipts_away = true;
        script.send_faults.extend([Fault::None, Fault::None, Fault::CutBefore]);
    });
    let text = stage.say("doubt");
    let unknown = answer_in(&stage.store, "doubt", &text, ResponseState::Unknown).await;
    stage.rig.platform.script(|script| script.receipts_away = false);
    assert_eq!((unknown.responses[0].parts.len(), stage.sent("doubt").len()), (2, 2));
    stage.rig.succeeds(&["replay", &unknown.id.to_string(), "--stage", "delivery"]);
    let record = answer_in(&stage.store, "doubt", &text, ResponseState::Delivered).await;
    stage.is_whole("doubt", &text, &record);
}

async fn every_way(database: Database) {
    let mut stage = Stage::set(database).await;
    a_failure_between_two_parts(&stage).await;
    a_plugin_killed_between_two_parts(&mut stage).await;
    a_part_in_doubt(&stage).await;
    let said: Vec<_> = ["slow", "cut", "doubt"].map(|person| (person.to_owned(), format!("{person}{LONG}"))).into();
    let verdict = Verdict::of(&stage.rig, &said);
    assert!(verdict.is_clean(), "{verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    every_way(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    every_way(Database::Postgres).await;
}
