//! The auditor finds each kind of broken row, and finds nothing in rows that are merely on their way.

use std::time::Duration;

use broca_store::{AuditLimits, Irregularity};

use crate::{
    home::{Home, done, ends, failed, instance, retry, says, silent, worker},
    on_both,
};

on_both!(nothing_is_wrong_on_any_step_of_the_way, broken_rows_are_found_and_named, what_is_overdue_is_found_only_then,);

const LIMITS: AuditLimits = AuditLimits { overdue: Duration::from_secs(60), max_age: Some(Duration::from_secs(600)) };

async fn found(home: &Home) -> Vec<(Irregularity, i64)> {
    let irregular = home.store.audit(&LIMITS).await.unwrap();
    irregular.into_iter().map(|found| (found.kind, found.count)).collect()
}

async fn nothing_is_wrong_on_any_step_of_the_way(home: Home) {
    assert_eq!(found(&home).await, []);
    let worker = worker("w");
    let (first, _) = home.accept(says("alice", "1")).await;
    home.accept(says("alice", "2")).await;
    assert_eq!(found(&home).await, [], "accepted");
    let lease = home.hold(first, &worker).await;
    assert_eq!(found(&home).await, [], "claimed");
    let turn = home.start(&lease, &worker).await;
    assert_eq!(found(&home).await, [], "in its turn");
    home.expire_leases().await;
    home.sql("UPDATE conversations SET wake_at = 9000000000000000").await;
    let successor = home.hold(first, &worker).await;
    assert_eq!(found(&home).await, [], "taken over, the turn is still open");
    let parked = ends(&successor, Some(turn), retry(Duration::from_secs(3600)));
    assert!(done(home.store.finish(parked).await.unwrap()).released);
    assert_eq!(found(&home).await, [], "parked");
    let answer = home.answer("bob", "hello").await;
    assert_eq!(found(&home).await, [], "answered");
    home.go(answer, &crate::home::worker("p")).await;
    assert_eq!(found(&home).await, [], "in delivery");
    let (dead, _) = home.accept(says("carol", "1")).await;
    let lease = home.hold(dead, &worker).await;
    let turn = home.start(&lease, &worker).await;
    done(home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap());
    assert_eq!(found(&home).await, [], "dead-lettered");
}

/// What no operation does, by hand.
async fn broken_rows_are_found_and_named(home: Home) {
    let worker = worker("w");
    let (message, conversation) = home.accept(says("alice", "1")).await;
    let (id, of) = (home.id(message.0), home.id(conversation.0));
    let lease = home.hold(message, &worker).await;
    let turn = home.start(&lease, &worker).await;

    home.sql(&format!("UPDATE conversations SET head = tail WHERE id = {of}")).await;
    assert_eq!(found(&home).await, [(Irregularity::PassedOver, 1)]);
    home.sql(&format!("UPDATE conversations SET head = 0 WHERE id = {of}")).await;

    home.sql(&format!("UPDATE messages SET state = 'completed' WHERE id = {id}")).await;
    assert_eq!(found(&home).await, [(Irregularity::OpenTurn, 1), (Irregularity::Unanswered, 1)]);
    home.sql("UPDATE conversations SET owner = NULL, lease_until = 0").await;
    let kinds: Vec<_> = found(&home).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Irregularity::EmptyQueue, Irregularity::OpenTurn, Irregularity::Unanswered]);

    home.sql(&format!("UPDATE messages SET state = 'processing' WHERE id = {id}")).await;
    home.sql(&format!("UPDATE turns SET state = 'retry' WHERE id = {}", home.id(turn.0))).await;
    assert_eq!(found(&home).await, [(Irregularity::NoTurn, 1)]);
    let ids = home.store.audit(&LIMITS).await.unwrap();
    assert_eq!(ids[0].first, [message.0]);
}

async fn what_is_overdue_is_found_only_then(home: Home) {
    let worker = worker("w");
    let (message, _) = home.accept(says("alice", "1")).await;
    home.sql("UPDATE outbox SET created_at = 1").await;
    assert_eq!(found(&home).await, [(Irregularity::Unpublished, 1)]);
    home.sql("DELETE FROM outbox").await;
    home.sql("UPDATE conversations SET wake_at = 1").await;
    assert_eq!(found(&home).await, [(Irregularity::Forgotten, 1)]);
    let lease = home.hold(message, &worker).await;
    assert_eq!(found(&home).await, [], "somebody works on it");
    home.expire_leases().await;
    assert_eq!(found(&home).await, [(Irregularity::Forgotten, 1), (Irregularity::DeadLease, 1)]);
    home.sql("UPDATE conversations SET lease_until = 9000000000000000").await;
    home.sql("UPDATE messages SET received_at = 1").await;
    assert_eq!(found(&home).await, [(Irregularity::TooOld, 1)]);
    let turn = home.start(&lease, &worker).await;
    done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap());

    let answer = home.answer("bob", "hello").await;
    home.answer("bob", "again").await;
    home.sql("DELETE FROM outbox").await;
    home.sql("UPDATE responses SET created_at = 1").await;
    assert_eq!(found(&home).await, [(Irregularity::Undelivered, 1)], "the second waits for the first");
    assert_eq!(home.store.due_deliveries(&instance(), 10).await.unwrap(), [answer]);
}
