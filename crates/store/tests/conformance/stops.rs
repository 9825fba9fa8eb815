//! A turn under way that somebody wants stopped: whoever ends it knows, at the latest when the end is written.

use std::time::Duration;

use broca_core::{EventKind, MessageState, TurnId, TurnState};
use broca_store::{Behind, Cancelled, Fenced, MessageEnd, ResumeTurn, StopKind, StoreError};

use crate::{
    bursts::{accept, end_of, ended, joint_of, sound, states},
    home::{Home, answered, ends, failed, failure, held, retry, says, worker},
    on_both,
};

on_both!(
    no_end_gets_past_a_cancellation,
    a_wish_survives_the_worker,
    one_of_several_is_cancelled,
    an_interrupted_message_waits_again,
    what_came_since_is_of_the_same_chat,
    a_replay_forgets_what_was_heard,
);

const WHY: &str = "cancelled by cli:test";

async fn no_end_gets_past_a_cancellation(home: Home) {
    let me = worker("w");
    let message = accept(&home, "alice", 1).await[0];
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    assert_eq!(home.store.stops().await.unwrap(), []);
    for _ in 0..2 {
        assert_eq!(home.store.cancel(message, WHY).await.unwrap(), Cancelled::Stopping, "as often as one likes");
    }
    let [stop] = &home.store.stops().await.unwrap()[..] else { panic!("one wish") };
    assert_eq!((stop.message, stop.kind, stop.reason.as_str()), (message, StopKind::Cancel, WHY));
    let late = answered(&lease, turn, broca_core::ResponseId::new(), "too late");
    for end in [late, ends(&lease, Some(turn), failed()), ends(&lease, Some(turn), retry(Duration::ZERO))] {
        let refused = home.store.finish(end).await;
        assert!(matches!(refused, Err(StoreError::StopAsked(id)) if id == message), "{refused:?}");
    }
    let refused = end_of(&lease, turn, TurnState::Answered, vec![(message, MessageEnd::Answered)]);
    assert!(matches!(home.store.end_turn(refused).await, Err(StoreError::StopAsked(_))));
    let end = end_of(&lease, turn, TurnState::Cancelled, vec![(message, MessageEnd::Cancelled(failure()))]);
    let ended = ended(home.store.end_turn(end).await.unwrap());
    assert!(ended.released && ended.owed.is_empty(), "{ended:?}");
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.state, record.turns[0].state), (MessageState::Cancelled, TurnState::Cancelled));
    assert!(record.responses.is_empty());
    assert_eq!(home.store.stops().await.unwrap(), []);
    let journey = home.store.journey(message).await.unwrap().unwrap().events;
    assert_eq!(journey.iter().filter(|event| event.kind == EventKind::StopAsked).count(), 1);
    sound(&home).await;
}

async fn a_wish_survives_the_worker(home: Home) {
    let message = accept(&home, "alice", 1).await[0];
    let lease = home.hold(message, &worker("w")).await;
    let turn = home.start(&lease, &worker("w")).await;
    let kept = home.store.interrupt(lease.conversation, lease.epoch, message, "more came").await.unwrap();
    assert_eq!(kept, Fenced::Done(()));
    assert_eq!(home.store.stops().await.unwrap()[0].kind, StopKind::Interrupt);
    assert_eq!(home.store.cancel(message, WHY).await.unwrap(), Cancelled::Stopping);
    home.expire_leases().await;
    let next = home.hold(message, &worker("next")).await;
    let stale = home.store.interrupt(lease.conversation, lease.epoch, message, "more came").await.unwrap();
    assert_eq!(stale, Fenced::LeaseLost);
    let again = home.store.interrupt(next.conversation, next.epoch, message, "more came").await.unwrap();
    assert_eq!(again, Fenced::Done(()));
    let [stop] = &home.store.stops().await.unwrap()[..] else { panic!("one wish") };
    assert_eq!(stop.kind, StopKind::Cancel, "a person's word goes over a route's");
    let resume = ResumeTurn { turn, conversation: next.conversation, epoch: next.epoch, worker: worker("next") };
    assert_eq!(home.store.resume_turn(resume).await.unwrap(), Fenced::Done(2));
    let end = end_of(&next, turn, TurnState::Cancelled, vec![(message, MessageEnd::Cancelled(failure()))]);
    assert!(ended(home.store.end_turn(end).await.unwrap()).released);
    sound(&home).await;
}

async fn one_of_several_is_cancelled(home: Home) {
    let messages = accept(&home, "alice", 3).await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let turn = TurnId::new();
    home.store.start_joint(joint_of(&lease, turn, &messages)).await.unwrap();
    assert_eq!(home.store.cancel(messages[2], WHY).await.unwrap(), Cancelled::Stopping);
    let back = MessageEnd::Interrupted { heard: false };
    let ends = vec![(messages[0], back.clone()), (messages[1], back), (messages[2], MessageEnd::Cancelled(failure()))];
    assert!(!ended(home.store.end_turn(end_of(&lease, turn, TurnState::Cancelled, ends)).await.unwrap()).released);
    use MessageState::{Cancelled as Gone, Received};
    assert_eq!(states(&home, &messages).await, [Received, Received, Gone]);
    let pending = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
    assert_eq!(pending.iter().map(|message| message.id).collect::<Vec<_>>(), messages[..2]);
    let turn = TurnId::new();
    let started = home.store.start_joint(joint_of(&lease, turn, &messages[..2])).await.unwrap();
    assert_eq!(started, Fenced::Done(2));
    let ends = messages[..2].iter().map(|message| (*message, MessageEnd::Answered)).collect();
    assert!(ended(home.store.end_turn(end_of(&lease, turn, TurnState::Answered, ends)).await.unwrap()).released);
    sound(&home).await;
}

async fn an_interrupted_message_waits_again(home: Home) {
    let me = worker("w");
    let first = accept(&home, "alice", 1).await[0];
    let lease = home.hold(first, &me).await;
    let turn = home.start(&lease, &me).await;
    let second = accept(&home, "alice", 1).await[0];
    home.store.interrupt(lease.conversation, lease.epoch, first, "more came").await.unwrap();
    let ends = vec![(first, MessageEnd::Interrupted { heard: true })];
    let ended = ended(home.store.end_turn(end_of(&lease, turn, TurnState::Cancelled, ends)).await.unwrap());
    assert!(!ended.released && ended.owed.is_empty());
    let pending = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
    let seen: Vec<_> = pending.iter().map(|m| (m.id, m.heard, m.interrupted, m.attempts - m.attempts_before)).collect();
    assert_eq!(seen, [(first, true, 1, 0), (second, false, 0, 0)], "the attempt is given back");
    assert_eq!(home.store.stops().await.unwrap(), []);
    sound(&home).await;
}

async fn what_came_since_is_of_the_same_chat(home: Home) {
    let me = worker("w");
    let said = |person: &str, chat: Option<&str>, route: &str| {
        let message = says(person, "hi");
        let incoming = broca_core::Incoming { chat_id: chat.map(str::to_owned), ..message.incoming };
        let scope = broca_core::route::Scope::Agent;
        broca_store::NewMessage { incoming, scope, route: route.to_owned(), ..message }
    };
    let first = home.accept(said("alice", None, "r")).await.0;
    let lease = held(home.claim(first, &me).await);
    home.start(&lease, &me).await;
    let behind = || Behind { conversation: lease.conversation, seq: lease.pending[0].seq, message: first };
    for other in [said("bob", None, "r"), said("alice", Some("room"), "r"), said("alice", None, "other")] {
        home.accept(other).await;
        assert_eq!(home.store.waiting_behind(&behind()).await.unwrap(), None);
    }
    let same = home.accept(said("alice", None, "r")).await.0;
    assert_eq!(home.store.waiting_behind(&behind()).await.unwrap(), Some(same));
}

async fn a_replay_forgets_what_was_heard(home: Home) {
    let me = worker("w");
    let message = accept(&home, "alice", 1).await[0];
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    let ends = vec![(message, MessageEnd::Interrupted { heard: true })];
    ended(home.store.end_turn(end_of(&lease, turn, TurnState::Cancelled, ends)).await.unwrap());
    assert_eq!(home.store.cancel(message, WHY).await.unwrap(), Cancelled::Message, "it waits again");
    let item =
        broca_store::NewPlanItem { message, response: None, stage: broca_store::Stage::Turn, replays: 0, text: None };
    let plan = crate::replay::plan(&home.store, vec![item]).await;
    assert_eq!(crate::replay::apply(&home.store, plan).await, [None]);
    let lease = home.hold(message, &me).await;
    let pending = &lease.pending[0];
    assert_eq!((pending.heard, pending.interrupted, pending.replayed), (false, 0, true));
}
