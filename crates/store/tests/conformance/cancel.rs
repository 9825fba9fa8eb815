//! An operator takes messages out of their queue: what stays keeps its order, comes to its end, and strands nothing.

use std::time::Duration;

use broca_core::{MessageId, MessageState, ResponseState, TurnId, TurnState};
use broca_store::{
    AuditLimits, Cancelled, Claimed, Delivery, Fenced, Finish, MessageEnd, StartTurn, Store, StoreError,
};

use crate::{
    bursts::{end_of, ended},
    home::{Home, TTL, done, ends, failure, held, retry, says, silent, start_of, wish, worker},
    on_both,
};

on_both!(
    what_stays_keeps_its_order,
    the_end_of_the_queue_is_where_the_last_one_stands,
    a_conversation_without_messages_is_at_rest,
    the_next_does_not_wait_for_the_one_that_left,
    a_worker_finds_a_message_gone,
    what_is_over_is_left_alone,
    an_answer_that_waits_is_suppressed,
    cancelling_strands_nothing,
);

const WHY: &str = "cancelled by cli:test";

async fn cancel(home: &Home, message: MessageId) -> Cancelled {
    home.store.cancel(message, WHY).await.unwrap()
}

async fn accept(home: &Home, person: &str, count: usize) -> Vec<MessageId> {
    let mut messages = Vec::new();
    for n in 1..=count {
        messages.push(home.accept(says(person, &n.to_string())).await.0);
    }
    messages
}

async fn at_rest(home: &Home) -> bool {
    let limits = AuditLimits { overdue: Duration::from_secs(60), max_age: None };
    assert_eq!(home.store.audit(&limits).await.unwrap(), []);
    home.number("SELECT count(*) FROM conversations WHERE head <> tail OR owner IS NOT NULL").await == 0
}

/// Works on `first` and what follows it until the conversation is released; their texts.
async fn work_off(home: &Home, first: MessageId) -> Vec<String> {
    let me = worker("w");
    let lease = home.hold(first, &me).await;
    let mut texts = Vec::new();
    loop {
        let pending = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
        let turn = TurnId::new();
        let start = StartTurn { message: pending[0].id, ..start_of(&lease, turn, &me) };
        assert!(matches!(home.store.start_turn(start).await.unwrap(), Fenced::Done(_)));
        texts.push(pending[0].text.clone());
        let finish = Finish { message: pending[0].id, ..ends(&lease, Some(turn), silent()) };
        if done(home.store.finish(finish).await.unwrap()).released {
            return texts;
        }
    }
}

async fn what_stays_keeps_its_order(home: Home) {
    for (person, gone, stay) in [
        ("front", &[1, 2][..], &["3", "4", "5"][..]),
        ("middle", &[2, 4], &["1", "3", "5"]),
        ("end", &[5, 4], &["1", "2", "3"]),
        ("both ends", &[5, 1, 3], &["2", "4"]),
        ("all but one", &[1, 3, 5, 4], &["2"]),
    ] {
        let messages = accept(&home, person, 5).await;
        for n in gone {
            assert_eq!(cancel(&home, messages[n - 1]).await, Cancelled::Message, "{person}");
        }
        let later = home.accept(says(person, "later")).await.0;
        let stay: Vec<_> = stay.iter().copied().chain(["later"]).collect();
        assert_eq!(work_off(&home, later).await, stay, "{person}");
        assert!(at_rest(&home).await, "{person}");
    }
    let cancelled = home.store.counts().await.unwrap().messages["cancelled"];
    assert_eq!(cancelled, 13);
}

/// The worker is in the turn of the first while everything behind it goes.
async fn the_end_of_the_queue_is_where_the_last_one_stands(home: Home) {
    let me = worker("w");
    for order in [[1, 2], [2, 1]] {
        let messages = accept(&home, &format!("{order:?}"), 3).await;
        let lease = home.hold(messages[0], &me).await;
        let turn = home.start(&lease, &me).await;
        for n in order {
            assert_eq!(cancel(&home, messages[n]).await, Cancelled::Message);
        }
        assert!(done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap()).released, "{order:?}");
        assert!(at_rest(&home).await, "{order:?}");
    }
}

async fn a_conversation_without_messages_is_at_rest(home: Home) {
    let me = worker("w");
    let messages = accept(&home, "alice", 2).await;
    let lease = home.hold(messages[0], &me).await;
    for message in &messages {
        assert_eq!(cancel(&home, *message).await, Cancelled::Message);
    }
    assert!(at_rest(&home).await);
    let late = home.store.start_turn(start_of(&lease, TurnId::new(), &me)).await.unwrap();
    assert_eq!(late, Fenced::LeaseLost, "the lease ended with the last message");
    assert!(matches!(home.claim(messages[1], &me).await, Claimed::Idle));
    let next = home.accept(says("alice", "next")).await.0;
    assert_eq!(work_off(&home, next).await, ["next"]);
    assert!(at_rest(&home).await);
}

async fn the_next_does_not_wait_for_the_one_that_left(home: Home) {
    let me = worker("w");
    let messages = accept(&home, "alice", 3).await;
    let lease = home.hold(messages[0], &me).await;
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(ends(&lease, Some(turn), retry(TTL * 100))).await.unwrap());
    assert_eq!(cancel(&home, messages[1]).await, Cancelled::Message);
    assert!(matches!(home.claim(messages[2], &me).await, Claimed::Parked { .. }), "the first one waits for its retry");
    assert!(home.store.wake_due(10, TTL).await.unwrap().is_empty());
    assert_eq!(cancel(&home, messages[0]).await, Cancelled::Message);
    let due = home.store.wake_due(10, TTL).await.unwrap();
    assert_eq!(due.iter().map(|wake| wake.message).collect::<Vec<_>>(), [messages[2]]);
    assert_eq!(work_off(&home, messages[2]).await, ["3"]);
    assert!(at_rest(&home).await);
}

async fn a_worker_finds_a_message_gone(home: Home) {
    let me = worker("w");
    let messages = accept(&home, "alice", 3).await;
    let lease = home.hold(messages[0], &me).await;
    assert_eq!(cancel(&home, messages[0]).await, Cancelled::Message);
    let late = home.store.start_turn(start_of(&lease, TurnId::new(), &me)).await.unwrap_err();
    assert!(matches!(late, StoreError::LeftQueue(message) if message == messages[0]), "{late}");
    let late = home.store.finish(ends(&lease, None, silent())).await.unwrap_err();
    assert!(matches!(late, StoreError::LeftQueue(message) if message == messages[0]), "{late}");
    let pending = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
    assert_eq!(pending.iter().map(|message| message.id).collect::<Vec<_>>(), messages[1..]);
}

async fn what_is_over_is_left_alone(home: Home) {
    let me = worker("w");
    let message = accept(&home, "alice", 1).await[0];
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    assert!(done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap()).released);
    assert_eq!(cancel(&home, message).await, Cancelled::Over { state: MessageState::Completed });

    let message = accept(&home, "bob", 1).await[0];
    assert_eq!(cancel(&home, message).await, Cancelled::Message);
    assert_eq!(cancel(&home, message).await, Cancelled::Over { state: MessageState::Cancelled });
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.class.as_deref(), record.reason.as_deref()), (Some("operator"), Some(WHY)));
    assert!(record.finished_at >= Some(record.received_at));
    assert!(home.store.letters(&Default::default(), None, 5).await.unwrap().is_empty(), "it is no dead letter");
    assert_eq!(cancel(&home, MessageId::new()).await, Cancelled::Unknown);

    let message = accept(&home, "carol", 1).await[0];
    home.sql("UPDATE conversations SET head = tail WHERE head < tail").await;
    home.sql(&format!("UPDATE messages SET state = 'held', held_by = id WHERE id = {}", home.id(message.0))).await;
    assert_eq!(cancel(&home, message).await, Cancelled::Message);
    assert!(at_rest(&home).await);
    assert_eq!(home.number("SELECT count(*) FROM messages WHERE held_by IS NOT NULL").await, 0);
}

async fn an_answer_that_waits_is_suppressed(home: Home) {
    let (first, second) = (home.answer("alice", "1").await, home.answer("alice", "2").await);
    let host = worker("out");
    let begun = home.go(first, &host).await;
    let message = begun.message;
    assert_eq!(cancel(&home, message).await, Cancelled::Over { state: MessageState::Completed }, "it is under way");
    home.sql("UPDATE responses SET state = 'retry', host = NULL, lease_until = 0 WHERE state = 'delivering'").await;
    assert_eq!(cancel(&home, message).await, Cancelled::Answers { suppressed: vec![first] });
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.state, record.responses[0].state), (MessageState::Completed, ResponseState::Suppressed));
    assert_eq!(record.responses[0].reason.as_deref(), Some(WHY));
    assert!(matches!(home.begin(first, &host).await, Delivery::Over(ResponseState::Suppressed)));
    home.go(second, &host).await;
}

/// Senders, workers and an operator on the same conversations at once: every third message is one too many.
async fn cancelling_strands_nothing(home: Home) {
    const PEOPLE: usize = 3;
    let all = PEOPLE * if home.is_postgres() { 150 } else { 40 };
    let sender = async {
        let mut cancelled = 0;
        for n in 0..all {
            let (message, _) = home.accept(says(&(n % PEOPLE).to_string(), &n.to_string())).await;
            if n % PEOPLE == n / PEOPLE % PEOPLE {
                // One whose turn is under way is cancelled by the end of that.
                let taken = matches!(cancel(&home, message).await, Cancelled::Message | Cancelled::Stopping);
                cancelled += i64::from(taken);
            }
        }
        cancelled
    };
    let hasten = async {
        while !over(&home.store, all).await {
            home.sql("UPDATE conversations SET wake_at = 1 WHERE head < tail AND owner IS NULL").await;
        }
    };
    let workers = [("a", home.another().await), ("b", home.another().await)];
    let [a, b] = workers.map(|(name, store)| works(store, name, all));
    let all_of_it = async { tokio::join!(sender, hasten, a, b) };
    let (cancelled, ..) = tokio::time::timeout(Duration::from_secs(100), all_of_it).await.expect("it is stranded");
    assert!(at_rest(&home).await);
    assert!(cancelled > 0);
    assert_eq!(home.number("SELECT count(*) FROM messages WHERE state = 'cancelled'").await, cancelled);
    assert_eq!(home.number("SELECT count(*) FROM turns WHERE state NOT IN ('answered', 'cancelled')").await, 0);
    assert_eq!(home.number("SELECT count(*) FROM stops").await, 0);
}

async fn over(store: &Store, all: usize) -> bool {
    let counts = store.counts().await.unwrap().messages;
    let of = |state: &str| counts.get(state).copied().unwrap_or(0);
    of("completed") + of("cancelled") == i64::try_from(all).unwrap()
}

async fn works(store: Store, name: &str, all: usize) {
    let me = worker(name);
    while !over(&store, all).await {
        for wake in store.wake_due(50, Duration::from_millis(1)).await.unwrap() {
            let Claimed::Held(lease) = store.claim(wish(wake.message, &me)).await.unwrap() else { continue };
            let lease = held(Claimed::Held(lease));
            'held: loop {
                let pending = store.pending(lease.conversation, lease.epoch).await.unwrap();
                if pending.is_empty() {
                    break;
                }
                for message in pending {
                    let turn = TurnId::new();
                    let start = StartTurn { message: message.id, ..start_of(&lease, turn, &me) };
                    match store.start_turn(start).await {
                        Ok(Fenced::Done(_)) => {}
                        Ok(Fenced::LeaseLost) => break 'held,
                        Err(StoreError::LeftQueue(_)) => continue,
                        Err(error) => panic!("{error}"),
                    }
                    let finish = Finish { message: message.id, ..ends(&lease, Some(turn), silent()) };
                    let released = match store.finish(finish).await {
                        Err(StoreError::StopAsked(_)) => {
                            let end = vec![(message.id, MessageEnd::Cancelled(failure()))];
                            let stopped = end_of(&lease, turn, TurnState::Cancelled, end);
                            ended(store.end_turn(stopped).await.unwrap()).released
                        }
                        finished => done(finished.unwrap()).released,
                    };
                    if released {
                        break 'held;
                    }
                }
            }
        }
    }
}
