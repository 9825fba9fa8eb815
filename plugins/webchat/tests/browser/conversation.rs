//! Saying something, being answered, coming back.

use broca_core::MessageState;
use broca_servers::browser::{ENTER, SHIFT, TAB};

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_and_a_reload_keeps_it() {
    let scene = Scene::start().await;
    scene.open().await;
    let id = scene.say("When do you open?").await;
    scene.browser.until("one('.answering:not([hidden])') && one('.mine .note').textContent === 'Sent'").await;
    scene.browser.picture("answering").await;
    scene.answer(id, "At **nine**.").await;
    scene.browser.until("one('.theirs strong')?.textContent === 'nine' && one('.answering').hidden").await;
    assert_eq!(scene.said().await, ["When do you open?", "At nine."]);
    scene.browser.reload().await;
    scene.browser.until("one('.theirs strong')?.textContent === 'nine'").await;
    scene.is_online().await;
    assert_eq!(scene.said().await, ["When do you open?", "At nine."]);
    // It is the same person, in the same session.
    scene.say("And on Sundays?").await;
    let people = scene.pipeline.seen().accepted;
    assert_eq!(people[0].incoming.sender, people[1].incoming.sender);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_failed_may_be_sent_again() {
    let scene = Scene::start().await;
    scene.open().await;
    let id = scene.say("hello").await;
    scene.pipeline.end(id, MessageState::Failed, Some("the agent is gone"));
    scene.browser.until("one('.mine .again')").await;
    let note = scene.browser.run("return one('.mine .note').textContent").await;
    assert_eq!(note, "This could not be answered. Try again");
    scene.browser.picture("failed").await;
    // From the line to write in back to the button, by keys alone.
    for _ in 0..10 {
        if scene.browser.run("return chat.activeElement?.className === 'again'").await == true {
            break;
        }
        scene.browser.chord(SHIFT, TAB.chars().next().unwrap()).await;
    }
    scene.browser.press(ENTER).await;
    scene.pipeline.until(|seen| seen.texts() == ["hello", "hello"]).await;
    scene.browser.until("all('.mine').length === 1 && chat.activeElement.id === 'broca-box'").await;
    let again = scene.pipeline.seen().accepted[1].id;
    scene.answer(again, "good day").await;
    scene.browser.until("one('.theirs:not(.answering)')").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_told_and_a_notice_is_no_answer() {
    let scene = Scene::start().await;
    scene.open().await;
    let id = scene.say("hello").await;
    scene.typing(id).await;
    scene.browser.until("one('[role=status]').textContent === 'Writing an answer…'").await;
    scene.notice(id, "This could not be answered.").await;
    scene.browser.until("one('.theirs.notice')?.textContent.startsWith('Notice: This could')").await;
    scene.browser.until("one('[role=status]').textContent === 'Online'").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_told() {
    let scene = Scene::with(serde_json::json!({"max_message_chars": 5})).await;
    scene.open().await;
    scene.browser.press(&format!("too long{ENTER}")).await;
    scene.browser.until("one('.mine[data-kind=failed] .note')?.textContent.includes('more than 5')").await;
    scene.browser.press(&format!("fine{ENTER}")).await;
    scene.accepted("fine").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_reader_and_a_keyboard_get_along() {
    let scene = Scene::start().await;
    scene.open().await;
    let log = scene.browser.run("const log = one('[role=log]'); return [log.ariaLive, log.getAttribute('aria-label'), one('[role=status]').textContent, one('label').htmlFor === one('textarea').id, document.documentElement.lang]").await;
    assert_eq!(log, serde_json::json!(["polite", "Conversation", "Online", true, "en"]));
    // A new line is no message.
    scene.browser.press("one").await;
    scene.browser.chord(SHIFT, '\u{e007}').await;
    scene.browser.press("two").await;
    let box_text = scene.browser.run("return one('textarea').value").await;
    assert_eq!(box_text, "one\ntwo");
    scene.browser.press(ENTER).await;
    scene.accepted("one\ntwo").await;
    // Everything that can be used is reached by Tab, and is seen to be.
    let mut reached = Vec::new();
    for _ in 0..6 {
        scene.browser.press(TAB).await;
        let at = "const at = chat.activeElement; if (!at) return null;
            const style = getComputedStyle(at.closest('.composer') && at.tagName === 'TEXTAREA' ? at.closest('.composer') : at);
            return [at.className || at.tagName, style.outlineStyle !== 'none' || style.boxShadow !== 'none'];";
        let at = scene.browser.run(at).await;
        if let Some(name) = at[0].as_str() {
            assert_eq!(at[1], true, "{name} shows no focus");
            reached.push(name.to_owned());
        }
    }
    for wanted in ["log", "TEXTAREA"] {
        assert!(reached.iter().any(|name| name == wanted), "{wanted} is not in {reached:?}");
    }
    let said = scene.browser.run("return one('.mine .bubble').textContent").await;
    assert_eq!(said, "You: one\ntwo", "who said it is said");
    scene.close().await;
}
