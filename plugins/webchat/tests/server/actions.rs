//! What pages and programs ask.

use serde_json::json;

use crate::scene::{API_KEY, SESSION, Scene, ok};

#[tokio::test]
async fn a_message_is_accepted_and_answered() {
    let scene = Scene::start().await;
    let taken = scene.say("Can you help me with my project?").await;
    assert_eq!((&taken["message_id"], &taken["session_id"]), (&json!(1), &json!(SESSION)));
    assert_eq!((&taken["message"], &taken["is_new_user"]), (&json!("Can you help me with my project?"), &json!(true)));
    let uid = taken["uid"].as_str().unwrap().to_owned();
    assert!(uid.len() == 16 && uid.bytes().all(|c| c.is_ascii_hexdigit()), "{uid}");
    assert_eq!(scene.say("again").await["is_new_user"], false);

    let incoming = scene.pipeline.seen().accepted[0].incoming.clone();
    assert_eq!(
        (incoming.sender.platform_user_id.as_str(), incoming.sender.username),
        (uid.as_str(), Some(format!("web_user_{uid}")))
    );
    assert_eq!(incoming.sender.metadata["session_id"], SESSION);

    assert_eq!(scene.responses("").await, Vec::<serde_json::Value>::new());
    let receipt = scene.answer("Can you help me with my project?", "Yes **I** can").await.unwrap();
    let responses = scene.responses("").await;
    assert_eq!(responses.len(), 1);
    assert_eq!((&responses[0]["response"], &responses[0]["message_id"]), (&json!("Yes **I** can"), &json!(1)));
    assert_eq!(receipt.platform_message_ids, [responses[0]["id"].to_string()]);
    assert_eq!(responses[0]["session_id"], SESSION);
}

#[tokio::test]
async fn since_and_after_skip_nothing_and_repeat_nothing() {
    let scene = Scene::start().await;
    for text in ["a", "b", "c"] {
        scene.say(text).await;
        scene.answer(text, &format!("to {text}")).await.unwrap();
    }
    let all = scene.responses("").await;
    for (at, response) in all.iter().enumerate() {
        let since = response["timestamp"].as_str().unwrap();
        assert_eq!(
            scene.responses(&format!("&since={since}")).await,
            all[at + 1..],
            "a careless client leaves + as it is"
        );
        assert_eq!(scene.responses(&format!("&since={}", since.replace('+', "%2B"))).await, all[at + 1..]);
        assert_eq!(scene.responses(&format!("&after={}", response["id"])).await, all[at + 1..]);
    }
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_one_message() {
    let scene = Scene::start().await;
    let body = json!({"session_id": SESSION, "message": "once", "client_message_id": "c1"});
    let first = ok(scene.post("messages", &body)).await;
    let again = ok(scene.post("messages", &body)).await;
    assert_eq!((&first["message_id"], &first["timestamp"]), (&again["message_id"], &again["timestamp"]));
    assert_eq!((scene.pipeline.seen().accepted.len(), scene.pipeline.seen().duplicates), (1, 1));
    // Without an id of the page's own, an equal text is another message.
    scene.say("twice").await;
    scene.say("twice").await;
    assert_eq!(scene.pipeline.seen().accepted.len(), 3);
}

#[tokio::test]
async fn several_sessions_are_one_persons_who_can_show_it() {
    let scene = Scene::start().await;
    let visitor = "v".repeat(32);
    let mut uids = Vec::new();
    for (session, visitor) in
        [("session_one_aaaa", Some(&visitor)), ("session_two_bbbb", Some(&visitor)), ("session_three_cccc", None)]
    {
        let body = json!({"session_id": session, "message": "hi", "visitor": visitor});
        uids.push(ok(scene.post("messages", &body)).await["uid"].clone());
    }
    assert!(uids[0] == uids[1] && uids[1] != uids[2], "{uids:?}");
}

#[tokio::test]
async fn a_page_that_is_loaded_anew_gets_all_of_it() {
    let scene = Scene::start().await;
    for text in ["one", "two", "three"] {
        scene.say(text).await;
    }
    scene.answer("one", "first").await.unwrap();
    let two = scene.accepted("two");
    scene.pipeline.end(two, broca_core::MessageState::Failed, Some("the agent is gone"));
    let data = ok(scene.get(&format!("action=conversation&session_id={SESSION}"))).await;
    let texts: Vec<_> =
        data["messages"].as_array().unwrap().iter().map(|m| (m["message"].clone(), m["state"].clone())).collect();
    assert_eq!(texts, [(json!("one"), json!(null)), (json!("two"), json!("failed")), (json!("three"), json!(null))]);
    assert_eq!(data["responses"][0]["response"], "first");
    let nobody = ok(scene.get("action=conversation&session_id=session_nobody_x")).await;
    assert_eq!((&nobody["messages"], &nobody["responses"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn another_program_fetches_each_message_once_and_answers() {
    let scene = Scene::start().await;
    for number in 0..5 {
        scene.say(&format!("m{number}")).await;
    }
    scene.answer("m0", "answered here").await.unwrap();
    let inbox = || scene.get("action=inbox&limit=3").bearer_auth(API_KEY);
    let first = ok(inbox()).await;
    let texts = |data: &serde_json::Value| -> Vec<String> {
        data["messages"].as_array().unwrap().iter().map(|m| m["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(&first), ["m1", "m2", "m3"]);
    assert_eq!(first["pagination"], json!({"total": 4, "limit": 3, "offset": 0, "has_more": true}));
    assert!(first["messages"][0]["uid"].as_str().unwrap().len() == 16);
    let second = ok(inbox()).await;
    assert_eq!((texts(&second), &second["pagination"]["has_more"]), (vec!["m4".to_owned()], &json!(false)));
    assert!(texts(&ok(inbox()).await).is_empty());

    let body = json!({"session_id": SESSION, "response": "from outside", "message_id": first["messages"][0]["id"]});
    let sent = ok(scene.post("outbox", &body).bearer_auth(API_KEY)).await;
    assert_eq!(sent["session_id"], SESSION);
    let responses = scene.responses("").await;
    assert_eq!((&responses[1]["id"], &responses[1]["message_id"]), (&sent["response_id"], &first["messages"][0]["id"]));
}
