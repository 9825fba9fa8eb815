use std::time::Duration;

use broca_core::{Answer, MessageState, ResponseId, ResponseState, TurnState, Usage};
use broca_store::{End, Fenced, Finish, NewResponse, OwedKind, StoreError};

use crate::{
    home::{Home, TTL, done, ends, failed, retry, says, silent, worker},
    on_both,
};

on_both!(
    an_answer_is_recorded_with_its_owed_publish,
    a_conversation_is_released_with_its_last_message,
    a_dead_letter_is_owed_to_its_stream,
    a_message_ends_in_its_turn,
    illegal_moves_are_refused,
    owed_publishes_are_made_good,
    a_late_end_after_the_release_writes_nothing,
);

async fn an_answer_is_recorded_with_its_owed_publish(home: Home) {
    let me = worker("w");
    let (message, conversation) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    let answer = Answer { usage: Some(Usage { total_tokens: 12, ..Usage::default() }), ..Answer::text("hello") };
    let response = NewResponse { id: ResponseId::new(), text: "hello".to_owned() };
    let id = response.id;
    let end = End::Answered { answer, response: Some(response) };
    let finished = done(home.store.finish(ends(&lease, Some(turn), end)).await.unwrap());
    let (outbox, _) = finished.owed.unwrap();

    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!(record.state, MessageState::Completed);
    assert!(record.finished_at >= Some(record.received_at));
    assert_eq!((record.turns[0].state, record.turns[0].id), (TurnState::Answered, turn));
    let answers: Vec<_> = record.responses.iter().map(|r| (r.id, r.state, r.text.as_str(), r.attempts)).collect();
    assert_eq!(answers, [(id, ResponseState::Pending, "hello", 0)]);
    let owed = home.store.outbox_due(Duration::ZERO, 10).await.unwrap();
    let owed = owed.iter().find(|owed| owed.id == outbox).unwrap();
    assert_eq!((&owed.what, owed.message, owed.conversation), (&OwedKind::Response(id), message, conversation));
    assert_eq!(owed.text, "hello");
    let tokens = if home.is_postgres() { "(usage ->> 'total_tokens')::bigint" } else { "usage ->> 'total_tokens'" };
    assert_eq!(home.number(&format!("SELECT {tokens} FROM turns")).await, 12);
}

async fn a_conversation_is_released_with_its_last_message(home: Home) {
    let me = worker("w");
    let (first, _) = home.accept(says("alice", "1")).await;
    home.accept(says("alice", "2")).await;
    let lease = home.hold(first, &me).await;
    let finished = done(home.store.finish(ends(&lease, None, End::Stored)).await.unwrap());
    assert!(!finished.released && finished.owed.is_none());
    let pending = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
    // Accepted while the worker is at what it believes to be the last one.
    home.accept(says("alice", "3")).await;
    let second = Finish { message: pending[0].id, ..ends(&lease, None, End::Stored) };
    assert!(!done(home.store.finish(second).await.unwrap()).released);
    let pending = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
    assert_eq!(pending.iter().map(|p| (p.seq, p.text.as_str())).collect::<Vec<_>>(), [(3, "3")]);
    let third = Finish { message: pending[0].id, ..ends(&lease, None, End::Stored) };
    assert!(done(home.store.finish(third).await.unwrap()).released);
    assert_eq!(home.number("SELECT count(*) FROM conversations WHERE head = tail AND owner IS NULL").await, 1);
    assert_eq!(home.store.counts().await.unwrap().messages["stored"], 3);
}

async fn a_dead_letter_is_owed_to_its_stream(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    let finished = done(home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap());
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.state, record.class.as_deref()), (MessageState::Failed, Some("unavailable")));
    assert_eq!(record.reason.as_deref(), Some("nobody answered"));
    assert_eq!(record.turns[0].state, TurnState::Dead);
    let owed = home.store.outbox_due(Duration::ZERO, 10).await.unwrap();
    let letter = owed.iter().find(|owed| Some(owed.id) == finished.owed.map(|owed| owed.0)).unwrap();
    let OwedKind::DeadLetter { stage, class, reason, attempts } = &letter.what else { panic!("{letter:?}") };
    assert_eq!((stage.as_str(), class.as_str(), *attempts), ("turn", "unavailable", 1));
    assert_eq!((reason.as_str(), letter.text.as_str()), ("nobody answered", "hi"));
    assert!(finished.released, "one failed message stops nothing after it");
}

async fn a_message_ends_in_its_turn(home: Home) {
    let (first, _) = home.accept(says("alice", "1")).await;
    home.accept(says("alice", "2")).await;
    let lease = home.hold(first, &worker("w")).await;
    let jump = Finish { message: lease.pending[1].id, ..ends(&lease, None, silent()) };
    let error = home.store.finish(jump).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    let (stranger, _) = home.accept(says("bob", "1")).await;
    let foreign = Finish { message: stranger, ..ends(&lease, None, silent()) };
    let error = home.store.finish(foreign).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert_eq!(home.store.counts().await.unwrap().messages["received"], 3);
}

/// Against the table in `broca_core::state`: a turn moves a message from `received` or `processing`, as the table says,
/// or lets it stay `received` for the next attempt; from nowhere else.
async fn illegal_moves_are_refused(home: Home) {
    use MessageState::{Completed, Failed, Processing, Received, Stored};
    for from in MessageState::ALL {
        for (to, end) in [(Completed, silent()), (Stored, End::Stored), (Failed, failed()), (Received, retry(TTL))] {
            let (message, _) = home.accept(says(&format!("{from} {to}"), "hi")).await;
            let lease = home.hold(message, &worker("w")).await;
            home.sql(&format!("UPDATE messages SET state = '{from}' WHERE id = {}", home.id(message.0))).await;
            let legal = matches!(from, Received | Processing) && (from.to(to).is_ok() || *from == to);
            let result = home.store.finish(ends(&lease, None, end)).await;
            match result {
                Ok(Fenced::Done(_)) if legal => {}
                Err(StoreError::LeftQueue(_)) if matches!(from, MessageState::Cancelled | MessageState::Held) => {}
                Err(StoreError::Refused(_)) if !legal => {}
                other => panic!("{from} to {to}: {other:?}"),
            }
            let now = home.store.message(message).await.unwrap().unwrap().state;
            assert_eq!(now, if legal { to } else { *from });
        }
    }
}

async fn owed_publishes_are_made_good(home: Home) {
    let mut messages = Vec::new();
    for n in 0..12 {
        messages.push(home.accept(says(&format!("p{n}"), &n.to_string())).await.0);
    }
    assert!(home.store.outbox_due(TTL, 100).await.unwrap().is_empty(), "too young");
    let owed = home.store.outbox_due(Duration::ZERO, 5).await.unwrap();
    assert_eq!(owed.iter().map(|owed| owed.message).collect::<Vec<_>>(), messages[..5], "the oldest first");
    assert!(owed.iter().all(|owed| owed.what == OwedKind::Wake && owed.trace.is_some()));
    futures::future::join_all(owed.iter().map(|owed| home.store.outbox_done(owed.id))).await;
    home.store.outbox_done(owed[0].id).await.unwrap();
    let rest = home.store.outbox_due(Duration::ZERO, 100).await.unwrap();
    assert_eq!(rest.iter().map(|owed| owed.message).collect::<Vec<_>>(), messages[5..]);
}

async fn a_late_end_after_the_release_writes_nothing(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(ends(&lease, Some(turn), retry(TTL))).await.unwrap());
    // The lease was given up with the retry, though nobody has raised the epoch since.
    let again = home.store.finish(ends(&lease, None, failed())).await.unwrap();
    assert!(matches!(again, Fenced::LeaseLost));
    assert_eq!(home.store.message(message).await.unwrap().unwrap().state, MessageState::Received);
}
