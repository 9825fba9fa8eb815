//! What comes in.

use broca_plugin::PluginState;
use serde_json::json;

use crate::{
    bridge::Fault,
    scene::{SESSION, Scene, UID},
};

#[tokio::test]
async fn a_person_is_known_by_their_uid() {
    let scene = Scene::start().await;
    scene.bridge.says(SESSION, UID, "Hello, how can you help me?");
    scene.until_accepted(1).await;
    let incoming = scene.pipeline.seen().accepted[0].incoming.clone();
    assert_eq!(
        (incoming.sender.platform_user_id.as_str(), incoming.sender.username.as_deref()),
        (UID, Some("web_user_2632f72d266e529c"))
    );
    assert_eq!(incoming.sender.metadata, json!({"session_id": SESSION, "uid": UID, "source": "web_chat"}));
    assert_eq!(
        (incoming.text.as_str(), &incoming.attributes["session_id"]),
        ("Hello, how can you help me?", &json!(SESSION))
    );
    scene.pipeline.until(|seen| seen.states.contains(&PluginState::Connected)).await;
    scene.hosted.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn more_than_a_page_comes_in_order() {
    for (ids_are_texts, keeps_until_answered) in [(false, false), (true, false), (false, true)] {
        let mut scene = Scene::set(json!({})).await;
        scene.bridge.books().ids_are_texts = ids_are_texts;
        scene.bridge.books().keeps_until_answered = keeps_until_answered;
        let said: Vec<String> = (0..250).map(|number| format!("m{number:03}")).collect();
        for text in &said {
            scene.bridge.says(SESSION, UID, text);
        }
        scene.run();
        assert_eq!(scene.until_accepted(250).await, said);
        scene.bridge.says(SESSION, UID, "one more");
        assert_eq!(scene.until_accepted(251).await.last().unwrap(), "one more");
        assert_eq!(scene.pipeline.seen().accepted.len(), 251);
    }
}

/// The original kept what it had fetched in memory, and took everything again after a restart.
#[tokio::test]
async fn d19_a_restart_takes_nothing_twice() {
    let mut scene = Scene::set(json!({})).await;
    scene.bridge.books().keeps_until_answered = true;
    scene.bridge.says(SESSION, UID, "once");
    scene.run();
    scene.until_accepted(1).await;
    scene.kill().await;
    scene.run();
    scene.bridge.says(SESSION, UID, "and this");
    assert_eq!(scene.until_accepted(2).await, ["once", "and this"]);
    assert!(scene.pipeline.seen().duplicates > 0, "it was fetched again, and known");
}

/// The bridge counts a message as fetched although its reply never arrived.
#[tokio::test]
async fn what_was_in_a_lost_reply_is_read_again() {
    for fault in [Fault::ReplyLost, Fault::Cut] {
        let scene = Scene::start().await;
        scene.pipeline.until(|seen| seen.states.contains(&PluginState::Connected)).await;
        scene.bridge.fails("inbox", fault);
        scene.bridge.says(SESSION, UID, "one");
        scene.bridge.says(SESSION, UID, "two");
        assert_eq!(scene.until_accepted(2).await, ["one", "two"]);
    }
}

#[tokio::test]
async fn what_a_killed_process_had_fetched_is_read_again() {
    let mut scene = Scene::set(json!({})).await;
    for (id, text) in ["one", "two"].iter().enumerate() {
        scene.bridge.says(SESSION, UID, text);
        // Fetched by a process that is no more.
        scene.bridge.books().messages[id].4 = true;
    }
    scene.bridge.says(SESSION, UID, "three");
    scene.run();
    assert_eq!(scene.until_accepted(3).await, ["one", "two", "three"]);
    let people: Vec<_> =
        scene.pipeline.seen().accepted.iter().map(|m| m.incoming.sender.platform_user_id.clone()).collect();
    assert_eq!(people, [UID, UID, UID]);
}

#[tokio::test]
async fn nothing_is_fetched_that_cannot_be_stored() {
    let mut scene = Scene::set(json!({"admin_key": null})).await;
    for number in 0..3 {
        scene.bridge.says(SESSION, UID, &format!("m{number}"));
    }
    // Fetched, and then the database is away for a while.
    scene.pipeline.be_unavailable(2);
    scene.run();
    scene.pipeline.until(|seen| seen.states.iter().any(|state| matches!(state, PluginState::Degraded { .. }))).await;
    assert_eq!(scene.until_accepted(3).await, ["m0", "m1", "m2"]);
    scene.pipeline.until(|seen| seen.states.last() == Some(&PluginState::Connected)).await;
}

#[tokio::test]
async fn what_is_no_message_is_let_go() {
    let mut scene = Scene::set(json!({})).await;
    scene.bridge.says("", UID, "from nowhere");
    scene.bridge.says(SESSION, UID, " \u{0} ");
    scene.bridge.says(SESSION, UID, &"x".repeat(100_000));
    scene.bridge.says("session_of_nobody", "", "<script>alert(1)</script>");
    scene.run();
    assert_eq!(scene.until_accepted(1).await, ["<script>alert(1)</script>"]);
    let seen = scene.pipeline.until(|seen| seen.states.contains(&PluginState::Connected)).await;
    assert_eq!(seen.accepted[0].incoming.sender.platform_user_id, "session_of_nobody");
    assert_eq!(seen.refused, 2);
}
