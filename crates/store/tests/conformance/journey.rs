//! Walks messages down every road, and looks after each step at the whole journey: it must say what happened, in order,
//! and nothing that it said before may change.

use std::time::Duration;

use broca_core::{MessageId, MessageState, Part, Receipt, ResponseId};
use broca_store::{Delivery, DeliveryEnd, End, Fenced, Finish, HoldSubject, NewHold, PutOn, RecordParts, Stage};

use crate::{
    home::{Home, TTL, answered, ends, failed, failure, instance, retry, says, silent, worker},
    on_both,
    replay::{ME, stage_of},
    walk::Walk,
};

on_both!(
    an_answer,
    a_retry,
    a_takeover,
    a_hand_over,
    a_dead_letter_that_comes_back,
    a_delivery_that_needs_three_attempts,
    an_undeliverable_answer_that_comes_back,
    a_message_behind_another,
    what_stands_in_the_way,
    a_message_is_found_by_less_than_its_id,
);

fn delivered() -> DeliveryEnd {
    DeliveryEnd::Delivered(Receipt::of("platform-1"))
}

async fn an_answer(home: Home) {
    let (me, host, response) = (worker("w"), worker("out"), ResponseId::new());
    let mut walk = Walk::begin(&home, says("alice", "hi")).await;
    walk.turn(&me, |lease, turn| answered(lease, turn, response, "hello")).await;
    walk.deliver(response, &host, delivered()).await;
    assert_eq!(
        walk.lines(),
        [
            "accepted by cli",
            "wake_published",
            "claimed by w e1",
            "turn_started by w e1 #1",
            "run_known by w e1",
            "turn_answered by w e1 #1",
            "answered",
            "answer_published",
            "delivery_begun by out #1",
            "delivered by out #1",
        ]
    );
    let find = |kind: &str| walk.told.iter().find(|event| event.kind.as_str() == kind).unwrap();
    assert_eq!(find("delivered").detail["receipt"], serde_json::json!(["platform-1"]));
    assert_eq!(find("run_known").turn_id, find("turn_started").turn_id);
    assert_eq!(find("run_known").detail["run"], "run-1");
    assert!(
        ["answered", "answer_published", "delivery_begun", "delivered"]
            .iter()
            .all(|kind| find(kind).response_id == Some(response))
    );
    assert_eq!(home.store.journey(MessageId::new()).await.unwrap().map(|journey| journey.events), None);
}

async fn a_retry(home: Home) {
    let me = worker("w");
    let mut walk = Walk::begin(&home, says("alice", "hi")).await;
    walk.turn(&me, |lease, turn| ends(lease, Some(turn), retry(Duration::from_secs(40)))).await;
    let parked = walk.told.iter().find(|event| event.kind.as_str() == "parked").unwrap();
    let until = parked.detail["until"].as_i64().unwrap();
    assert_eq!(until - parked.at.micros(), 40_000_000);
    assert_eq!(parked.reason.as_deref(), Some("nobody answered"));
    home.sql("UPDATE conversations SET not_before = 1").await;
    // Without a turn of its own: a breaker was open, or the process was about to stop.
    let lease = walk.hold(&me).await;
    walk.finish(ends(&lease, None, retry(Duration::ZERO))).await;
    walk.turn(&me, |lease, turn| ends(lease, Some(turn), silent())).await;
    assert_eq!(
        walk.lines(),
        [
            "accepted by cli",
            "wake_published",
            "claimed by w e1",
            "turn_started by w e1 #1",
            "run_known by w e1",
            "turn_retry by w e1 #1 (unavailable)",
            "parked by w e1 (unavailable)",
            "claimed by w e2",
            "parked by w e2 (unavailable)",
            "claimed by w e3",
            "turn_started by w e3 #2",
            "run_known by w e3",
            "turn_answered by w e3 #2",
            "answered",
        ]
    );
    assert_eq!(walk.told.last().unwrap().response_id, None, "it had nothing to say");
}

async fn a_takeover(home: Home) {
    let (first, second) = (worker("first"), worker("second"));
    let mut walk = Walk::begin(&home, says("alice", "hi")).await;
    let lease = walk.hold(&first).await;
    home.start(&lease, &first).await;
    walk.step().await;
    home.expire_leases().await;
    let lease = walk.hold(&second).await;
    walk.resume(&lease, &second).await;
    let turn = lease.open_turn.as_ref().unwrap().id;
    walk.finish(ends(&lease, Some(turn), failed())).await;
    assert_eq!(
        walk.lines(),
        [
            "accepted by cli",
            "wake_published",
            "claimed by first e1",
            "turn_started by first e1 #1",
            "taken_over by second e2 from first",
            "turn_resumed by second e2 from first",
            "turn_dead by second e2 #1 (unavailable)",
            "failed (unavailable)",
            "dead_letter_published",
        ]
    );
    let resumed = walk.told.iter().find(|event| event.kind.as_str() == "turn_resumed").unwrap();
    assert_eq!((resumed.turn_id, resumed.detail["handed_over"].as_bool()), (Some(turn), Some(false)));
}

async fn a_hand_over(home: Home) {
    let (first, second) = (worker("first"), worker("second"));
    let mut walk = Walk::begin(&home, says("alice", "hi")).await;
    let lease = walk.hold(&first).await;
    let turn = home.start(&lease, &first).await;
    walk.step().await;
    let Fenced::Done(Some(owed)) = home.store.release(lease.conversation, lease.epoch).await.unwrap() else {
        panic!("there was something to hand over")
    };
    walk.step().await;
    home.store.outbox_done(owed.id).await.unwrap();
    walk.step().await;
    let lease = walk.hold(&second).await;
    walk.resume(&lease, &second).await;
    walk.finish(ends(&lease, Some(turn), silent())).await;
    assert_eq!(
        walk.lines(),
        [
            "accepted by cli",
            "wake_published",
            "claimed by first e1",
            "turn_started by first e1 #1",
            "handed_over by first e1",
            "wake_published",
            "claimed by second e2",
            "turn_resumed by second e2 from first",
            "turn_answered by second e2 #1",
            "answered",
        ]
    );
    let handed = walk.told.iter().find(|event| event.kind.as_str() == "handed_over").unwrap();
    assert_eq!(handed.turn_id, Some(turn));
}

async fn a_dead_letter_that_comes_back(home: Home) {
    let (me, response) = (worker("w"), ResponseId::new());
    let mut walk = Walk::begin(&home, says("alice", "hi")).await;
    walk.turn(&me, |lease, turn| ends(lease, Some(turn), failed())).await;
    walk.replay(Stage::Turn, Some("hi again")).await;
    walk.turn(&me, |lease, turn| answered(lease, turn, response, "hello")).await;
    assert_eq!(
        walk.lines(),
        [
            "accepted by cli",
            "wake_published",
            "claimed by w e1",
            "turn_started by w e1 #1",
            "run_known by w e1",
            "turn_dead by w e1 #1 (unavailable)",
            "failed (unavailable)",
            "dead_letter_published",
            "replayed by cli:test",
            "edited by cli:test",
            "wake_published",
            "claimed by w e2",
            "turn_started by w e2 #2",
            "run_known by w e2",
            "turn_answered by w e2 #2",
            "answered",
            "answer_published",
        ]
    );
    // A second letter is resolved, and the copy of the first is dropped from the stream.
    let letter = home.store.stages_of(walk.message).await.unwrap();
    assert!(!letter.is_empty());
    walk.deliver(response, &worker("out"), DeliveryEnd::Dead(failure())).await;
    let letter = stage_of(&home, walk.message, Stage::Delivery).await;
    assert!(home.store.resolve_letter(&letter, ME, Some("told her")).await.unwrap());
    walk.step().await;
    let copies = home.store.copies_of_closed_letters(Duration::ZERO, 10).await.unwrap();
    home.store.copy_purged(copies[0].clone()).await.unwrap();
    walk.step().await;
    assert_eq!(
        walk.lines()[17..],
        [
            "delivery_begun by out #1",
            "delivery_dead by out #1 (unavailable)",
            "dead_letter_published",
            "resolved by cli:test",
            "purged",
        ]
    );
}

async fn a_delivery_that_needs_three_attempts(home: Home) {
    let (host, other, response) = (worker("out"), worker("other"), ResponseId::new());
    let mut walk = Walk::begin(&home, says("alice", "hi")).await;
    walk.turn(&worker("w"), |lease, turn| answered(lease, turn, response, "hello")).await;
    let later = DeliveryEnd::Retry { failure: failure(), delay: Duration::from_secs(3) };
    walk.deliver(response, &host, later).await;
    home.sql("UPDATE responses SET not_before = 1").await;
    walk.deliver(response, &host, DeliveryEnd::HandBack).await;
    let dispatch = home.go(response, &host).await;
    walk.step().await;
    let parts = vec![Part { platform_message_id: "platform-0".to_owned(), text_end: 2 }];
    let record = RecordParts { response, host: host.clone(), attempt: 2, parts };
    assert_eq!(home.store.record_parts(record).await.unwrap(), Fenced::Done(()));
    walk.step().await;
    home.sql("UPDATE responses SET lease_until = 1").await;
    assert!(matches!(home.begin(response, &other).await, Delivery::Settle(_)));
    walk.step().await;
    walk.end_delivery(response, &other, dispatch.response.attempt, delivered()).await;
    assert_eq!(
        walk.lines()[7..],
        [
            "answer_published",
            "delivery_begun by out #1",
            "delivery_retry by out #1 (unavailable)",
            "delivery_begun by out #2",
            "delivery_handed_back by out #2",
            "delivery_begun by out #2",
            "part_sent by out #2",
            "delivery_taken_over by other #2 from out",
            "delivered by other #2",
        ]
    );
    let part = walk.told.iter().find(|event| event.kind.as_str() == "part_sent").unwrap();
    assert_eq!((&part.detail["part"], &part.detail["receipt"]), (&1.into(), &serde_json::json!(["platform-0"])));
    let retried = walk.told.iter().find(|event| event.kind.as_str() == "delivery_retry").unwrap();
    assert_eq!(retried.detail["until"].as_i64(), Some(retried.at.micros() + 3_000_000));
}

async fn an_undeliverable_answer_that_comes_back(home: Home) {
    let (host, response) = (worker("out"), ResponseId::new());
    let mut walk = Walk::begin(&home, says("alice", "hi")).await;
    walk.turn(&worker("w"), |lease, turn| answered(lease, turn, response, "hello")).await;
    walk.deliver(response, &host, DeliveryEnd::Unknown(failure())).await;
    walk.replay(Stage::Delivery, None).await;
    walk.deliver(response, &host, delivered()).await;
    assert_eq!(
        walk.lines()[8..],
        [
            "delivery_begun by out #1",
            "delivery_unknown by out #1 (unavailable)",
            "replayed by cli:test",
            "answer_published",
            "delivery_begun by out #2",
            "delivered by out #2",
        ]
    );
}

/// It tells what happened to its conversation while it waited, and not what happened before or after.
async fn a_message_behind_another(home: Home) {
    let me = worker("w");
    let mut before = Walk::begin(&home, says("alice", "1")).await;
    before.turn(&me, |lease, turn| ends(lease, Some(turn), silent())).await;
    let mut first = Walk::begin(&home, says("alice", "2")).await;
    let mut second = Walk::begin(&home, says("alice", "3")).await;
    first.turn(&me, |lease, turn| ends(lease, Some(turn), retry(Duration::ZERO))).await;
    second.step().await;
    let lease = first.hold(&me).await;
    first.finish(ends(&lease, None, End::Stored)).await;
    second.step().await;
    let finish = Finish { message: second.message, ..ends(&lease, None, End::Stored) };
    second.finish(finish).await;
    Walk::begin(&home, says("alice", "4")).await.hold(&me).await;
    second.step().await;
    assert_eq!(
        second.lines(),
        [
            "accepted by cli",
            "wake_published",
            "claimed by w e2",
            "parked of another by w e2 (unavailable)",
            "claimed by w e3",
            "stored",
        ]
    );
    assert_eq!(before.lines().last().unwrap(), "answered");
    before.step().await;
    assert_eq!(first.lines().last().unwrap(), "stored");
}

async fn what_stands_in_the_way(home: Home) {
    let me = worker("w");
    let first = Walk::begin(&home, says("alice", "1")).await;
    let (waits, _) = home.accept(says("alice", "2")).await;
    let lease = home.hold(first.message, &me).await;
    home.start(&lease, &me).await;
    let standing = home.store.standing(waits).await.unwrap().unwrap();
    assert_eq!(standing.journey.message.state, MessageState::Received);
    assert_eq!((standing.queue.ahead, standing.owed[0].kind.as_str()), (1, "wake"));
    let in_line = standing.queue.first.unwrap();
    let (by, _, attempt) = in_line.turn.unwrap();
    assert_eq!((in_line.message, by.as_str(), attempt), (first.message, me.as_str(), 1));
    let held = standing.queue.lease.unwrap();
    assert_eq!((held.worker.as_str(), held.epoch), (me.as_str(), 1));
    assert_eq!(standing.queue.parked_for, None);
    assert_eq!(held.taken, held.renewed, "no heartbeat came yet");
    home.store.renew(&me, &[(lease.conversation, 1)], &[], TTL).await.unwrap();
    let held = home.store.standing(waits).await.unwrap().unwrap().queue.lease.unwrap();
    assert!(held.renewed > held.taken);

    for (kind, subject) in
        [("instance", HoldSubject::Instance(instance())), ("agent", HoldSubject::Agent("other".into()))]
    {
        let hold = NewHold { subject, reason: "audit".to_owned(), actor: ME.to_owned(), life: None };
        assert!(matches!(home.store.put_hold(hold).await.unwrap(), PutOn::New(_)));
        let holds = home.store.standing(waits).await.unwrap().unwrap().holds;
        assert_eq!(holds.iter().map(|hold| hold.kind.as_str()).collect::<Vec<_>>(), ["instance"], "after {kind}");
    }
    home.sql("DELETE FROM holds").await;
    let (earlier, later) = (home.answer("bob", "1").await, home.answer("bob", "2").await);
    let host = worker("out");
    let earlier = home.go(earlier, &host).await;
    let begun = home.begin(later, &host).await;
    assert!(matches!(begun, Delivery::Behind), "{begun:?}");
    let of_later = home.store.history("cli", "bob", 1).await.unwrap()[0].message;
    let standing = home.store.standing(of_later).await.unwrap().unwrap();
    let answer = &standing.answers[0];
    assert_eq!((answer.id, answer.ahead, answer.behind), (later, 1, Some(earlier.message)));
    let standing = home.store.standing(earlier.message).await.unwrap().unwrap();
    assert_eq!((standing.answers[0].host.as_deref(), standing.answers[0].ahead), (Some(host.as_str()), 0));
}

async fn a_message_is_found_by_less_than_its_id(home: Home) {
    let message = says("alice", "1");
    let event = message.incoming.event_id.clone();
    let (first, _) = home.accept(message).await;
    let (second, _) = home.accept(says("alice", "2")).await;
    assert_eq!(home.store.message_of_event(&instance(), &event).await.unwrap(), Some(first));
    assert_eq!(home.store.message_of_event(&instance(), "another").await.unwrap(), None);
    assert_eq!(home.store.message_of_event(&"telegram".parse().unwrap(), &event).await.unwrap(), None);
    assert_eq!(home.store.messages_between(first, second, 10).await.unwrap(), [first, second]);
    assert_eq!(home.store.messages_between(first, second, 1).await.unwrap(), [first]);
    assert_eq!(home.store.messages_between(second, second, 10).await.unwrap(), [second]);
}
