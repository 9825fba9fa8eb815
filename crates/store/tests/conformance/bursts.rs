//! Several messages in one turn: each keeps its own end, whoever dies, and nothing of the queue gets lost.

use std::time::Duration;

use broca_core::{
    EventKind, MessageId, MessageState, ResponseId, Timestamp, TurnId, TurnState,
    agent::{Failure, FailureClass},
};
use broca_store::{
    AuditLimits, Cancelled, Claimed, EndTurn, Fenced, IfFailed, Lease, LetterFilter, MessageEnd, NewResponse, Park,
    Parked, ResumeTurn, StartJoint, StoreError, TurnEnded,
};

use crate::{
    home::{Home, TTL, failure, says, worker},
    on_both,
};

on_both!(
    a_burst_is_one_turn,
    a_successor_goes_on_with_the_same_messages,
    only_what_is_first_is_joined,
    each_message_has_its_own_end,
    what_comes_meanwhile_is_next,
    what_failed_is_replayed_one_by_one,
    what_waits_is_joined_on_somebodys_word,
    any_wake_looks_into_a_window,
    no_window_closes_over_a_message_that_came_meanwhile,
    a_start_and_an_end_can_be_repeated,
    many_at_once_strand_nothing,
);

pub(crate) async fn accept(home: &Home, person: &str, count: usize) -> Vec<MessageId> {
    let mut messages = Vec::new();
    for n in 1..=count {
        messages.push(home.accept(says(person, &n.to_string())).await.0);
    }
    messages
}

pub(crate) async fn sound(home: &Home) {
    let limits = AuditLimits { overdue: Duration::from_secs(60), max_age: None };
    assert_eq!(home.store.audit(&limits).await.unwrap(), []);
}

async fn at_rest(home: &Home) {
    sound(home).await;
    assert_eq!(home.number("SELECT count(*) FROM conversations WHERE head <> tail OR owner IS NOT NULL").await, 0);
}

pub(crate) fn joint_of(lease: &Lease, turn: TurnId, messages: &[MessageId]) -> StartJoint {
    let (conversation, epoch) = (lease.conversation, lease.epoch);
    StartJoint { turn, conversation, epoch, messages: messages.to_vec(), worker: worker("w") }
}

async fn start(home: &Home, lease: &Lease, messages: &[MessageId]) -> TurnId {
    let turn = TurnId::new();
    assert_eq!(home.store.start_joint(joint_of(lease, turn, messages)).await.unwrap(), Fenced::Done(1));
    turn
}

pub(crate) fn end_of(lease: &Lease, turn: TurnId, state: TurnState, ends: Vec<(MessageId, MessageEnd)>) -> EndTurn {
    EndTurn {
        conversation: lease.conversation,
        epoch: lease.epoch,
        turn,
        state,
        failure: (state != TurnState::Answered).then(failure),
        usage: None,
        ends,
        response: None,
        if_failed: IfFailed::default(),
        delay: Duration::ZERO,
    }
}

pub(crate) fn ended(ended: Fenced<TurnEnded>) -> TurnEnded {
    match ended {
        Fenced::Done(ended) => ended,
        Fenced::LeaseLost => panic!("the lease was lost"),
    }
}

fn all(messages: &[MessageId], end: &MessageEnd) -> Vec<(MessageId, MessageEnd)> {
    messages.iter().map(|message| (*message, end.clone())).collect()
}

fn answer(turn: EndTurn) -> EndTurn {
    EndTurn { response: Some(NewResponse { id: ResponseId::new(), text: "hello to all".into() }), ..turn }
}

pub(crate) async fn states(home: &Home, messages: &[MessageId]) -> Vec<MessageState> {
    let mut states = Vec::new();
    for message in messages {
        states.push(home.store.message(*message).await.unwrap().unwrap().state);
    }
    states
}

async fn a_burst_is_one_turn(home: Home) {
    let messages = accept(&home, "alice", 5).await;
    let lease = home.hold(messages[2], &worker("w")).await;
    let turn = start(&home, &lease, &messages).await;
    sound(&home).await;
    let end = answer(end_of(&lease, turn, TurnState::Answered, all(&messages, &MessageEnd::Answered)));
    let ended = ended(home.store.end_turn(end).await.unwrap());
    assert!(ended.released);
    assert_eq!(ended.owed.iter().map(|(message, _)| *message).collect::<Vec<_>>(), [messages[4]]);
    for message in &messages {
        let record = home.store.message(*message).await.unwrap().unwrap();
        let is_last = *message == messages[4];
        assert_eq!((record.state, record.attempts, record.class), (MessageState::Completed, 1, None));
        assert_eq!((record.turns.len(), record.turns[0].id), (1, turn), "each has the turn in its own record");
        assert_eq!(record.responses.len(), usize::from(is_last));
        assert_eq!(record.answered_with, (!is_last).then_some(messages[4]));
        assert_eq!(record.reason.is_some_and(|reason| reason.contains(&messages[4].to_string())), !is_last);
        let journey = home.store.journey(*message).await.unwrap().unwrap().events;
        let kinds: Vec<_> = journey.iter().map(|event| event.kind).collect();
        for kind in [EventKind::Coalesced, EventKind::TurnStarted, EventKind::TurnAnswered, EventKind::Answered] {
            assert_eq!(kinds.iter().filter(|found| **found == kind).count(), 1, "{kind} in {kinds:?}");
        }
    }
    assert_eq!(home.number("SELECT count(*) FROM turns").await, 1);
    at_rest(&home).await;
}

async fn a_successor_goes_on_with_the_same_messages(home: Home) {
    let messages = accept(&home, "alice", 3).await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let turn = start(&home, &lease, &messages).await;
    let late = home.accept(says("alice", "late")).await.0;
    assert_eq!(home.store.record_run(turn, lease.epoch, "run-1").await.unwrap(), Fenced::Done(()));
    home.expire_leases().await;
    let next = home.hold(late, &worker("next")).await;
    let open = next.open_turn.clone().unwrap();
    assert_eq!((open.id, open.messages, open.message, open.run.as_deref()), (turn, 3, messages[0], Some("run-1")));
    assert_eq!(home.store.messages_of_turn(turn).await.unwrap(), messages);
    let resume = ResumeTurn { turn, conversation: next.conversation, epoch: next.epoch, worker: worker("next") };
    assert_eq!(home.store.resume_turn(resume).await.unwrap(), Fenced::Done(2));
    let stale = end_of(&lease, turn, TurnState::Answered, all(&messages, &MessageEnd::Answered));
    assert!(matches!(home.store.end_turn(stale).await.unwrap(), Fenced::LeaseLost), "the fence holds");
    let end = answer(end_of(&next, turn, TurnState::Answered, all(&messages, &MessageEnd::Answered)));
    assert!(!ended(home.store.end_turn(end).await.unwrap()).released, "one came late");
    for message in &messages {
        assert_eq!(home.store.message(*message).await.unwrap().unwrap().attempts, 2, "each counts the attempt");
    }
    let pending = home.store.pending(next.conversation, next.epoch).await.unwrap();
    assert_eq!(pending.iter().map(|message| message.id).collect::<Vec<_>>(), [late]);
    sound(&home).await;
}

async fn only_what_is_first_is_joined(home: Home) {
    let messages = accept(&home, "alice", 4).await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let changed = async |messages: &[MessageId]| {
        let refused = home.store.start_joint(joint_of(&lease, TurnId::new(), messages)).await;
        assert!(matches!(refused, Err(StoreError::QueueChanged(_))), "{refused:?}");
    };
    changed(&messages[1..]).await;
    changed(&messages[..1]).await;
    changed(&[messages[0], messages[2]]).await;
    assert_eq!(home.store.cancel(messages[1], "no").await.unwrap(), Cancelled::Message);
    changed(&messages[..3]).await;
    assert_eq!(states(&home, &messages[2..]).await, [MessageState::Received; 2], "nothing of it was written");
    let turn = start(&home, &lease, &[messages[0], messages[2]]).await;
    let end = all(&[messages[0], messages[2]], &MessageEnd::Answered);
    assert!(!ended(home.store.end_turn(end_of(&lease, turn, TurnState::Answered, end)).await.unwrap()).released);
    sound(&home).await;
}

async fn each_message_has_its_own_end(home: Home) {
    let messages = accept(&home, "alice", 5).await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let turn = start(&home, &lease, &messages).await;
    let again = MessageEnd::Again(failure());
    let ends = [
        again.clone(),
        MessageEnd::Failed(failure()),
        MessageEnd::Cancelled(failure()),
        again,
        MessageEnd::Failed(failure()),
    ];
    let ends: Vec<_> = messages.iter().copied().zip(ends).collect();
    let end = EndTurn { delay: TTL, ..end_of(&lease, turn, TurnState::Retry, ends) };
    let ended = ended(home.store.end_turn(end).await.unwrap());
    assert!(ended.released, "it is parked");
    assert_eq!(ended.owed.len(), 2, "each dead letter has its own copy");
    use MessageState::{Cancelled, Failed, Received};
    assert_eq!(states(&home, &messages).await, [Received, Failed, Cancelled, Received, Failed]);
    assert!(matches!(home.claim(messages[0], &worker("w")).await, Claimed::Parked { .. }));
    sound(&home).await;
    home.sql("UPDATE conversations SET not_before = 0").await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let left = [messages[0], messages[3]];
    assert_eq!(lease.pending.iter().map(|message| message.id).collect::<Vec<_>>(), left);
    let turn = TurnId::new();
    assert_eq!(home.store.start_joint(joint_of(&lease, turn, &left)).await.unwrap(), Fenced::Done(2));
    let end = end_of(&lease, turn, TurnState::Answered, all(&left, &MessageEnd::Answered));
    assert!(ended_released(&home, end).await);
    at_rest(&home).await;
}

async fn ended_released(home: &Home, end: EndTurn) -> bool {
    ended(home.store.end_turn(end).await.unwrap()).released
}

async fn what_comes_meanwhile_is_next(home: Home) {
    let messages = accept(&home, "alice", 2).await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let turn = start(&home, &lease, &messages).await;
    let late = accept(&home, "alice", 2).await;
    assert_eq!(home.store.cancel(late[1], "no").await.unwrap(), Cancelled::Message, "it stood at the tail");
    let end = end_of(&lease, turn, TurnState::Answered, all(&messages, &MessageEnd::Answered));
    assert!(!ended_released(&home, end).await);
    let turn = TurnId::new();
    let one = StartJoint { messages: vec![late[0]], ..joint_of(&lease, turn, &[]) };
    assert!(home.store.start_joint(one).await.is_err(), "one message is no burst");
    sound(&home).await;
}

async fn what_failed_is_replayed_one_by_one(home: Home) {
    let messages = accept(&home, "alice", 3).await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let turn = start(&home, &lease, &messages).await;
    let end = end_of(&lease, turn, TurnState::Dead, all(&messages, &MessageEnd::Failed(failure())));
    assert!(ended_released(&home, end).await);
    at_rest(&home).await;
    let letters = home.store.letters(&LetterFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters.len(), 3, "each is a letter of its own");
    for letter in &letters {
        assert_eq!(letter.class.as_deref(), Some(FailureClass::Unavailable.as_str()));
    }
}

async fn what_waits_is_joined_on_somebodys_word(home: Home) {
    let messages = accept(&home, "alice", 20).await;
    let (_, conversation) = home.accept(says("bob", "idle")).await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let park = Park {
        conversation: lease.conversation,
        epoch: lease.epoch,
        message: messages[0],
        what_for: Parked::Endpoint,
        until: Default::default(),
        delay: TTL,
        seen: None,
        why: failure(),
    };
    assert!(matches!(home.store.park(park).await.unwrap(), Fenced::Done(_)));
    let joined = home.store.join_waiting(&[lease.conversation, conversation]).await.unwrap();
    assert_eq!(joined, [(lease.conversation, 20), (conversation, 1)]);
    let due = home.store.wake_due(10, TTL).await.unwrap();
    assert!(due.iter().any(|wake| wake.conversation == lease.conversation), "it is due at once");
    let late = home.accept(says("alice", "late")).await.0;
    let lease = home.hold(late, &worker("w")).await;
    assert!(lease.pending.iter().all(|message| message.to_join));
    let all = home.store.gather(lease.conversation, lease.epoch, 200).await.unwrap();
    assert_eq!(all.len(), 21);
    assert_eq!(all.iter().filter(|message| message.to_join).count(), 20, "what comes later is not meant");
}

async fn any_wake_looks_into_a_window(home: Home) {
    let first = accept(&home, "alice", 1).await[0];
    let lease = home.hold(first, &worker("w")).await;
    let why = Failure::new(FailureClass::Gathering, "more may follow");
    let (conversation, epoch) = (lease.conversation, lease.epoch);
    let park = Park {
        conversation,
        epoch,
        message: first,
        what_for: Parked::Window,
        until: Default::default(),
        delay: TTL,
        seen: Some(lease.pending[0].seq),
        why,
    };
    assert!(matches!(home.store.park(park.clone()).await.unwrap(), Fenced::Done(_)));
    assert_eq!(home.store.wake_due(10, TTL).await.unwrap(), [], "no sweep wakes it before its time");
    let record = home.store.message(first).await.unwrap().unwrap();
    assert_eq!((record.state, record.class, record.attempts), (MessageState::Received, None, 0));
    let urgent = says("alice", "now?");
    let incoming = broca_core::Incoming { urgent: true, ..urgent.incoming.clone() };
    let second = home.accept(broca_store::NewMessage { incoming, ..urgent }).await.0;
    let lease = home.hold(second, &worker("w")).await;
    assert_eq!(lease.pending.iter().map(|m| (m.id, m.urgent)).collect::<Vec<_>>(), [(first, false), (second, true)]);
    // Any other park keeps a wake out.
    let park = Park { epoch: lease.epoch, what_for: Parked::Endpoint, delay: TTL * 2, ..park };
    assert!(matches!(home.store.park(park).await.unwrap(), Fenced::Done(_)));
    assert!(matches!(home.claim(second, &worker("w")).await, Claimed::Parked { .. }));
}

/// Its wake found the conversation taken: nobody would look before the window ends.
async fn no_window_closes_over_a_message_that_came_meanwhile(home: Home) {
    let first = accept(&home, "alice", 1).await[0];
    let lease = home.hold(first, &worker("w")).await;
    let seen = lease.pending[0].seq;
    let late = accept(&home, "alice", 1).await[0];
    assert!(matches!(home.claim(late, &worker("other")).await, Claimed::Busy));
    let park = |seen| Park {
        conversation: lease.conversation,
        epoch: lease.epoch,
        message: first,
        what_for: Parked::Window,
        until: Default::default(),
        delay: TTL,
        seen: Some(seen),
        why: failure(),
    };
    assert_eq!(home.store.park(park(seen)).await.unwrap(), Fenced::Done(Timestamp(0)), "look again");
    let again = home.store.gather(lease.conversation, lease.epoch, 10).await.unwrap();
    assert_eq!(again.iter().map(|message| message.id).collect::<Vec<_>>(), [first, late], "the lease is kept");
    assert!(matches!(home.store.park(park(again[1].seq)).await.unwrap(), Fenced::Done(until) if until > Timestamp(0)));
    assert!(matches!(home.store.park(park(seen)).await.unwrap(), Fenced::LeaseLost));
}

async fn a_start_and_an_end_can_be_repeated(home: Home) {
    let messages = accept(&home, "alice", 2).await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let turn = start(&home, &lease, &messages).await;
    let again = home.store.start_joint(joint_of(&lease, turn, &messages)).await.unwrap();
    assert_eq!(again, Fenced::Done(1), "its answer got lost");
    assert_eq!(home.store.message(messages[1]).await.unwrap().unwrap().attempts, 1);
    let end = answer(end_of(&lease, turn, TurnState::Answered, all(&messages, &MessageEnd::Answered)));
    assert!(ended_released(&home, end.clone()).await);
    assert!(matches!(home.store.end_turn(end).await, Ok(Fenced::LeaseLost)), "the lease went with it");
    assert_eq!(home.number("SELECT count(*) FROM responses").await, 1);
}

/// Senders, cancellers and workers that join whatever waits, on the same conversation.
async fn many_at_once_strand_nothing(home: Home) {
    let total = if home.is_postgres() { 200 } else { 60 };
    let sender = async {
        for n in 0..total {
            let message = home.accept(says("alice", &n.to_string())).await.0;
            if n % 7 == 3 {
                home.store.cancel(message, "no").await.unwrap();
            }
        }
    };
    let stores = [home.another().await, home.another().await];
    let [a, b] = stores.map(|store| works(store, total));
    tokio::time::timeout(Duration::from_secs(100), async { tokio::join!(sender, a, b) }).await.expect("stranded");
    at_rest(&home).await;
    let counts = home.store.counts().await.unwrap().messages;
    let of = |state: &str| counts.get(state).copied().unwrap_or(0);
    assert_eq!(of("completed") + of("cancelled"), i64::try_from(total).unwrap(), "{counts:?}");
    assert!(home.number("SELECT count(*) FROM turn_messages").await > 0);
}

async fn works(store: broca_store::Store, total: usize) {
    let me = worker("w");
    loop {
        let counts = store.counts().await.unwrap();
        let of = |state: &str| counts.messages.get(state).copied().unwrap_or(0);
        if of("completed") + of("cancelled") == i64::try_from(total).unwrap() {
            return;
        }
        for wake in store.wake_due(5, Duration::from_millis(1)).await.unwrap() {
            let Claimed::Held(lease) = store.claim(crate::home::wish(wake.message, &me)).await.unwrap() else {
                continue;
            };
            gather(&store, &lease).await;
        }
    }
}

/// Joins what waits, again and again, until the lease is gone.
async fn gather(store: &broca_store::Store, lease: &Lease) {
    loop {
        let pending = store.gather(lease.conversation, lease.epoch, 10).await.unwrap();
        let messages: Vec<_> = pending.iter().map(|message| message.id).collect();
        let turn = TurnId::new();
        let started = match messages.len() {
            0 => return,
            1 => {
                let (conversation, epoch) = (lease.conversation, lease.epoch);
                let start =
                    broca_store::StartTurn { turn, conversation, epoch, message: messages[0], worker: worker("w") };
                store.start_turn(start).await
            }
            _ => store.start_joint(joint_of(lease, turn, &messages)).await,
        };
        match started {
            Ok(Fenced::Done(_)) => {}
            Ok(Fenced::LeaseLost) => return,
            Err(StoreError::QueueChanged(_) | StoreError::LeftQueue(_)) => continue,
            Err(error) => panic!("{error}"),
        }
        let mut ends = all(&messages, &MessageEnd::Answered);
        loop {
            match store.end_turn(end_of(lease, turn, TurnState::Answered, ends.clone())).await {
                Ok(done) if ended_here(&done) => return,
                Ok(_) => break,
                Err(StoreError::StopAsked(message)) => {
                    for (_, end) in ends.iter_mut().filter(|(id, _)| *id == message) {
                        *end = MessageEnd::Cancelled(failure());
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn ended_here(done: &Fenced<TurnEnded>) -> bool {
    match done {
        Fenced::Done(done) => done.released,
        Fenced::LeaseLost => true,
    }
}
