use std::time::Duration;

use broca_admin::{
    explain::{Explanation, Verdict, explain},
    journey::is_over,
};
use broca_core::{Answer, MessageId, ResponseId, route::Routes};
use broca_store::{ClaimRequest, Claimed, DeliveryEnd, End, HoldSubject, NewHold, PutOn};

use crate::home::{GONE, Home, TTL, answered, delivered, failure, instance, worker};

const MINUTE: Duration = Duration::from_secs(60);

impl Home {
    pub(crate) async fn why(&self, message: MessageId) -> Explanation {
        let why = explain(&self.store, message, &Routes::default()).await.unwrap().unwrap();
        assert!(!why.evidence.is_empty(), "{why:?}");
        why
    }

    async fn is_over(&self, message: MessageId) -> bool {
        is_over(&self.store.standing(message).await.unwrap().unwrap())
    }
}

/// Whether a sentence has these parts, in this order.
#[track_caller]
fn says(why: &Explanation, parts: &[&str]) {
    let mut rest = why.sentence.as_str();
    for part in parts {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("no '{part}' in: {}", why.sentence)).1;
    }
}

#[tokio::test]
async fn a_message_that_no_worker_has_come_for() {
    let home = Home::new().await;
    let (message, wake) = home.accept("1").await;
    let why = home.why(message).await;
    assert!(matches!(why.verdict, Verdict::Unpublished { .. }), "{why:?}");
    home.store.outbox_done(wake).await.unwrap();
    let why = home.why(message).await;
    assert!(matches!(why.verdict, Verdict::Queued { .. }), "{why:?}");
    says(&why, &["waiting for a worker"]);
    assert!(why.next.unwrap().contains("broca status") && !home.is_over(message).await);
    assert!(explain(&home.store, MessageId::new(), &Routes::default()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_message_that_a_worker_holds() {
    let home = Home::new().await;
    let message = home.woken("1").await;
    let lease = home.claim(message, "worker-1", TTL).await;
    says(&home.why(message).await, &["held by worker worker-1 since "]);
    home.start(&lease, "worker-1").await;
    let why = home.why(message).await;
    says(&why, &["held by worker worker-1 since ", ": attempt 1 is with the agent for "]);
    assert!(why.evidence[0].starts_with("lease of epoch 1 until "), "{:?}", why.evidence);
    assert!(why.evidence[0].contains("last heartbeat"), "{:?}", why.evidence);
    let json = serde_json::to_value(&why).unwrap();
    assert_eq!((&json["verdict"], &json["worker"]), (&"held_by_worker".into(), &"worker-1".into()));

    let behind = home.woken("2").await;
    let why = home.why(behind).await;
    let first = message.to_string();
    says(&why, &["waits behind the message before it, ", &first, "held by worker worker-1"]);
    let last = home.woken("3").await;
    says(&home.why(last).await, &["waits behind 2 earlier messages", &first, "held by worker worker-1"]);
}

#[tokio::test]
async fn a_worker_that_went_silent() {
    let home = Home::new().await;
    let message = home.woken("1").await;
    home.claim(message, "worker-1", GONE).await;
    let why = home.why(message).await;
    assert!(matches!(why.verdict, Verdict::LeaseRanOut { .. }), "{why:?}");
    says(&why, &["left by worker worker-1, whose lease ran out "]);
    assert!(why.evidence[0].contains("the sweep of any worker"), "{:?}", why.evidence);
}

#[tokio::test]
async fn a_message_that_is_tried_again_later() {
    let home = Home::new().await;
    let message = home.woken("1").await;
    home.turn(message, End::Retry { failure: failure(), turn_unknown: false, delay: MINUTE }).await;
    let why = home.why(message).await;
    says(&why, &["parked until ", "after rate_limited: too many requests (attempt 1 of 5)"]);
    let behind = home.woken("2").await;
    let why = home.why(behind).await;
    says(&why, &["waits behind", &message.to_string(), "parked until ", "rate_limited"]);
    assert!(!why.sentence.contains("attempt"), "{}", why.sentence);
}

#[tokio::test]
async fn what_an_operator_keeps_back() {
    let home = Home::new().await;
    let (_, response) = home.answer("1").await;
    let waits = home.woken("2").await;
    let hold = |subject| NewHold { subject, reason: "asked us to".into(), actor: "cli:me".into(), life: None };
    let subject = HoldSubject::Agent("default".to_owned());
    let PutOn::New(agent) = home.store.put_hold(hold(subject)).await.unwrap() else { panic!("there is one already") };
    let why = home.why(waits).await;
    says(&why, &["kept back by a hold on its agent until it is released, by cli:me", "asked us to"]);
    home.store.release_hold(agent.id, "cli:me").await.unwrap();
    says(&home.why(waits).await, &["waiting for a worker"]);

    let instance = NewHold { life: Some(MINUTE), ..hold(HoldSubject::Instance(instance())) };
    let PutOn::New(instance) = home.store.put_hold(instance).await.unwrap() else { panic!("there is one already") };
    // Whoever comes for it sets it aside.
    let request = ClaimRequest { message: waits, instance: crate::home::instance(), worker: worker("w"), ttl: TTL };
    assert!(matches!(home.store.claim(request).await.unwrap(), Claimed::Idle));
    says(&home.why(waits).await, &["kept back by a hold on its instance until 20"]);
    let answered = home.store.journey(waits).await.unwrap().unwrap();
    assert_eq!(answered.message.state.as_str(), "held");
    let first = home.store.history("cli", "alice", 2).await.unwrap()[0].message;
    says(&home.why(first).await, &["kept back by a hold on its instance"]);
    home.store.release_hold(instance.id, "cli:me").await.unwrap();
    says(&home.why(waits).await, &["about to go back into its queue"]);
    home.deliver(response, delivered()).await;
}

#[tokio::test]
async fn a_message_that_is_over() {
    let home = Home::new().await;
    let failed = home.woken("1").await;
    let owed = home.turn(failed, End::Failed { failure: failure(), turn_unknown: false }).await;
    let why = home.why(failed).await;
    says(&why, &["failed: rate_limited: too many requests"]);
    assert!(why.next.unwrap().contains(&format!("broca replay {failed}")));
    assert!(!home.is_over(failed).await, "the copy of the dead letter is owed");
    home.store.outbox_done(owed.unwrap()).await.unwrap();
    assert!(home.is_over(failed).await);

    let stored = home.woken("2").await;
    let lease = home.claim(stored, "w", TTL).await;
    home.finish(&lease, None, End::Stored).await;
    says(&home.why(stored).await, &["stored: it was only listened to"]);

    let silent = home.woken("3").await;
    home.turn(silent, End::Answered { answer: Answer::default(), response: None }).await;
    says(&home.why(silent).await, &["answered: the agent had nothing to say"]);

    let cancelled = home.woken("4").await;
    home.store.cancel(cancelled, "cancelled by cli:me").await.unwrap();
    says(&home.why(cancelled).await, &["cancelled: operator: cancelled by cli:me"]);
    assert!(home.is_over(stored).await && home.is_over(silent).await && home.is_over(cancelled).await);
}

#[tokio::test]
async fn an_answer_on_its_way() {
    let home = Home::new().await;
    let (message, response) = (home.woken("1").await, ResponseId::new());
    let owed = home.turn(message, answered(response)).await.unwrap();
    says(&home.why(message).await, &["answered, and the broker has not confirmed the answer"]);
    home.store.outbox_done(owed).await.unwrap();
    let why = home.why(message).await;
    says(&why, &["the answer waits for the plugin of instance cli"]);
    assert!(why.next.unwrap().contains("broca plugin run cli"));

    let (later, _) = home.answer("2").await;
    says(&home.why(later).await, &["waits behind the one before it in its chat, to message ", &message.to_string()]);
    home.deliver(response, DeliveryEnd::Retry { failure: failure(), delay: MINUTE }).await;
    says(&home.why(message).await, &["the next attempt to deliver it is at ", "rate_limited"]);
    assert!(!home.is_over(message).await);
}

#[tokio::test]
async fn an_answer_in_delivery_and_after() {
    let home = Home::new().await;
    let (message, response) = home.answer("1").await;
    let attempt = home.begin(response, TTL).await;
    says(&home.why(message).await, &["the answer is being delivered by out since "]);
    home.end_delivery(response, attempt, delivered()).await;
    says(&home.why(message).await, &["delivered at ", ", receipt 991"]);
    assert!(home.is_over(message).await);

    let (message, response) = home.answer("2").await;
    let attempt = home.begin(response, GONE).await;
    says(&home.why(message).await, &["out went silent while it delivered the answer"]);
    home.end_delivery(response, attempt, DeliveryEnd::Unknown(failure())).await;
    let why = home.why(message).await;
    says(&why, &["nobody knows whether the platform has the answer: rate_limited"]);
    assert!(why.next.unwrap().contains("look at the platform"));

    let (message, response) = home.answer("3").await;
    home.deliver(response, DeliveryEnd::Dead(failure())).await;
    says(&home.why(message).await, &["the answer cannot be delivered: rate_limited"]);

    let (message, _) = home.answer("4").await;
    home.store.cancel(message, "not this one").await.unwrap();
    says(&home.why(message).await, &["the answer is kept back: operator: not this one"]);
}
