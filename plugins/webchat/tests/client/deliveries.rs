//! What goes out.

use broca_core::{DeliveryError, MessageId, agent::FailureClass, delivery::Settlement};
use broca_plugin::Plugin;
use serde_json::json;

use crate::{
    bridge::Fault,
    scene::{SESSION, Scene, UID},
};

async fn scene() -> Scene {
    let scene = Scene::start().await;
    scene.bridge.says(SESSION, UID, "hello");
    scene.until_accepted(1).await;
    scene
}

#[tokio::test]
async fn an_answer_goes_into_the_session_of_its_message() {
    let scene = scene().await;
    let (response, profile) = scene.response("good <day>");
    let receipt = scene.deliver(&response, &profile).await.unwrap();
    assert_eq!(receipt.platform_message_ids, ["1"]);
    assert_eq!(scene.bridge.books().responses, [(1, SESSION.to_owned(), "good <day>".to_owned(), json!(1))]);
}

#[tokio::test]
async fn a_long_answer_goes_out_in_parts() {
    let scene = scene().await;
    let text = format!("{}\n\n{}", "word ".repeat(1500), "näxt ".repeat(1500));
    let (mut response, profile) = scene.response(&text);
    scene.bridge.fails("outbox", Fault::Status(400));
    let dead = scene.deliver(&response, &profile).await.unwrap_err();
    assert!(matches!(&dead, DeliveryError::Dead(failure) if failure.class == FailureClass::Rejected), "{dead}");
    let receipt = scene.deliver(&response, &profile).await.unwrap();
    let answers = scene.bridge.answers();
    assert!(answers.len() > 1 && answers.iter().all(|answer| answer.len() <= 8000));
    assert_eq!(answers.concat().trim(), text.trim());
    assert_eq!(receipt.platform_message_ids.len(), answers.len());
    // The second half, after the first was recorded and the process died.
    let parts = broca_plugin::Parts::in_memory(&response);
    parts.sent("1", answers[0].len()).await.unwrap();
    response.parts = parts.all();
    assert_eq!(scene.plugin.settle(&response, &profile, MessageId::new()).await, Settlement::Delivered(receipt));
    scene.bridge.books().responses.truncate(2);
    let Settlement::Partly(known) = scene.plugin.settle(&response, &profile, MessageId::new()).await else { panic!() };
    assert_eq!(known.len(), 2);
    response.parts = known;
    response.attempt = 2;
    scene.deliver(&response, &profile).await.unwrap();
    assert_eq!(scene.bridge.answers(), answers);
}

#[tokio::test]
async fn an_answer_whose_reply_was_lost_is_looked_for() {
    let scene = scene().await;
    let (mut response, profile) = scene.response("a < b & c");
    scene.bridge.fails("outbox", Fault::ReplyLost);
    let failed = scene.deliver(&response, &profile).await.unwrap_err();
    assert!(matches!(failed, DeliveryError::Retry { after: Some(_), .. }), "{failed:?}");
    response.attempt = 2;
    scene.bridge.fails("responses", Fault::Status(503));
    let later = scene.deliver(&response, &profile).await.unwrap_err();
    assert!(matches!(&later, DeliveryError::Retry { failure, .. } if failure.class == FailureClass::Unavailable));
    assert_eq!(scene.deliver(&response, &profile).await.unwrap().platform_message_ids, ["1"]);
    assert_eq!(scene.bridge.answers().len(), 1, "it was there");
    assert!(matches!(scene.plugin.settle(&response, &profile, MessageId::new()).await, Settlement::Delivered(_)));

    let (mut other, profile) = scene.response("another");
    assert_eq!(scene.plugin.settle(&other, &profile, MessageId::new()).await, Settlement::NotDelivered);
    scene.bridge.fails("outbox", Fault::Cut);
    scene.deliver(&other, &profile).await.unwrap_err();
    other.attempt = 2;
    scene.deliver(&other, &profile).await.unwrap();
    assert_eq!(scene.bridge.answers().len(), 2, "it was not there");
}

#[tokio::test]
async fn a_bridge_that_cannot_tell_leaves_it_unknown() {
    let scene = scene().await;
    scene.bridge.books().forgets_message_ids = true;
    let (mut response, profile) = scene.response("yes");
    scene.bridge.fails("outbox", Fault::ReplyLost);
    scene.deliver(&response, &profile).await.unwrap_err();
    response.attempt = 2;
    let unknown = scene.deliver(&response, &profile).await.unwrap_err();
    assert!(matches!(unknown, DeliveryError::Unknown(_)), "{unknown:?}");
    assert_eq!(scene.plugin.settle(&response, &profile, MessageId::new()).await, Settlement::CannotTell);
    let (other, profile) = scene.response("no");
    assert_eq!(scene.plugin.settle(&other, &profile, MessageId::new()).await, Settlement::NotDelivered);
}

#[tokio::test]
async fn a_session_that_is_over_has_a_successor_or_none() {
    let scene = scene().await;
    scene.bridge.books().expired.push(SESSION.to_owned());
    let (response, mut profile) = scene.response("good day");
    let dead = scene.deliver(&response, &profile).await.unwrap_err();
    assert!(matches!(&dead, DeliveryError::Dead(failure) if failure.class == FailureClass::NotFound), "{dead}");
    scene.bridge.says("session_the_next_one", UID, "here I am");
    profile.metadata["session_id"] = json!("session_the_next_one");
    scene.deliver(&response, &profile).await.unwrap();
    assert_eq!(scene.bridge.books().responses[0].1, "session_the_next_one");
}

#[tokio::test]
async fn each_refusal_means_something() {
    let scene = scene().await;
    let (response, profile) = scene.response("good day");
    for (fault, class) in [
        (Fault::Limited(9), FailureClass::RateLimited),
        (Fault::Status(401), FailureClass::Unauthorised),
        (Fault::Status(500), FailureClass::Unavailable),
        (Fault::Status(503), FailureClass::Unavailable),
        (Fault::Html, FailureClass::Timeout),
    ] {
        scene.bridge.fails("outbox", fault);
        let error = scene.deliver(&response, &profile).await.unwrap_err();
        let DeliveryError::Retry { after, failure } = error else { panic!("{fault:?}: {error:?}") };
        assert_eq!(failure.class, class, "{fault:?}");
        assert!(fault != Fault::Limited(9) || after == Some(std::time::Duration::from_secs(9)));
    }
    scene.bridge.stop().await;
    let away = scene.deliver(&response, &profile).await.unwrap_err();
    assert!(
        matches!(&away, DeliveryError::Retry { failure, .. } if failure.class == FailureClass::Unavailable),
        "{away:?}"
    );
}
