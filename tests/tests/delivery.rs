//! What becomes of an answer when its platform limits, fails, cuts, blocks or cannot tell, and when its plugin is away:
//! it is delivered once and in the order of its chat, or it ends in a state that says why.

use std::time::Duration;

use broca_core::{MessageState, ResponseState, envelope::Body};
use broca_rehearsal::platform::Fault;
use broca_store::Store;
use broca_tests::{
    Database, DeadLetters, Process, Rig, RigOptions, all_over, answer_in, comes_to_rest, eventually, message_in,
};

struct Stage {
    /// Before the rig, whose folder has their logs.
    plugin: Process,
    worker: Process,
    rig: Rig,
    store: Store,
}

impl Stage {
    async fn set(database: Database) -> Self {
        let rig = Rig::start(RigOptions::new(database)).await;
        let store = rig.store().await;
        Self { plugin: rig.plugin("plugin"), worker: rig.worker("worker"), rig, store }
    }

    fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.rig.platform.script(|script| script.send_faults.extend(faults));
    }

    /// What the platform got for `user`, without the header, in order.
    fn sent(&self, user: &str) -> Vec<String> {
        let log = self.rig.platform.log();
        let texts = log.into_iter().filter(|sent| sent.user == user).map(|sent| sent.text);
        texts.map(|text| text.split_once("] ").map(|(_, said)| said.to_owned()).unwrap_or(text)).collect()
    }

    async fn ends_well(mut self) {
        eventually("everything is over", Duration::from_secs(60), || all_over(&self.store)).await;
        for process in [&mut self.plugin, &mut self.worker] {
            assert!(process.has_ended().is_none(), "{} died", process.name);
        }
    }
}

/// Every passing fault in turn hits the first answer; the two behind it wait for it.
async fn a_chat_keeps_its_order_through_faults(stage: &Stage) {
    stage.faults([Fault::ServerError, Fault::RateLimited { retry_after_s: 1 }, Fault::CutBefore, Fault::CutAfter]);
    for text in ["one", "two", "three"] {
        stage.rig.platform.say("keen", text);
    }
    answer_in(&stage.store, "keen", "three", ResponseState::Delivered).await;
    assert_eq!(stage.sent("keen"), ["one", "two", "three"]);
    let first = answer_in(&stage.store, "keen", "one", ResponseState::Delivered).await.responses.remove(0);
    assert_eq!(first.attempts, 4, "{first:?}");
    let taken = first.finished_at.expect("it is over").micros() - first.created_at.micros();
    assert!(taken >= 1_000_000, "Retry-After was 1 s, and it took {taken} us");
    // The last fault cut the answer to a send that was done: the receipt was asked for, and it was not sent again.
    let receipt = first.receipt.expect("it is delivered").platform_message_ids;
    let log = stage.rig.platform.log();
    assert_eq!(receipt, [log[0].message_id.clone()]);
}

/// While one chat waits for its next attempt, another one, of the same plugin, is served.
async fn chats_do_not_wait_for_each_other(stage: &Stage) {
    stage.faults([Fault::RateLimited { retry_after_s: 8 }]);
    stage.rig.platform.say("held-up", "first");
    answer_in(&stage.store, "held-up", "first", ResponseState::Retry).await;
    stage.rig.platform.say("held-up", "second");
    message_in(&stage.store, "held-up", "second", MessageState::Completed).await;
    stage.rig.platform.say("free", "me");
    answer_in(&stage.store, "free", "me", ResponseState::Delivered).await;
    assert_eq!(stage.sent("held-up"), [""; 0], "the other chat did not wait for this one");
    answer_in(&stage.store, "held-up", "second", ResponseState::Delivered).await;
    assert_eq!(stage.sent("held-up"), ["first", "second"]);
}

/// Undeliverable answers are dead letters; the message itself stays answered, and the chat goes on.
async fn what_cannot_be_delivered_is_a_dead_letter(stage: &Stage, dead_letters: &mut DeadLetters) {
    stage.rig.platform.script(|script| script.blocked.extend(["angry".to_owned()]));
    stage.rig.platform.say("angry", "go away");
    let dead = answer_in(&stage.store, "angry", "go away", ResponseState::Dead).await;
    let response = &dead.responses[0];
    assert_eq!(
        (dead.state, response.attempts, response.class.as_deref()),
        (MessageState::Completed, 1, Some("blocked"))
    );
    let (subject, letter) = dead_letters.next().await;
    assert_eq!(subject, format!("broca.dlq.delivery.demo.{}", dead.id));
    assert_eq!(letter.text.as_deref(), Some(response.text.as_str()), "the answer that was not delivered");
    assert!(matches!(&letter.body, Body::DeadLetter { stage, attempts: 1, .. } if stage == "delivery"), "{letter:?}");
    stage.rig.platform.script(|script| script.blocked.clear());
    stage.rig.platform.say("angry", "sorry");
    answer_in(&stage.store, "angry", "sorry", ResponseState::Delivered).await;
    assert_eq!(stage.sent("angry"), ["sorry"]);

    stage.faults([Fault::ServerError; 6]);
    stage.rig.platform.say("unlucky", "never");
    let dead = answer_in(&stage.store, "unlucky", "never", ResponseState::Dead).await;
    let response = &dead.responses[0];
    assert_eq!((response.attempts, response.class.as_deref()), (6, Some("unavailable")));
    assert!(response.reason.as_ref().is_some_and(|r| r.contains("all 6 attempts failed")), "{response:?}");
    let (_, letter) = dead_letters.next().await;
    assert!(matches!(letter.body, Body::DeadLetter { attempts: 6, .. }), "{letter:?}");
}

/// The platform may have it and nobody can ask: never sent again, also by the next plugin process.
async fn what_is_unknown_is_not_sent_again(stage: &mut Stage) {
    stage.rig.platform.script(|script| script.receipts_away = true);
    for (text, fault) in [("it has", Fault::CutAfter), ("it has not", Fault::CutBefore)] {
        stage.faults([fault]);
        stage.rig.platform.say("doubtful", text);
        let unknown = answer_in(&stage.store, "doubtful", text, ResponseState::Unknown).await;
        let response = &unknown.responses[0];
        assert_eq!((unknown.state, response.attempts), (MessageState::Completed, 1), "{response:?}");
        assert!(response.reason.as_ref().is_some_and(|r| r.contains("did not say whether it has")), "{response:?}");
    }
    stage.rig.platform.script(|script| script.receipts_away = false);
    assert!(stage.plugin.stop(Duration::from_secs(20)).is_some_and(|status| status.success()));
    stage.plugin = stage.rig.plugin("plugin");
    stage.rig.platform.say("doubtful", "and then");
    answer_in(&stage.store, "doubtful", "and then", ResponseState::Delivered).await;
    eventually("nothing is open", Duration::from_secs(60), || all_over(&stage.store)).await;
    assert_eq!(stage.sent("doubtful"), ["it has", "and then"]);
}

/// Answers of a plugin that is not there wait for it, and a killed one's are settled by its successor.
async fn a_plugin_that_comes_back_delivers(stage: &mut Stage) {
    let texts = ["a", "b", "c"].map(|name| format!("{name} #letta(takes=1000)"));
    for text in &texts {
        stage.rig.platform.say("waiting", text);
        stage.rig.platform.say_in("group", "waiting", &format!("group {text}"));
    }
    message_in(&stage.store, "waiting", &format!("group {}", texts[2]), MessageState::Received).await;
    assert!(stage.plugin.stop(Duration::from_secs(20)).is_some_and(|status| status.success()));
    let before = stage.sent("waiting").len();
    message_in(&stage.store, "waiting", &texts[2], MessageState::Completed).await;
    message_in(&stage.store, "waiting", &format!("group {}", texts[2]), MessageState::Completed).await;
    assert_eq!(stage.sent("waiting").len(), before, "nobody was there to send it");

    // The next one is killed with a send under way that the platform has written down.
    stage.rig.platform.script(|script| script.hold_ms = 30_000);
    let mut killed = stage.rig.plugin("killed");
    stage.rig.platform.wait_for_sends(stage.rig.platform.log().len() + 1, Duration::from_secs(20)).await;
    killed.kill9();
    stage.rig.platform.script(|script| script.hold_ms = 0);
    stage.plugin = stage.rig.plugin("plugin");
    answer_in(&stage.store, "waiting", &texts[2], ResponseState::Delivered).await;
    answer_in(&stage.store, "waiting", &format!("group {}", texts[2]), ResponseState::Delivered).await;
    let (group, own): (Vec<_>, Vec<_>) = stage.sent("waiting").into_iter().partition(|text| text.starts_with("group"));
    assert_eq!(own, texts);
    assert_eq!(group, texts.map(|text| format!("group {text}")));
}

/// One after the other on one rig: each has people of its own.
async fn every_fault(database: Database) {
    let mut stage = Stage::set(database).await;
    let mut dead_letters = DeadLetters::open(&stage.rig).await;
    a_chat_keeps_its_order_through_faults(&stage).await;
    chats_do_not_wait_for_each_other(&stage).await;
    what_cannot_be_delivered_is_a_dead_letter(&stage, &mut dead_letters).await;
    what_is_unknown_is_not_sent_again(&mut stage).await;
    // Before the kill: what a killed process had in hand stays there for the consumer's ack_wait.
    comes_to_rest(&stage.store, &stage.rig.bus().await, &["demo"]).await;
    a_plugin_that_comes_back_delivers(&mut stage).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    every_fault(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    every_fault(Database::Postgres).await;
}
