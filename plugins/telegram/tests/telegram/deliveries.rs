//! The way out.

use std::time::Duration;

use broca_core::{DeliveryError, MessageId, Receipt, Response, agent::FailureClass, delivery::Settlement};
use broca_plugin::{Parts, Plugin, Typing};
use broca_rehearsal::telegram::{Fault, ScriptedTelegram, Sent, TelegramScript};
use serde_json::{Value, json};

use crate::{ALICE, GROUP, alice, plugin, response};

type Outcome = Result<Receipt, DeliveryError>;

async fn deliver(telegram: &ScriptedTelegram, response: &Response) -> (Outcome, Parts) {
    let parts = Parts::in_memory(response);
    let plugin = plugin(&telegram.url(), json!({}));
    (plugin.deliver(response, &alice(), MessageId::new(), &parts).await, parts)
}

/// What a delivery to a Telegram with this script comes to, and what it has logged then.
async fn delivered(script: TelegramScript, text: &str) -> (Outcome, Vec<Sent>) {
    let telegram = ScriptedTelegram::start(script).await.unwrap();
    let (outcome, _) = deliver(&telegram, &response(text, None)).await;
    (outcome, telegram.log())
}

async fn failed_with(fault: Fault) -> (Outcome, Vec<Sent>) {
    delivered(TelegramScript { send_faults: [fault].into(), ..TelegramScript::default() }, "hello").await
}

fn retried(outcome: &Outcome) -> (Option<Duration>, FailureClass) {
    match outcome {
        Err(DeliveryError::Retry { after, failure }) => (*after, failure.class),
        other => panic!("{other:?}"),
    }
}

fn dead(outcome: &Outcome) -> FailureClass {
    match outcome {
        Err(DeliveryError::Dead(failure)) => failure.class,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_goes_to_its_place_in_html() {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
    for (chat_id, expected) in [
        (None, (ALICE, None, None)),
        (Some("-1001"), (GROUP, None, Some(42))),
        (Some("-1001/5"), (GROUP, Some(5), Some(42))),
        (Some("7/3"), (ALICE, Some(3), None)),
    ] {
        let (outcome, _) = deliver(&telegram, &response("**hi** & bye", chat_id)).await;
        let sent = telegram.log().pop().unwrap();
        assert_eq!(outcome, Ok(Receipt::of(sent.message_id.to_string())));
        assert_eq!((sent.chat_id, sent.thread, sent.reply_to), expected, "{chat_id:?}");
        assert_eq!((sent.text.as_str(), sent.raw.as_str()), ("hi & bye", "<b>hi</b> &amp; bye"));
    }
    let (outcome, _) = deliver(&telegram, &response("hello", Some("garden"))).await;
    assert_eq!(dead(&outcome), FailureClass::NotFound);
}

#[tokio::test]
async fn markup_that_is_refused_is_left_out() {
    let (outcome, log) =
        delivered(TelegramScript { refuse_html: 1, ..TelegramScript::default() }, "**hi** [x](https://a.example)")
            .await;
    assert_eq!(outcome, Ok(Receipt::of(log[0].message_id.to_string())));
    assert_eq!((log[0].text.as_str(), log[0].parse_mode.as_deref()), ("hi x (https://a.example)", None));
}

#[tokio::test]
async fn a_failure_before_the_send_is_tried_again() {
    let (outcome, log) = failed_with(Fault::RateLimited { retry_after_s: 77 }).await;
    assert_eq!(retried(&outcome), (Some(Duration::from_secs(77)), FailureClass::RateLimited));
    assert!(log.is_empty());
    for fault in [Fault::ServerError, Fault::Gateway(502)] {
        let (outcome, log) = failed_with(fault).await;
        assert_eq!(retried(&outcome), (None, FailureClass::Unavailable));
        assert!(log.is_empty());
    }
    let nowhere = plugin("http://127.0.0.1:9", json!({}));
    let answer = response("hello", None);
    let outcome = nowhere.deliver(&answer, &alice(), MessageId::new(), &Parts::in_memory(&answer)).await;
    assert_eq!(retried(&outcome), (None, FailureClass::Unavailable));
    let (outcome, _) = delivered(TelegramScript { revoked: true, ..TelegramScript::default() }, "hello").await;
    assert_eq!(retried(&outcome), (Some(Duration::from_secs(60)), FailureClass::Unauthorised));
}

#[tokio::test]
async fn a_short_limit_is_waited_out() {
    let begun = std::time::Instant::now();
    let (outcome, log) = failed_with(Fault::RateLimited { retry_after_s: 1 }).await;
    assert_eq!(outcome, Ok(Receipt::of(log[0].message_id.to_string())));
    assert!(begun.elapsed() >= Duration::from_secs(1), "Telegram said 1 s");
}

#[tokio::test]
async fn a_send_of_which_nobody_knows_is_unknown() {
    for (fault, logged) in [(Fault::CutAfter, 1), (Fault::CutBefore, 0), (Fault::Gateway(504), 0)] {
        let (outcome, log) = failed_with(fault).await;
        let Err(DeliveryError::Unknown(failure)) = outcome else { panic!("{fault:?}: {outcome:?}") };
        assert_eq!((failure.class, log.len()), (FailureClass::Timeout, logged));
    }
    let plugin = plugin("http://127.0.0.1:9", json!({}));
    let settled = plugin.settle(&response("hello", None), &alice(), MessageId::new()).await;
    assert_eq!(settled, Settlement::CannotTell);
}

#[tokio::test]
async fn whoever_cannot_be_reached_gets_nothing_ever() {
    let script = TelegramScript { blocked: [ALICE].into(), ..TelegramScript::default() };
    assert_eq!(dead(&delivered(script, "hello").await.0), FailureClass::Blocked);
    let script = TelegramScript { missing: [ALICE].into(), ..TelegramScript::default() };
    assert_eq!(dead(&delivered(script, "hello").await.0), FailureClass::NotFound);
    let script = TelegramScript { missing_threads: [5].into(), ..TelegramScript::default() };
    let telegram = ScriptedTelegram::start(script).await.unwrap();
    assert_eq!(dead(&deliver(&telegram, &response("hello", Some("-1001/5"))).await.0), FailureClass::NotFound);
}

#[tokio::test]
async fn a_group_that_moved_is_followed() {
    let script = TelegramScript { migrated: vec![(-5, GROUP)], ..TelegramScript::default() };
    let telegram = ScriptedTelegram::start(script).await.unwrap();
    let (outcome, _) = deliver(&telegram, &response("hello", Some("-5"))).await;
    let log = telegram.log();
    assert_eq!((outcome, log[0].chat_id), (Ok(Receipt::of(log[0].message_id.to_string())), GROUP));
}

/// Three messages long, with a block of code that stays whole.
fn long() -> String {
    let words = "word ".repeat(700);
    format!("{words}\n\n```rust\n{}\n```\n\n{words}", "let x = 1;\n".repeat(200))
}

#[tokio::test]
async fn a_long_answer_is_several_messages() {
    let (outcome, log) = delivered(TelegramScript::default(), &long()).await;
    assert_eq!(outcome.unwrap().platform_message_ids.len(), 3);
    assert_eq!(log.len(), 3);
    assert_eq!(log[1].text, "let x = 1;\n".repeat(200).trim_end());
    assert_eq!((log[1].entities[0].kind, log[1].entities[0].argument.as_deref()), ("pre", Some("rust")));
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again() {
    let faults = [Fault::RateLimited { retry_after_s: 0 }, Fault::RateLimited { retry_after_s: 99 }];
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
    let mut answer = response(&long(), None);
    telegram.script(|script| script.send_faults = faults.into());
    // The first wait is nothing, the second is too long: nothing is sent yet.
    let (outcome, parts) = deliver(&telegram, &answer).await;
    assert_eq!(retried(&outcome).0, Some(Duration::from_secs(99)));
    assert!(parts.all().is_empty() && telegram.log().is_empty());

    let plugin = plugin(&telegram.url(), json!({}));
    for expected in 1..=2 {
        telegram
            .script(|script| script.send_faults = [Fault::RateLimited { retry_after_s: 0 }, Fault::ServerError].into());
        let parts = Parts::in_memory(&answer);
        if expected == 2 {
            telegram.script(|script| script.send_faults.clear());
        }
        let hold = plugin.deliver(&answer, &alice(), MessageId::new(), &parts).await;
        answer.parts = parts.all();
        if expected == 1 {
            assert_eq!(retried(&hold).1, FailureClass::Unavailable);
            assert!(answer.parts.is_empty());
        } else {
            assert_eq!(hold.unwrap().platform_message_ids.len(), 3);
        }
    }
    assert_eq!(telegram.log().len(), 3);
}

#[tokio::test]
async fn a_later_attempt_goes_on_behind_what_was_sent() {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
    let mut answer = response(&long(), None);
    let (whole, parts) = deliver(&telegram, &answer).await;
    let whole = whole.unwrap().platform_message_ids;
    for sent in 1..=3 {
        answer.parts = parts.all()[..sent].to_vec();
        let again = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
        let (outcome, _) = deliver(&again, &answer).await;
        let texts: Vec<String> = again.log().into_iter().map(|sent| sent.text).collect();
        let expected: Vec<String> = telegram.log().into_iter().skip(sent).map(|sent| sent.text).collect();
        assert_eq!(texts, expected, "after {sent}");
        assert_eq!(outcome.unwrap().platform_message_ids[..sent], whole[..sent]);
    }
    // Cut at other places by another version of the plugin: what was not sent is sent.
    answer.parts = parts.all()[..1].to_vec();
    answer.parts[0].text_end += 10;
    let again = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
    deliver(&again, &answer).await.0.unwrap();
    assert_eq!(again.log().len(), 2);
}

#[tokio::test]
async fn pictures_are_sent_and_become_links_when_they_cannot() {
    let script =
        TelegramScript { bad_pictures: ["https://a.example/bad".to_owned()].into(), ..TelegramScript::default() };
    let answer = "look\n\n![good](https://a.example/good)\n\n[Image Attachment: https://a.example/bad]\n\nend";
    let (outcome, log) = delivered(script, answer).await;
    assert_eq!(outcome.unwrap().platform_message_ids.len(), 4);
    let seen: Vec<_> = log.iter().map(|sent| (sent.text.as_str(), sent.photo.as_deref())).collect();
    let expected =
        [("look", None), ("good", Some("https://a.example/good")), ("https://a.example/bad", None), ("end", None)];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn typing_is_shown_where_the_answer_will_be() {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
    let typing = |chat_id: Option<&str>| Typing {
        message_id: MessageId::new(),
        chat_id: chat_id.map(str::to_owned),
        platform_user_id: ALICE.to_string(),
    };
    let shown = async |more: Value, chat_id: Option<&str>| plugin(&telegram.url(), more).typing(&typing(chat_id)).await;
    shown(json!({}), None).await;
    shown(json!({}), Some("-1001/5")).await;
    shown(json!({}), Some("garden")).await;
    shown(json!({"typing": false}), None).await;
    assert_eq!(telegram.typing(), [(ALICE, None), (GROUP, Some(5))]);
}
