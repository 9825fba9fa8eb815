//! What the bot answers by itself.

use std::sync::Arc;

use broca_core::MessageState;
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use broca_rehearsal::telegram::{BOT_NAME, Said, ScriptedTelegram, TelegramScript, in_group, in_private};
use serde_json::{Value, json};

use crate::{ALICE, BOB, DEADLINE, GROUP, plugin};

struct Scene {
    telegram: ScriptedTelegram,
    pipeline: Arc<MemoryPipeline>,
    running: Hosted,
}

impl Scene {
    async fn new(more: Value) -> Self {
        let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
        let pipeline = MemoryPipeline::new();
        let running = Hosted::start(plugin(&telegram.url(), more), &pipeline);
        Self { telegram, pipeline, running }
    }

    /// What the bot says to it.
    async fn asked(&self, said: Said) -> String {
        let before = self.telegram.log().len();
        self.telegram.say(said);
        let log = self.telegram.wait_for_log(DEADLINE, |log| log.len() > before).await;
        log[before].text.clone()
    }
}

#[tokio::test]
async fn help_and_ids_are_told() {
    let scene = Scene::new(json!({})).await;
    assert!(scene.asked(in_private(ALICE, "/start")).await.starts_with("Hello!"));
    assert!(scene.asked(in_private(ALICE, "/help")).await.contains("/cancel: take back"));
    assert_eq!(scene.asked(in_private(ALICE, "/whoami").by("alice")).await, "Your id: 7 (@alice)\nThis chat: 7");
    let group = in_group(GROUP, ALICE, &format!("/whoami@{BOT_NAME}")).in_topic(5);
    assert_eq!(scene.asked(group).await, "Your id: 7\nThis chat: -1001, topic 5");
    let last = scene.telegram.log().pop().unwrap();
    assert_eq!((last.chat_id, last.thread, last.reply_to), (GROUP, Some(5), Some(last.message_id - 1)));
    assert!(scene.asked(in_group(GROUP, ALICE, "/help")).await.contains(&format!("@{BOT_NAME}")));
    assert_eq!(scene.pipeline.seen().texts(), [""; 0], "commands are no messages");
    assert_eq!(scene.telegram.calls("setmycommands"), 1);
    scene.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_waits_is_told_and_taken_back() {
    let scene = Scene::new(json!({})).await;
    assert_eq!(scene.asked(in_private(ALICE, "/status")).await, "Nothing of yours waits.");
    for text in ["one", "two", "three"] {
        scene.telegram.say(in_private(ALICE, text));
    }
    scene.telegram.say(in_private(BOB, "not hers"));
    scene.pipeline.until(|state| state.accepted.len() == 4).await;
    let first = scene.pipeline.seen().accepted.iter().find(|message| message.incoming.text == "one").unwrap().id;
    scene.pipeline.end(first, MessageState::Processing, None);
    let status = scene.asked(in_private(ALICE, "/status")).await;
    assert!(status.starts_with("With the agent: 1.\nWaiting: 2, the oldest for "), "{status}");
    let cancelled =
        "2 messages are taken back. The agent is asked to stop what it works on; there will be no answer to it.";
    assert_eq!(scene.asked(in_private(ALICE, "/cancel")).await, cancelled);
    let waiting = scene.pipeline.seen().accepted.into_iter().filter(|message| message.state == MessageState::Received);
    assert_eq!(waiting.map(|message| message.incoming.text).collect::<Vec<_>>(), ["not hers"]);
    scene.pipeline.end(first, MessageState::Failed, None);
    let status = scene.asked(in_private(ALICE, "/status")).await;
    assert!(
        status.starts_with("Nothing of yours waits.\nYour last message that is done with was cancelled"),
        "{status}"
    );
    scene.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stranger_may_ask_for_their_id_and_nothing_else() {
    let scene = Scene::new(json!({"require_owner": true, "owner_id": ALICE})).await;
    assert_eq!(scene.asked(in_private(BOB, "/whoami")).await, "Your id: 8\nThis chat: 8");
    assert!(scene.asked(in_private(BOB, "/status")).await.contains("serves its owner alone"));
    let owner = "Your id: 7\nThis chat: 7\nYou are this bot's owner.";
    assert_eq!(scene.asked(in_private(ALICE, "/whoami")).await, owner);
    scene.running.stop().await.unwrap();
}

#[tokio::test]
async fn commands_for_other_bots_are_theirs() {
    let scene = Scene::new(json!({"groups": "all"})).await;
    scene.telegram.say(in_group(GROUP, ALICE, "/status@other_bot"));
    scene.telegram.say(in_group(GROUP, ALICE, "/weather"));
    assert!(scene.telegram.wait_for_confirmation(DEADLINE).await);
    scene.running.stop().await.unwrap();
    assert_eq!(scene.pipeline.seen().texts(), ["/weather"]);
    assert!(scene.telegram.log().is_empty());
}
