//! Messages that wait though nothing of them failed; breakers and slots that all workers share.

use std::time::Duration;

use broca_core::{
    ConversationId, EventKind, Incoming, MessageId, MessageState, Timestamp, WorkerId,
    agent::{Failure, FailureClass},
    breaker::{BreakerPolicy, BreakerState, Turned},
    retry::Budget,
};
use broca_store::{
    Claimed, EndpointSign, EndpointStep, EndpointStepped, Fenced, Lease, NewMessage, Park, Parked, Sign, SlotWish,
    Store, Unpark,
};
use futures::future::join_all;

use crate::{
    home::{Home, TTL, done, ends, failure, retry, says, silent, worker},
    on_both,
};

on_both!(
    what_is_parked_waits_without_an_attempt,
    a_turn_that_is_open_stays_open_while_it_waits,
    what_is_parked_comes_back_one_after_the_other,
    a_breaker_opens_once_and_lets_one_through,
    a_probe_is_kept_by_signs_of_life,
    workers_are_seen_while_they_live,
    slots_are_never_more_than_the_limit,
    a_slot_is_its_conversations,
    a_message_keeps_its_budget,
);

fn parks(lease: &Lease, what_for: Parked, delay: Duration) -> Park {
    Park {
        conversation: lease.conversation,
        epoch: lease.epoch,
        message: lease.pending[0].id,
        what_for,
        until: Timestamp::default(),
        delay,
        seen: None,
        why: Failure::new(FailureClass::Misconfigured, "no such agent"),
    }
}

async fn what_is_parked_waits_without_an_attempt(home: Home) {
    let me = worker("w");
    let (message, conversation) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    let stale = Park { epoch: lease.epoch - 1, ..parks(&lease, Parked::Agent, TTL) };
    assert_eq!(home.store.park(stale).await.unwrap(), Fenced::LeaseLost);
    let Fenced::Done(due) = home.store.park(parks(&lease, Parked::Agent, TTL)).await.unwrap() else { panic!() };
    assert_eq!(home.store.park(parks(&lease, Parked::Agent, TTL)).await.unwrap(), Fenced::LeaseLost, "once");

    assert!(matches!(home.claim(message, &me).await, Claimed::Parked { until } if until == due));
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.attempts, record.class.as_deref()),
        (MessageState::Received, 0, Some("misconfigured"))
    );
    let events = home.store.journey(message).await.unwrap().unwrap().events;
    let parked: Vec<_> = events.iter().filter(|event| event.kind == EventKind::Parked).collect();
    assert_eq!((parked.len(), &parked[0].detail["until"]), (1, &serde_json::json!(due)));
    let counts = home.store.pace().await.unwrap().parked;
    assert_eq!((counts.len(), counts[0].what_for, counts[0].conversations), (1, Parked::Agent, 1));

    home.sql("UPDATE conversations SET not_before = 1, wake_at = 1").await;
    assert_eq!(home.store.wake_due(9, TTL).await.unwrap()[0].conversation, conversation);
    let lease = home.hold(message, &me).await;
    assert!(home.store.pace().await.unwrap().parked.is_empty(), "it is worked on");
    // To wait for a slot is no trouble of the message.
    home.store.park(parks(&lease, Parked::Slot, Duration::ZERO)).await.unwrap();
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap());
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts, record.class), (MessageState::Completed, 1, None));
}

async fn a_turn_that_is_open_stays_open_while_it_waits(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    home.expire_leases().await;
    let lease = home.hold(message, &me).await;
    home.store.park(parks(&lease, Parked::Endpoint, Duration::ZERO)).await.unwrap();
    let lease = home.hold(message, &me).await;
    assert_eq!(lease.open_turn.map(|open| open.id), Some(turn));
}

async fn what_is_parked_comes_back_one_after_the_other(home: Home) {
    let me = worker("w");
    let mut waiting = Vec::new();
    for person in ["a", "b", "c", "d", "e"] {
        let (message, conversation) = home.accept(says(person, "hi")).await;
        let lease = home.hold(message, &me).await;
        let what_for = if person == "e" { Parked::Slot } else { Parked::Endpoint };
        home.store.park(parks(&lease, what_for, TTL)).await.unwrap();
        waiting.push((message, conversation));
    }
    // One that is to be tried again later for reasons of its own is nobody's to wake.
    let (message, _) = home.accept(says("f", "hi")).await;
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(ends(&lease, Some(turn), retry(TTL))).await.unwrap());

    let wish = Unpark {
        what_for: Parked::Endpoint,
        agents: vec!["default".to_owned(), "other".to_owned()],
        at_most: 3,
        from: Timestamp::default(),
        apart: Duration::from_secs(1),
        within: Duration::from_secs(60),
    };
    let other = Unpark { agents: vec!["other".to_owned()], ..wish.clone() };
    assert_eq!(home.store.unpark(other).await.unwrap(), 0);
    assert_eq!(home.store.unpark(wish.clone()).await.unwrap(), 3);
    let due = async |n: usize| {
        let id = home.id(waiting[n].1.0);
        home.number(&format!("SELECT wake_at FROM conversations WHERE id = {id} AND wake_at = not_before")).await
    };
    let (a, b, c) = (due(0).await, due(1).await, due(2).await);
    assert_eq!((b - a, c - b), (1_000_000, 1_000_000));
    assert!(due(3).await > c && due(4).await > c);

    // So many that they would take longer than they may.
    let dense = Unpark { at_most: 9, within: Duration::from_secs(2), from: Timestamp(a + 60_000_000), ..wish };
    assert_eq!(home.store.unpark(dense).await.unwrap(), 4);
    let all = [due(0).await, due(1).await, due(2).await, due(3).await];
    assert_eq!(all, [0, 1, 2, 3].map(|n| a + 60_000_000 + n * 500_000));
}

const POLICY: BreakerPolicy =
    BreakerPolicy { failures: 3, open: Duration::from_secs(60), open_max: Duration::from_secs(600) };

async fn step(store: &Store, worker: &WorkerId, what: EndpointSign) -> EndpointStepped {
    let (endpoint, worker) = ("http://letta/".to_owned(), worker.clone());
    store.endpoint_step(EndpointStep { endpoint, worker, what }).await.unwrap()
}

fn failed() -> EndpointSign {
    EndpointSign::Failed { failure: failure(), policy: POLICY }
}

async fn a_breaker_opens_once_and_lets_one_through(home: Home) {
    let (second, workers) = (home.another().await, [worker("a"), worker("b")]);
    let stores = [&home.store, &second];
    let all = join_all((0..12).map(|n| step(stores[n % 2], &workers[n % 2], failed()))).await;
    let opened = all.iter().filter(|stepped| stepped.turned == Some(Turned::Opened));
    assert_eq!(opened.count(), 1, "{all:?}");
    let claim = || EndpointSign::Claim { ttl: TTL };
    assert!(!step(&second, &workers[1], claim()).await.claimed, "not before its time");

    home.sql("UPDATE endpoints SET open_until = 1").await;
    let all = join_all((0..12).map(|n| step(stores[n % 2], &workers[n % 2], claim()))).await;
    let winners: Vec<_> = all.iter().filter(|stepped| stepped.claimed).collect();
    assert_eq!(winners.len(), 1, "{all:?}");
    let winner = winners[0].breaker.probe.clone().unwrap();
    let loser = workers.iter().find(|worker| **worker != winner).unwrap();
    assert_eq!(step(&second, loser, EndpointSign::Answered).await.turned, None);
    let reopened = step(&home.store, &winner, failed()).await;
    assert_eq!((reopened.turned, reopened.breaker.state), (Some(Turned::Reopened), BreakerState::Open));
    assert_eq!(reopened.breaker.open_until, reopened.now.after(Duration::from_secs(120)));

    home.sql("UPDATE endpoints SET open_until = 1").await;
    assert!(step(&home.store, loser, claim()).await.claimed);
    assert_eq!(step(&home.store, loser, EndpointSign::GiveBack).await.breaker.state, BreakerState::Open);
    assert!(step(&home.store, &winner, claim()).await.claimed);
    let told = home.store.pace().await.unwrap().endpoints;
    assert_eq!((told.len(), told[0].class.as_deref()), (1, Some("unavailable")));
    assert_eq!(step(&home.store, &winner, EndpointSign::Answered).await.turned, Some(Turned::Closed));
    assert!(home.store.pace().await.unwrap().endpoints.is_empty());
    let events = |kind: &str| format!("SELECT count(*) FROM events WHERE kind = '{kind}'");
    assert_eq!(home.number(&events("breaker_opened")).await, 1);
    assert_eq!(home.number(&events("breaker_closed")).await, 1);
}

fn sign(worker: &WorkerId) -> Sign {
    Sign {
        worker: worker.clone(),
        host: "here".to_owned(),
        pid: 7,
        version: "1".to_owned(),
        slots: 10,
        in_use: 3,
        draining: false,
        ttl: TTL,
        turn_slots: Vec::new(),
        slot_ttl: TTL,
        probes: Vec::new(),
    }
}

async fn a_probe_is_kept_by_signs_of_life(home: Home) {
    let (me, other) = (worker("a"), worker("b"));
    for _ in 0..3 {
        step(&home.store, &me, failed()).await;
    }
    home.sql("UPDATE endpoints SET open_until = 1").await;
    let claim = || EndpointSign::Claim { ttl: Duration::ZERO };
    assert!(step(&home.store, &me, claim()).await.claimed);
    let pulse = home.store.sign_of_life(Sign { probes: vec!["http://letta/".to_owned()], ..sign(&me) }).await.unwrap();
    assert_eq!(pulse.endpoints[0].breaker.probe_until, pulse.now.after(TTL));
    assert!(!step(&home.store, &other, claim()).await.claimed);
    home.sql("UPDATE endpoints SET probe_until = 1").await;
    assert!(step(&home.store, &other, claim()).await.claimed, "it gave no sign");
    home.store.sign_of_life(Sign { probes: vec!["http://letta/".to_owned()], ..sign(&me) }).await.unwrap();
    let breaker = &home.store.pace().await.unwrap().endpoints[0].breaker;
    assert_eq!(breaker.probe.as_ref(), Some(&other), "a late sign takes nothing back");
}

async fn workers_are_seen_while_they_live(home: Home) {
    let (one, two) = (worker("one"), worker("two"));
    home.store.sign_of_life(sign(&one)).await.unwrap();
    home.store.sign_of_life(sign(&two)).await.unwrap();
    home.store.sign_of_life(Sign { in_use: 9, draining: true, ..sign(&one) }).await.unwrap();
    home.sql(&format!("UPDATE workers SET alive_until = seen_at - 1 WHERE id = '{two}'")).await;
    let seen = home.store.pace().await.unwrap().workers;
    let seen: Vec<_> = seen.iter().map(|w| (w.id.as_str(), w.in_use, w.draining, w.alive)).collect();
    assert_eq!(seen, [(one.as_str(), 9, true, true), (two.as_str(), 3, false, false)]);
    home.store.worker_ends(&one).await.unwrap();
    // The dead are remembered for a day.
    home.sql("UPDATE workers SET alive_until = 1").await;
    home.store.sign_of_life(sign(&one)).await.unwrap();
    let seen = home.store.pace().await.unwrap().workers;
    assert_eq!(seen.iter().map(|w| w.id.as_str()).collect::<Vec<_>>(), [one.as_str()]);
}

fn wish(conversation: ConversationId, worker: &WorkerId, agent: &str) -> SlotWish {
    SlotWish {
        conversation,
        worker: worker.clone(),
        agent: agent.to_owned(),
        agent_limit: Some(2),
        endpoint: Some("http://letta/".to_owned()),
        blocks: None,
        endpoint_limit: Some(3),
        ttl: TTL,
    }
}

async fn slots_are_never_more_than_the_limit(home: Home) {
    let (second, me) = (home.another().await, worker("w"));
    let stores = [&home.store, &second];
    let of = |agent: &str, n: usize| ConversationId::of(agent, &n.to_string());
    let all = join_all((0..20).map(|n| stores[n % 2].take_slot(wish(of("a", n), &me, "a")))).await;
    assert_eq!(all.into_iter().filter(|granted| *granted.as_ref().unwrap()).count(), 2);
    // The endpoint has room for one more, whichever agent's it is.
    let all = join_all((0..20).map(|n| stores[n % 2].take_slot(wish(of("b", n), &me, "b")))).await;
    assert_eq!(all.into_iter().filter(|granted| *granted.as_ref().unwrap()).count(), 1);
    let elsewhere = SlotWish { endpoint: Some("http://else/".to_owned()), ..wish(of("b", 99), &me, "b") };
    assert!(home.store.take_slot(elsewhere).await.unwrap());
    assert_eq!(home.store.pace().await.unwrap().turn_slots, [("a".to_owned(), 2), ("b".to_owned(), 2)]);
    home.sql("UPDATE turn_slots SET until = 1 WHERE agent = 'a'").await;
    assert!(home.store.take_slot(wish(of("a", 50), &me, "a")).await.unwrap(), "what nobody renews is free");
}

async fn a_slot_is_its_conversations(home: Home) {
    let (dead, me) = (worker("dead"), worker("w"));
    let of = |n: usize| ConversationId::of("a", &n.to_string());
    for n in [1, 2] {
        assert!(home.store.take_slot(wish(of(n), &dead, "a")).await.unwrap());
    }
    assert!(home.store.take_slot(wish(of(1), &me, "a")).await.unwrap(), "taken over with its turn");
    assert!(!home.store.take_slot(wish(of(3), &me, "a")).await.unwrap());
    home.store.free_slot(of(1), &dead).await.unwrap();
    assert!(!home.store.take_slot(wish(of(3), &me, "a")).await.unwrap(), "it is not the dead one's any more");
    home.store.free_slot(of(1), &me).await.unwrap();
    assert!(home.store.take_slot(wish(of(3), &me, "a")).await.unwrap());
    // Signs of life keep what a worker says that it has, and nothing else.
    home.store.sign_of_life(Sign { turn_slots: vec![of(3), of(2)], slot_ttl: 9 * TTL, ..sign(&me) }).await.unwrap();
    let renewed = "SELECT count(*) FROM turn_slots WHERE until > (SELECT min(until) FROM turn_slots)";
    assert_eq!(home.number(renewed).await, 1);
    home.sql(&format!("UPDATE turn_slots SET until = 1 WHERE worker = '{dead}'")).await;
    home.store.sign_of_life(Sign { turn_slots: vec![of(3)], ..sign(&me) }).await.unwrap();
    assert_eq!(home.number("SELECT count(*) FROM turn_slots").await, 1, "the dead one's is cleared away");
}

async fn a_message_keeps_its_budget(home: Home) {
    let me = worker("w");
    let budget = Budget { max_attempts: Some(1), max_age_s: None };
    for budget in [Some(budget), None] {
        let message = says("alice", "hi");
        let incoming = Incoming { budget, ..message.incoming };
        let (id, _): (MessageId, _) = home.accept(NewMessage { incoming, ..message }).await;
        let lease = home.hold(id, &me).await;
        assert_eq!(lease.pending[0].budget, budget);
        let turn = home.start(&lease, &me).await;
        done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap());
    }
}
