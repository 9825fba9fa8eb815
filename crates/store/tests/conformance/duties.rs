//! A duty is one process's at a time; what waits is counted as it stands.

use std::time::Duration;

use broca_core::{MessageId, Timestamp};
use broca_store::{AuditLimits, DeliveryEnd, Duty, FinishDelivery, Irregularity, Workload};

use crate::{
    home::{Home, TTL, done, ends, failed, failure, retry, says, worker},
    on_both,
};

on_both!(
    a_duty_is_one_processs_at_a_time,
    the_workload_is_what_is_open,
    a_recent_audit_leaves_old_messages_to_the_full_one,
);

async fn a_duty_is_one_processs_at_a_time(home: Home) {
    let (mine, other) = (worker("mine"), worker("other"));
    let second = home.another().await;
    assert!(home.store.take_duty(Duty::Janitor, &mine, TTL).await.unwrap());
    assert!(!second.take_duty(Duty::Janitor, &other, TTL).await.unwrap());
    assert!(home.store.take_duty(Duty::Janitor, &mine, TTL).await.unwrap(), "kept");
    assert!(!second.leave_duty(Duty::Janitor, &other).await.unwrap(), "not the other's to give up");
    home.sql("UPDATE duties SET lease_until = 1").await;
    assert!(second.take_duty(Duty::Janitor, &other, TTL).await.unwrap(), "its owner was silent for too long");
    assert!(!home.store.take_duty(Duty::Janitor, &mine, TTL).await.unwrap());
    assert!(second.leave_duty(Duty::Janitor, &other).await.unwrap());
    assert!(home.store.take_duty(Duty::Janitor, &mine, TTL).await.unwrap());
}

async fn the_workload_is_what_is_open(home: Home) {
    let workload = async || {
        let workload = home.store.workload().await.unwrap();
        Workload { oldest_message: None, oldest_answer: None, oldest_owed: None, ..workload }
    };
    let none = Workload::default();
    assert_eq!(home.store.workload().await.unwrap(), none);
    let worker = worker("w");
    let (first, _) = home.accept(says("alice", "1")).await;
    home.accept(says("alice", "2")).await;
    assert_eq!(workload().await, Workload { waiting: 1, owed: 2, ..none });
    home.sql("UPDATE messages SET received_at = received_at - 60000000").await;
    home.sql("UPDATE outbox SET created_at = created_at - 60000000").await;
    let aged = home.store.workload().await.unwrap();
    assert!(aged.oldest_message.unwrap() >= Duration::from_secs(60));
    assert!(aged.oldest_owed.unwrap() >= Duration::from_secs(60) && aged.oldest_answer.is_none());

    let lease = home.hold(first, &worker).await;
    assert_eq!(workload().await, Workload { in_hand: 1, owed: 2, ..none });
    let turn = home.start(&lease, &worker).await;
    done(home.store.finish(ends(&lease, Some(turn), retry(Duration::from_secs(3600)))).await.unwrap());
    assert_eq!(workload().await, Workload { parked: 1, owed: 2, ..none });

    home.sql("DELETE FROM outbox").await;
    let answer = home.answer("bob", "hello").await;
    assert_eq!(workload().await, Workload { parked: 1, answers: 1, owed: 2, ..none });
    assert!(home.store.workload().await.unwrap().oldest_answer.is_some());
    let dispatch = home.go(answer, &worker).await;
    let (host, attempt) = (worker.clone(), dispatch.response.attempt);
    let finish = FinishDelivery { response: answer, host, attempt, end: DeliveryEnd::Dead(failure()) };
    home.store.finish_delivery(finish).await.unwrap();
    let (dead, _) = home.accept(says("carol", "1")).await;
    let lease = home.hold(dead, &worker).await;
    let turn = home.start(&lease, &worker).await;
    done(home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap());
    home.sql("DELETE FROM outbox").await;
    assert_eq!(workload().await, Workload { parked: 1, failed_turns: 1, failed_deliveries: 1, ..none });
    for letter in home.store.letters(&Default::default(), None, 10).await.unwrap() {
        home.store.resolve_letter(&letter, "me", None).await.unwrap();
    }
    assert_eq!(workload().await, Workload { parked: 1, ..none });
}

async fn a_recent_audit_leaves_old_messages_to_the_full_one(home: Home) {
    let limits = AuditLimits { overdue: Duration::from_secs(60), max_age: None };
    let mut old = says("alice", "1");
    old.id = MessageId::floor_of(Timestamp(1_000_000));
    home.accept(old).await;
    home.accept(says("bob", "1")).await;
    home.sql("UPDATE messages SET state = 'completed'").await;
    home.sql("UPDATE conversations SET head = tail").await;
    let found = |irregular: Vec<broca_store::Irregular>| -> Vec<_> {
        irregular.into_iter().map(|found| (found.kind, found.count)).collect()
    };
    assert_eq!(found(home.store.audit(&limits).await.unwrap()), [(Irregularity::Unanswered, 2)]);
    let recent = home.store.audit_recent(&limits, Duration::from_secs(60)).await.unwrap();
    assert_eq!(found(recent), [(Irregularity::Unanswered, 1)]);
}
