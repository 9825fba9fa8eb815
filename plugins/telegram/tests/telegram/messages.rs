//! What people write, as the pipeline gets it.

use std::sync::Arc;

use broca_core::{Claim, access::Reason};
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use broca_rehearsal::telegram::{BOT_ID, BOT_NAME, Said, ScriptedTelegram, TelegramScript, in_group, in_private};
use serde_json::{Value, json};

use crate::{ALICE, BOB, DEADLINE, GROUP, plugin};

/// What the pipeline has once all of it is confirmed.
async fn reported(more: Value, said: impl IntoIterator<Item = Said>) -> Arc<MemoryPipeline> {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
    let pipeline = MemoryPipeline::new();
    for said in said {
        telegram.say(said);
    }
    let running = Hosted::start(plugin(&telegram.url(), more), &pipeline);
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    running.stop().await.unwrap();
    pipeline
}

#[tokio::test]
async fn a_message_is_reported_with_who_wrote_it_and_where() {
    let topic = in_group(GROUP, BOB, &format!("hi @{BOT_NAME}")).in_topic(5);
    let pipeline = reported(json!({}), [in_private(ALICE, "hello").by("alice"), topic]).await;
    let accepted = pipeline.seen().accepted.clone();
    let (private, group) = (&accepted[0].incoming, &accepted[1].incoming);
    assert_eq!((private.text.as_str(), private.chat_id.as_deref(), private.is_group), ("hello", None, false));
    assert_eq!((private.sender.platform_user_id.as_str(), private.sender.username.as_deref()), ("7", Some("alice")));
    assert_eq!(private.sender.display_name.as_deref(), Some("Person 7"));
    assert_eq!(private.sender.metadata, json!({"language": "en"}));
    assert_eq!(private.attributes, json!({"message_id": 1}));
    assert_eq!(private.event_id, format!("{BOT_ID}/1000/1"));
    assert_eq!((group.chat_id.as_deref(), group.is_group), (Some("-1001/5"), true));
}

#[tokio::test]
async fn in_a_group_only_what_is_said_to_the_bot_is_reported() {
    let said = || {
        [
            in_group(GROUP, ALICE, "good morning all"),
            in_group(GROUP, ALICE, &format!("@{BOT_NAME} good morning")),
            in_group(GROUP, ALICE, "yes").to_the_bot(9),
            in_group(GROUP, ALICE, "/weather"),
        ]
    };
    let addressed = reported(json!({}), said()).await.seen();
    assert_eq!(addressed.texts(), [&format!("@{BOT_NAME} good morning"), "yes"]);
    assert_eq!(reported(json!({"groups": "all"}), said()).await.seen().texts().len(), 4);
    assert_eq!(reported(json!({"groups": "off"}), said()).await.seen().texts(), [""; 0]);
}

#[tokio::test]
async fn pictures_and_files_are_told_in_words_and_by_their_ids() {
    let photo = json!({"text": null, "caption": "look", "photo": [{"file_id": "F", "width": 4, "height": 3}]});
    let voice = json!({"text": null, "voice": {"file_id": "V", "duration": 5, "mime_type": "audio/ogg"}});
    let service = json!({"text": null, "new_chat_title": "Garden"});
    let said = [photo, voice, service].map(|more| in_private(ALICE, "").with(more));
    let pipeline = reported(json!({}), said).await;
    let seen = pipeline.seen();
    let lost = "look\n[Telegram image: 4x3px; not passed on: it could not be fetched (Telegram answered 400";
    assert!(seen.texts()[0].starts_with(lost), "{:?}", seen.texts());
    assert_eq!(seen.texts()[1..], ["[Telegram voice message: duration=5s mime=audio/ogg]"]);
    let attributes = pipeline.seen().accepted[0].incoming.attributes.clone();
    let file = json!({"file_id": "F", "file_unique_id": null});
    assert_eq!(attributes, json!({"message_id": 1, "file": file}));
}

#[tokio::test]
async fn programs_channels_and_unknown_updates_are_let_go() {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
    let pipeline = MemoryPipeline::new();
    let bot = json!({"id": 99, "is_bot": true, "first_name": "Other"});
    telegram.say(in_private(ALICE, "from a program").with(json!({"from": bot})));
    let channel = json!({"id": -5, "type": "channel", "title": "News"});
    telegram.update("channel_post", json!({"message_id": 1, "chat": channel, "text": "news"}));
    telegram.update("message", json!({"message_id": 1, "chat": channel, "sender_chat": channel, "text": "news"}));
    telegram.update("message", json!("no message"));
    telegram.update("some_new_kind", json!({"deep": {"er": []}}));
    telegram.say(in_private(ALICE, "hello"));
    let running = Hosted::start(plugin(&telegram.url(), json!({})), &pipeline);
    assert!(telegram.wait_for_confirmation(DEADLINE).await);
    assert_eq!(pipeline.seen().texts(), ["hello"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_edit_is_a_new_message_unless_edits_are_ignored() {
    for (edits, expected) in [("new", vec!["[Edited message] hello"]), ("ignore", vec![])] {
        let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
        let pipeline = MemoryPipeline::new();
        let message = json!({
            "message_id": 3, "date": 1, "edit_date": 2, "text": "hello",
            "from": {"id": ALICE, "is_bot": false, "first_name": "A"}, "chat": {"id": ALICE, "type": "private"},
        });
        telegram.update("edited_message", message.clone());
        let mut moved = message;
        moved["text"] = Value::Null;
        moved["location"] = json!({"latitude": 1.0, "longitude": 2.0});
        telegram.update("edited_message", moved);
        let running = Hosted::start(plugin(&telegram.url(), json!({"edits": edits})), &pipeline);
        assert!(telegram.wait_for_confirmation(DEADLINE).await);
        assert_eq!(pipeline.seen().texts(), expected);
        if let Some(edit) = pipeline.seen().accepted.first() {
            assert_eq!(edit.incoming.attributes, json!({"message_id": 3, "edited": true}));
        }
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_accepted_is_answered_and_blocks_nobody() {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
    let pipeline = MemoryPipeline::new();
    telegram.say(in_private(ALICE, "x").with(json!({"text": "long ".repeat(20_000)})));
    telegram.say(in_private(ALICE, "hello"));
    let running = Hosted::start(plugin(&telegram.url(), json!({})), &pipeline);
    let log = telegram.wait_for_log(DEADLINE, |log| !log.is_empty()).await;
    assert!(log[0].text.starts_with("Not accepted: the message has 100000 bytes"), "{log:?}");
    pipeline.until(|state| state.accepted.len() == 1).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn strangers_are_told_once_and_the_owner_is_served() {
    for owner in [json!({"owner_id": ALICE}), json!({"owner_username": "@Alice"})] {
        let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
        let pipeline = MemoryPipeline::new();
        let mut more = json!({"require_owner": true});
        more.as_object_mut().unwrap().extend(owner.as_object().unwrap().clone());
        for _ in 0..3 {
            telegram.say(in_private(BOB, "let me in"));
        }
        telegram.say(in_private(ALICE, "hello").by("alice"));
        let running = Hosted::start(plugin(&telegram.url(), more), &pipeline);
        assert!(telegram.wait_for_confirmation(DEADLINE).await);
        running.stop().await.unwrap();
        let seen = pipeline.seen();
        assert_eq!(seen.texts(), ["hello"]);
        assert_eq!(seen.accepted[0].incoming.claim, Some(Claim::Owner));
        // What strangers write is reported, too: the core says why it is not passed on.
        let reasons: Vec<_> = seen.suppressed.iter().map(|(incoming, reason)| (incoming.claim, *reason)).collect();
        assert_eq!(reasons, [(Some(Claim::Stranger), Reason::NotOwner); 3]);
        let log = telegram.log();
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(log[0].chat_id == BOB && log[0].text.contains("serves its owner alone"), "{log:?}");
    }
}
