use broca_core::{MessageState, TurnId, TurnState};
use broca_store::{End, Fenced, ResumeTurn, StoreError};
use std::time::Duration;

use crate::{
    home::{Home, done, ends, failure, retry, says, silent, start_of, worker},
    on_both,
};

on_both!(
    attempts_are_counted_when_they_start,
    a_message_has_one_open_turn,
    only_an_open_turn_is_resumed_or_named,
    a_start_whose_answer_got_lost_can_be_repeated,
);

async fn attempts_are_counted_when_they_start(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    let mut turns = Vec::new();
    for attempt in 1..=3 {
        let lease = home.hold(message, &me).await;
        assert_eq!(lease.pending[0].attempts, attempt - 1);
        let turn = TurnId::new();
        let started = home.store.start_turn(start_of(&lease, turn, &me)).await.unwrap();
        assert_eq!(started, Fenced::Done(attempt));
        done(home.store.finish(ends(&lease, Some(turn), retry(Duration::ZERO))).await.unwrap());
        turns.push(turn);
    }
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (MessageState::Received, 3));
    assert_eq!(record.class.as_deref(), Some("unavailable"));
    assert_eq!(
        record.turns.iter().map(|turn| (turn.id, turn.attempt)).collect::<Vec<_>>(),
        [(turns[0], 1), (turns[1], 2), (turns[2], 3)]
    );
    assert!(record.turns.iter().all(|turn| turn.state == TurnState::Retry && turn.worker == me.as_str()));

    // Nobody knows what became of it, and its route has it said again all the same.
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    let end = End::Retry { failure: failure(), delay: Duration::ZERO, turn_unknown: true };
    assert!(done(home.store.finish(ends(&lease, Some(turn), end)).await.unwrap()).owed.is_none());
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (MessageState::Received, 4));
    assert_eq!(record.turns[3].state, TurnState::Unknown);

    // A worker that dies in a turn: its successor's resumption counts.
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    home.expire_leases().await;
    let lease = home.hold(message, &me).await;
    let resume = ResumeTurn { turn, conversation: lease.conversation, epoch: lease.epoch, worker: me.clone() };
    assert_eq!(home.store.resume_turn(resume).await.unwrap(), Fenced::Done(6));
    assert_eq!(home.store.record_run(turn, lease.epoch, "run-5").await.unwrap(), Fenced::Done(()));
    let end = End::Failed { failure: failure(), turn_unknown: true };
    assert!(done(home.store.finish(ends(&lease, Some(turn), end)).await.unwrap()).owed.is_some());
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (MessageState::Failed, 6));
    let last = record.turns.last().unwrap();
    assert_eq!((last.state, last.run.as_deref(), last.attempt), (TurnState::Unknown, Some("run-5"), 5));
}

async fn a_message_has_one_open_turn(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    home.start(&lease, &me).await;
    let second = home.store.start_turn(start_of(&lease, TurnId::new(), &me)).await.unwrap_err();
    assert!(matches!(second, StoreError::Data(_)), "{second}");
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.attempts, record.turns.len()), (1, 1));
    // Nor does a message end while a turn of it is open.
    let error = home.store.finish(ends(&lease, None, silent())).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    let error = home.store.finish(ends(&lease, Some(TurnId::new()), silent())).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
}

async fn only_an_open_turn_is_resumed_or_named(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    home.accept(says("alice", "more")).await;
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap());
    let resume = ResumeTurn { turn, conversation: lease.conversation, epoch: lease.epoch, worker: me.clone() };
    let error = home.store.resume_turn(resume).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    let error = home.store.record_run(turn, lease.epoch, "run").await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
}

async fn a_start_whose_answer_got_lost_can_be_repeated(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    let start = start_of(&lease, TurnId::new(), &me);
    assert_eq!(home.store.start_turn(start.clone()).await.unwrap(), Fenced::Done(1));
    assert_eq!(home.store.start_turn(start).await.unwrap(), Fenced::Done(1));
    assert_eq!(home.store.message(message).await.unwrap().unwrap().attempts, 1);
}
