//! Holds put on and ended at random, while messages come in and go out: of what the same holds keep back, nothing
//! overtakes anything, and everything ends.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use broca_core::{HoldId, MessageId, TurnId, WorkerId};
use broca_store::{
    AuditLimits, ClaimRequest, Claimed, Fenced, Finish, HoldSubject, IfFailed, NewHold, NewMessage, PutOn, Settled,
    StartTurn, Store, StoreError,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::sync::Mutex;

use crate::{
    holds::together,
    home::{Home, TTL, done, silent, worker},
    on_both,
};

on_both!(
    no_message_overtakes_another_under_any_holds,
    holds_strand_nothing_among_workers,
    a_page_from_before_a_return_begins_nothing_out_of_order
);

const PEOPLE: [&str; 3] = ["ann", "ben", "cem"];
const INSTANCES: [&str; 2] = ["cli", "web"];
const ROUTES: [&str; 2] = ["slow", "fast"];

/// What a message is, as far as holds go, and the how manieth of its kind.
type Kind = (&'static str, &'static str, &'static str);

/// One message of a random kind. Its text says which.
fn any_message(random: &mut StdRng, said: &mut BTreeMap<Kind, usize>) -> NewMessage {
    let kind = (*PEOPLE.choose(random).unwrap(), *INSTANCES.choose(random).unwrap(), *ROUTES.choose(random).unwrap());
    let count = said.entry(kind).or_default();
    *count += 1;
    NewMessage {
        instance: kind.1.parse().unwrap(),
        route: kind.2.to_owned(),
        ..together(kind.0, &format!("{}/{}/{} {count}", kind.0, kind.1, kind.2))
    }
}

/// Of each kind, the numbers in the order in which their turns were started.
fn in_order(begun: &[String]) {
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for text in begun {
        let (kind, n) = text.split_once(' ').unwrap();
        let n: usize = n.parse().unwrap();
        let before = last.insert(kind, n).unwrap_or(0);
        assert_eq!(n, before + 1, "{kind} after {before}: {begun:#?}");
    }
}

async fn any_subject(random: &mut StdRng, store: &Store, message: MessageId) -> HoldSubject {
    let record = store.message(message).await.unwrap().unwrap();
    match random.random_range(0..5) {
        0 | 1 => HoldSubject::User(record.user_id),
        2 => HoldSubject::Instance(INSTANCES.choose(random).unwrap().parse().unwrap()),
        3 => HoldSubject::Route((*ROUTES.choose(random).unwrap()).to_owned()),
        _ => HoldSubject::Conversation(record.conversation_id),
    }
}

/// Claims what a sweep finds, and works on at most `count` messages before it gives the conversation up.
async fn work(store: &Store, me: &WorkerId, count: usize, begun: &Mutex<Vec<String>>) -> bool {
    let Some(wake) = store.wake_due(10, Duration::ZERO).await.unwrap().pop() else { return false };
    let request = ClaimRequest { message: wake.message, instance: wake.instance, worker: me.clone(), ttl: TTL };
    let Claimed::Held(lease) = store.claim(request).await.unwrap() else { return false };
    let (conversation, epoch) = (lease.conversation, lease.epoch);
    for message in lease.pending.into_iter().take(count) {
        let turn = TurnId::new();
        let start = StartTurn { turn, conversation, epoch, message: message.id, worker: me.clone() };
        match store.start_turn(start).await {
            Ok(Fenced::Done(_)) => begun.lock().await.push(message.text),
            Ok(Fenced::LeaseLost) | Err(StoreError::KeptBack(_)) => break,
            Err(error) => panic!("{error}"),
        }
        let if_failed = IfFailed::default();
        let finish = Finish { conversation, epoch, message: message.id, turn: Some(turn), end: silent(), if_failed };
        if done(store.finish(finish).await.unwrap()).released {
            return true;
        }
    }
    store.release(conversation, epoch).await.unwrap();
    true
}

/// One after the other, from one seed: every step leaves sound rows.
async fn no_message_overtakes_another_under_any_holds(home: Home) {
    let seed = std::env::var("BROCA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = StdRng::seed_from_u64(seed);
    let (me, begun, mut said) = (worker("w"), Mutex::new(Vec::new()), BTreeMap::new());
    let (mut last, mut total, mut on) = (None, 0, Vec::<HoldId>::new());
    let limits = AuditLimits { overdue: Duration::from_secs(600), max_age: None };
    for _ in 0..if home.is_postgres() { 250 } else { 150 } {
        match (random.random_range(0..10), last) {
            (0..=3, _) | (_, None) => {
                last = Some(home.accept(any_message(&mut random, &mut said)).await.0);
                total += 1;
            }
            (4..=5, _) => {
                home.sql("UPDATE conversations SET wake_at = 1 WHERE owner IS NULL").await;
                work(&home.store, &me, random.random_range(1..4), &begun).await;
            }
            (6..=7, Some(message)) => {
                let subject = any_subject(&mut random, &home.store, message).await;
                let new = NewHold { subject, reason: "any".to_owned(), actor: "test".to_owned(), life: None };
                if let PutOn::New(hold) = home.store.put_hold(new).await.unwrap() {
                    on.push(hold.id);
                }
            }
            (8, _) if !on.is_empty() => {
                let hold = on.swap_remove(random.random_range(0..on.len()));
                home.store.release_hold(hold, "test").await.unwrap();
            }
            _ => {
                if let Some(hold) = home.store.ended_holds(9).await.unwrap().choose(&mut random) {
                    home.store.settle_hold(*hold).await.unwrap();
                }
            }
        }
        let found = home.store.audit(&limits).await.unwrap();
        assert!(found.is_empty(), "seed {seed}: {found:?}");
        in_order(&begun.lock().await);
    }
    for hold in on {
        home.store.release_hold(hold, "test").await.unwrap();
    }
    while let Some(hold) = home.store.ended_holds(1).await.unwrap().pop() {
        assert!(!matches!(home.store.settle_hold(hold).await.unwrap(), Settled::Active | Settled::Unknown));
    }
    home.sql("UPDATE conversations SET wake_at = 1").await;
    while work(&home.store, &me, 9, &begun).await {
        home.sql("UPDATE conversations SET wake_at = 1").await;
    }
    in_order(&begun.lock().await);
    assert_eq!(begun.lock().await.len(), total, "seed {seed}");
}

/// Three workers with sweeps of their own, a sender and an operator, all at once.
async fn holds_strand_nothing_among_workers(home: Home) {
    const MESSAGES: usize = 150;
    let begun = Arc::new(Mutex::new(Vec::new()));
    let operators = Arc::new(AtomicUsize::new(1));
    let workers = ["a", "b", "c"].map(|name| {
        let (begun, operators) = (begun.clone(), operators.clone());
        let store = home.another();
        async move {
            let (store, me) = (store.await, worker(name));
            while begun.lock().await.len() < MESSAGES || operators.load(Ordering::Relaxed) > 0 {
                for hold in store.ended_holds(9).await.unwrap() {
                    store.settle_hold(hold).await.unwrap();
                }
                if !work(&store, &me, 5, &begun).await {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let sender = async {
        let (mut random, mut said) = (StdRng::seed_from_u64(1), BTreeMap::new());
        for _ in 0..MESSAGES {
            home.accept(any_message(&mut random, &mut said)).await;
            home.sql("UPDATE conversations SET wake_at = 1 WHERE head < tail AND owner IS NULL").await;
        }
    };
    let operator = async {
        let (store, mut random) = (home.another().await, StdRng::seed_from_u64(2));
        while begun.lock().await.len() < MESSAGES {
            let subject = match random.random_range(0..3) {
                0 => HoldSubject::Instance(INSTANCES.choose(&mut random).unwrap().parse().unwrap()),
                1 => HoldSubject::Route((*ROUTES.choose(&mut random).unwrap()).to_owned()),
                _ => HoldSubject::Agent("default".to_owned()),
            };
            let new = NewHold { subject, reason: "any".to_owned(), actor: "test".to_owned(), life: None };
            if let PutOn::New(hold) = store.put_hold(new).await.unwrap() {
                tokio::task::yield_now().await;
                store.release_hold(hold.id, "test").await.unwrap();
            }
        }
        operators.store(0, Ordering::Relaxed);
    };
    let [a, b, c] = workers;
    let all_of_it = async { tokio::join!(sender, operator, a, b, c) };
    tokio::time::timeout(Duration::from_secs(100), all_of_it).await.expect("something is stranded");
    in_order(&begun.lock().await);
    assert_eq!(begun.lock().await.len(), MESSAGES);
    assert_eq!(home.number("SELECT count(*) FROM conversations WHERE head <> tail OR owner IS NOT NULL").await, 0);
    assert_eq!(home.number("SELECT count(*) FROM messages WHERE state <> 'completed' OR held_by IS NOT NULL").await, 0);
}

/// A worker reads its page, and then the end of a hold puts the message on it behind another one.
async fn a_page_from_before_a_return_begins_nothing_out_of_order(home: Home) {
    let (store, me) = (&home.store, worker("w"));
    let hold = async |subject| {
        let new = NewHold { subject, reason: "any".to_owned(), actor: "test".to_owned(), life: None };
        match store.put_hold(new).await.unwrap() {
            PutOn::New(hold) => hold.id,
            other => panic!("{other:?}"),
        }
    };
    let settle = async |hold| while matches!(store.settle_hold(hold).await.unwrap(), Settled::Step { .. }) {};
    let message = |instance: &str, text: &str| NewMessage {
        instance: instance.parse().unwrap(),
        route: "slow".to_owned(),
        ..together("ann", text)
    };
    let claim = |message, instance: &str| ClaimRequest {
        message,
        instance: instance.parse().unwrap(),
        worker: me.clone(),
        ttl: TTL,
    };

    let instance = hold(HoldSubject::Instance("web".parse().unwrap())).await;
    let (first, _) = home.accept(message("web", "first")).await;
    assert!(matches!(store.claim(claim(first, "web")).await.unwrap(), Claimed::Idle), "all of it is set aside");
    store.release_hold(instance, "test").await.unwrap();
    let (second, _) = home.accept(message("cli", "second")).await;
    let Claimed::Held(lease) = store.claim(claim(second, "cli")).await.unwrap() else { panic!("it is free") };
    assert_eq!(lease.pending.iter().map(|message| message.id).collect::<Vec<_>>(), [second]);

    // What the first hold took out goes over to the second one, and comes back before what was accepted behind it.
    let route = hold(HoldSubject::Route("slow".to_owned())).await;
    settle(instance).await;
    store.release_hold(route, "test").await.unwrap();
    settle(route).await;

    let (conversation, epoch) = (lease.conversation, lease.epoch);
    let start = |message| StartTurn { turn: TurnId::new(), conversation, epoch, message, worker: me.clone() };
    assert!(matches!(store.start_turn(start(second)).await, Err(StoreError::KeptBack(id)) if id == second));
    let page = store.pending(conversation, epoch).await.unwrap();
    assert_eq!(page.iter().map(|message| message.id).collect::<Vec<_>>(), [first, second]);
    for message in [first, second] {
        let start = start(message);
        let turn = Some(start.turn);
        assert!(matches!(store.start_turn(start).await, Ok(Fenced::Done(1))));
        let finish = Finish { conversation, epoch, message, turn, end: silent(), if_failed: IfFailed::default() };
        assert_eq!(done(store.finish(finish).await.unwrap()).released, message == second);
    }
}
