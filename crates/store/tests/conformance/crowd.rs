//! Many workers in two processes over many conversations: nobody is doubled, nothing is stranded, order holds.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use broca_core::{ConversationId, MessageId, ResponseId, TurnId};
use broca_store::{Accepted, Claimed, Fenced, Lease, Store};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    home::{Home, answered, done, says, start_of, wish, worker},
    on_both,
};

on_both!(a_crowd_strands_nothing);

const CONVERSATIONS: usize = 40;
const PRODUCERS: usize = 8;
const WORKERS: usize = 12;

/// What the workers saw.
#[derive(Default)]
struct Seen {
    /// Conversations that somebody works in now.
    inside: Mutex<HashSet<ConversationId>>,
    order: Mutex<HashMap<ConversationId, Vec<i64>>>,
    finished: AtomicUsize,
}

async fn a_crowd_strands_nothing(home: Home) {
    let per_producer = if home.is_postgres() { 250 } else { 60 };
    let total = PRODUCERS * per_producer;
    let stores = [home.store.clone(), home.another().await];
    let (wakes, waking) = mpsc::channel(total);
    let waking = Arc::new(tokio::sync::Mutex::new(waking));
    let seen = Arc::new(Seen::default());
    let mut tasks = JoinSet::new();
    for n in 0..PRODUCERS {
        tasks.spawn(produce(stores[n % 2].clone(), n, per_producer, wakes.clone()));
    }
    drop(wakes);
    for n in 0..WORKERS {
        tasks.spawn(work(stores[n % 2].clone(), n, waking.clone(), seen.clone()));
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }

    // Every wake was heard or answered "busy", and no sweep ran: what is not finished now is stranded.
    assert_eq!(seen.finished.load(Ordering::Relaxed), total);
    assert_eq!(home.number("SELECT count(*) FROM conversations WHERE head <> tail OR owner IS NOT NULL").await, 0);
    assert_eq!(home.store.counts().await.unwrap().messages["completed"], total as i64);
    for (conversation, seqs) in seen.order.lock().unwrap().iter() {
        assert!(seqs.is_sorted_by(|a, b| a < b), "{conversation}: {seqs:?}");
    }
    assert_eq!(home.number("SELECT count(*) FROM responses").await, total as i64);
    assert_eq!(home.number("SELECT count(*) FROM turns WHERE attempt <> 1 OR state <> 'answered'").await, 0);
    let out_of_order = "SELECT count(*) FROM responses a JOIN responses b ON a.lane = b.lane AND a.ord < b.ord
        JOIN messages ma ON ma.id = a.message_id JOIN messages mb ON mb.id = b.message_id WHERE ma.seq > mb.seq";
    assert_eq!(home.number(out_of_order).await, 0);
    if home.is_postgres() {
        hot_tables_were_never_scanned(&home, stores).await;
    }
}

async fn produce(store: Store, producer: usize, messages: usize, wakes: mpsc::Sender<MessageId>) {
    for n in 0..messages {
        let message = says(&format!("p{}", (producer * 7 + n) % CONVERSATIONS), "hi");
        let Accepted::New { message, outbox, .. } = store.ingest(message).await.unwrap() else {
            panic!("no such event was before")
        };
        wakes.send(message).await.unwrap();
        store.outbox_done(outbox).await.unwrap();
    }
}

async fn work(store: Store, n: usize, waking: Arc<tokio::sync::Mutex<mpsc::Receiver<MessageId>>>, seen: Arc<Seen>) {
    let me = worker(&format!("worker-{n}"));
    loop {
        let Some(message) = waking.lock().await.recv().await else { return };
        match store.claim(wish(message, &me)).await.unwrap() {
            Claimed::Held(lease) => {
                assert!(seen.inside.lock().unwrap().insert(lease.conversation), "two workers in one conversation");
                run(&store, *lease, &me, &seen).await;
            }
            Claimed::Busy | Claimed::Idle => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Works until the conversation is released.
async fn run(store: &Store, mut lease: Lease, me: &broca_core::WorkerId, seen: &Seen) {
    loop {
        if lease.pending.is_empty() {
            lease.pending = store.pending(lease.conversation, lease.epoch).await.unwrap();
        }
        let turn = TurnId::new();
        assert_eq!(store.start_turn(start_of(&lease, turn, me)).await.unwrap(), Fenced::Done(1));
        seen.order.lock().unwrap().entry(lease.conversation).or_default().push(lease.pending[0].seq);
        let finish = answered(&lease, turn, ResponseId::new(), "hello");
        seen.finished.fetch_add(1, Ordering::Relaxed);
        let inside = seen.inside.lock().unwrap().remove(&lease.conversation);
        assert!(inside, "nobody else may be here");
        let finished = done(store.finish(finish).await.unwrap());
        store.outbox_done(finished.owed.unwrap().0).await.unwrap();
        if finished.released {
            return;
        }
        assert!(seen.inside.lock().unwrap().insert(lease.conversation));
        lease.pending.remove(0);
    }
}

/// The statistics of what just ran: none of the hot statements was planned as a scan of a table that grows.
async fn hot_tables_were_never_scanned(home: &Home, stores: [Store; 2]) {
    drop(stores);
    let deadline = Instant::now() + Duration::from_secs(30);
    let of = |column: &str| {
        format!(
            "SELECT COALESCE(sum({column}), 0)::bigint FROM pg_stat_user_tables
             WHERE relname IN ('messages', 'conversations', 'profiles', 'turns', 'responses', 'outbox')"
        )
    };
    // A connection hands its numbers over once a second at the latest, while it is used.
    while home.number(&of("idx_scan")).await < 10_000 {
        assert!(Instant::now() < deadline, "the statistics never came");
        home.store.ping().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The checks of this test scan on purpose, through other connections and a few times; so do migrations.
    let scans = home.number(&of("seq_scan")).await;
    assert!(scans < 100, "{scans} sequential scans of hot tables");
}
