//! Chats that take no answers.

use std::time::Duration;

use broca_core::{
    Receipt, ResponseId, WorkerId,
    agent::{Failure, FailureClass},
};
use broca_store::{DeadTarget, DeliveryEnd, Dispatch, Fenced, FinishDelivery, TargetFilter};

use crate::{
    home::{Home, says, worker},
    on_both,
};

on_both!(
    one_refusal_speaks_for_the_chat,
    whoever_writes_is_alive,
    a_chat_is_not_its_people,
    it_is_tried_again_after_a_time,
    what_an_operator_replays_is_tried,
    an_operator_forgets_them,
);

const PROBE_AFTER: Duration = Duration::from_secs(3_600);

async fn end(home: &Home, response: ResponseId, host: &WorkerId, attempt: u32, end: DeliveryEnd) {
    let finish = FinishDelivery { response, host: host.clone(), attempt, end };
    assert!(matches!(home.store.finish_delivery(finish).await.unwrap(), Fenced::Done(_)));
}

fn blocked() -> DeliveryEnd {
    DeliveryEnd::TargetDead {
        failure: Failure::new(FailureClass::Blocked, "blocked by the person"),
        probe_after: PROBE_AFTER,
    }
}

fn delivered() -> DeliveryEnd {
    DeliveryEnd::Delivered(Receipt::of("m1"))
}

/// Answers to messages that were written a while ago.
async fn answers(home: &Home, people: &[&str]) -> Vec<ResponseId> {
    let mut answers = Vec::new();
    for (n, person) in people.iter().enumerate() {
        answers.push(home.answer(person, &n.to_string()).await);
    }
    home.sql("UPDATE messages SET received_at = received_at - 1000000").await;
    answers
}

async fn dead(home: &Home) -> Vec<DeadTarget> {
    home.store.dead_targets(&TargetFilter::default(), None, 100).await.unwrap()
}

fn refusal(dispatch: &Dispatch) -> Option<(FailureClass, &str)> {
    dispatch.refused.as_ref().map(|refused| (refused.failure.class, refused.failure.reason.as_str()))
}

async fn one_refusal_speaks_for_the_chat(home: Home) {
    let host = worker("out");
    let answers = answers(&home, &["alice", "alice", "bob", "alice"]).await;
    assert!(home.go(answers[0], &host).await.refused.is_none());
    end(&home, answers[0], &host, 1, blocked()).await;

    let [target] = &dead(&home).await[..] else { panic!("one chat is dead") };
    assert_eq!((target.platform_user_id.as_str(), target.chat_id.as_deref()), ("alice", None));
    assert_eq!((target.class.as_str(), target.failures), ("blocked", 1));
    assert!(target.since <= target.asked_at && target.asked_at < target.probe_at);

    let second = home.go(answers[1], &host).await;
    assert_eq!(refusal(&second), Some((FailureClass::Blocked, "blocked by the person")));
    assert_eq!(second.refused.map(|refused| refused.since), Some(target.since));
    end(&home, answers[1], &host, 1, DeliveryEnd::Dead(Failure::new(FailureClass::Blocked, "not sent"))).await;
    assert_eq!(dead(&home).await[0].failures, 1, "nobody was asked");

    assert!(home.go(answers[2], &host).await.refused.is_none(), "another person is not concerned");
    end(&home, answers[2], &host, 1, delivered()).await;
    assert_eq!(dead(&home).await.len(), 1);
    assert!(home.go(answers[3], &host).await.refused.is_some());
    assert_eq!(home.number("SELECT count(*) FROM outbox WHERE kind = 'dead_letter'").await, 2);
}

async fn whoever_writes_is_alive(home: Home) {
    let host = worker("out");
    let answers = answers(&home, &["alice", "alice", "alice"]).await;
    home.go(answers[0], &host).await;
    // While the platform is asked, they write again: what it says then is old news for the new message.
    let after = home.answer("alice", "hello again").await;
    end(&home, answers[0], &host, 1, blocked()).await;
    assert!(home.go(answers[1], &host).await.refused.is_some());
    end(&home, answers[1], &host, 1, DeliveryEnd::Dead(Failure::new(FailureClass::Blocked, "not sent"))).await;
    home.accept(says("alice", "is anybody there?")).await;
    assert!(dead(&home).await.is_empty(), "they write, so they read");
    assert!(home.go(answers[2], &host).await.refused.is_none());
    end(&home, answers[2], &host, 1, blocked()).await;

    home.sql("UPDATE dead_targets SET asked_at = asked_at - 500000").await;
    assert!(home.go(after, &host).await.refused.is_none(), "written after the platform was last asked");
    end(&home, after, &host, 1, delivered()).await;
    assert!(dead(&home).await.is_empty(), "it took an answer");
}

async fn a_chat_is_not_its_people(home: Home) {
    let host = worker("out");
    let answers = answers(&home, &["alice"]).await;
    home.go(answers[0], &host).await;
    end(&home, answers[0], &host, 1, blocked()).await;
    let mut elsewhere = says("alice", "hi all");
    elsewhere.incoming.chat_id = Some("room".to_owned());
    home.accept(elsewhere.clone()).await;
    assert_eq!(dead(&home).await.len(), 1, "who writes in a room may still have blocked the bot");

    home.sql("UPDATE dead_targets SET lane = 'cli/room', chat_id = 'room'").await;
    home.accept(says("alice", "hello")).await;
    assert_eq!(dead(&home).await.len(), 1, "nor the other way round");
    elsewhere.id = broca_core::MessageId::new();
    elsewhere.incoming.event_id = "another".to_owned();
    elsewhere.incoming.sender.platform_user_id = "bob".to_owned();
    home.accept(elsewhere).await;
    assert!(dead(&home).await.is_empty(), "anybody who writes in a room shows that it is there");
}

async fn it_is_tried_again_after_a_time(home: Home) {
    let host = worker("out");
    let answers = answers(&home, &["alice", "alice", "alice"]).await;
    home.go(answers[0], &host).await;
    end(&home, answers[0], &host, 1, blocked()).await;
    home.sql("UPDATE dead_targets SET probe_at = 1").await;
    assert!(home.go(answers[1], &host).await.refused.is_none());
    end(&home, answers[1], &host, 1, blocked()).await;
    let again = dead(&home).await;
    assert_eq!((again.len(), again[0].failures), (1, 2));
    assert!(again[0].since < again[0].asked_at && again[0].probe_at > again[0].asked_at);
    assert!(home.go(answers[2], &host).await.refused.is_some(), "one answer was enough");
}

async fn what_an_operator_replays_is_tried(home: Home) {
    let host = worker("out");
    let answers = answers(&home, &["alice", "alice"]).await;
    home.go(answers[0], &host).await;
    end(&home, answers[0], &host, 1, blocked()).await;
    home.sql("UPDATE dead_targets SET asked_at = asked_at - 1000").await;
    home.sql("UPDATE responses SET replayed_at = started_at WHERE started_at IS NOT NULL").await;
    home.sql("UPDATE responses SET state = 'pending', open = TRUE, ord = ord + 100 WHERE state = 'dead'").await;
    assert!(home.go(answers[1], &host).await.refused.is_some());
    end(&home, answers[1], &host, 1, DeliveryEnd::Dead(Failure::new(FailureClass::Blocked, "not sent"))).await;
    assert!(home.go(answers[0], &host).await.refused.is_none());
    end(&home, answers[0], &host, 2, delivered()).await;
    assert!(dead(&home).await.is_empty());
}

async fn an_operator_forgets_them(home: Home) {
    let host = worker("out");
    for answer in answers(&home, &["alice", "bob", "carol"]).await {
        home.go(answer, &host).await;
        end(&home, answer, &host, 1, blocked()).await;
    }
    let named = |name: &str| TargetFilter { target: Some(name.to_owned()), instance: None };
    let alice = home.store.dead_targets(&named("cli/alice"), None, 100).await.unwrap().remove(0);
    assert_eq!(home.store.clear_targets(named("cli/nobody")).await.unwrap(), 0);
    assert_eq!(home.store.clear_targets(named(&alice.target)).await.unwrap(), 1);
    assert_eq!(home.store.clear_targets(named("cli/bob")).await.unwrap(), 1);
    let other = TargetFilter { instance: Some("telegram".parse().unwrap()), target: None };
    assert_eq!(home.store.clear_targets(other).await.unwrap(), 0);
    assert_eq!(dead(&home).await[0].platform_user_id, "carol");
    assert_eq!(home.store.clear_targets(TargetFilter::default()).await.unwrap(), 1);
}
