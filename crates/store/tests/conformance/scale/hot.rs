//! The way of a message, in a database that has a million of them: accepted, claimed, said to the agent, answered,
//! published, delivered; and what sweeps and heartbeats ask again and again.

use std::time::Duration;

use broca_core::{ConversationId, Instance, MessageId, OutboxId, Receipt, ResponseId, TurnId, WorkerId};
use broca_store::{
    Accepted, ClaimRequest, Claimed, Delivery, DeliveryEnd, Fenced, FinishDelivery, Lease, NewMessage, Park, Parked,
    Sign, Store,
};

use super::database::Database;
use crate::home::{TTL, answered, failed, failure, held, says, start_of, worker};

pub(super) const STATEMENTS: &[&str] = &[
    "ingest",
    "outbox done",
    "outbox due",
    "claim",
    "pending",
    "start turn",
    "record run",
    "renew",
    "finish",
    "begin delivery",
    "finish delivery",
    "next in lane",
    "due deliveries",
    "wake due",
    "park",
    "parked",
    "release",
    "hand over",
    "stops",
    "holds that have ended",
    "workload",
    "history",
];

fn instance() -> Instance {
    "telegram".parse().unwrap()
}

/// Of the busiest person, or of a stranger.
fn message(person: &str) -> NewMessage {
    NewMessage { instance: instance(), platform: "telegram".to_owned(), ..says(person, "hi") }
}

struct Scene<'a> {
    store: &'a Store,
    worker: WorkerId,
}

impl Scene<'_> {
    async fn accept(&self, person: &str) -> MessageId {
        let Accepted::New { message, outbox, .. } = self.store.ingest(message(person)).await.unwrap() else {
            panic!("it is new")
        };
        self.store.outbox_done(outbox).await.unwrap();
        message
    }

    async fn claim(&self, message: MessageId) -> Lease {
        let request = ClaimRequest { message, instance: instance(), worker: self.worker.clone(), ttl: TTL };
        held(self.store.claim(request).await.unwrap())
    }

    async fn start(&self, lease: &Lease) -> TurnId {
        let turn = TurnId::new();
        self.store.start_turn(start_of(lease, turn, &self.worker)).await.unwrap();
        self.store.record_run(turn, lease.epoch, "run-of-today").await.unwrap();
        turn
    }

    async fn deliver(&self, response: ResponseId) {
        let (host, instance) = (worker("out"), instance());
        let begun = self.store.begin_delivery(response, &instance, &host, TTL).await.unwrap();
        // The busiest person has older answers that wait.
        if matches!(begun, Delivery::Behind) {
            return;
        }
        assert!(matches!(begun, Delivery::Go(_)), "{begun:?}");
        let end = DeliveryEnd::Delivered(Receipt::of("1"));
        self.store.finish_delivery(FinishDelivery { response, host, attempt: 1, end }).await.unwrap();
    }
}

pub(super) async fn everything(store: &Store, database: &Database) {
    let scene = Scene { store, worker: worker("scale") };
    let open = database.id("SELECT id FROM messages WHERE state = 'received' AND instance = 'telegram' LIMIT 1").await;
    for message in [scene.accept("1").await, scene.accept("a stranger").await, MessageId(open)] {
        let lease = scene.claim(message).await;
        store.pending(lease.conversation, lease.epoch).await.unwrap();
        let turn = scene.start(&lease).await;
        let lost = store.renew(&scene.worker, &[(lease.conversation, lease.epoch)], &[(turn, 1)], TTL).await.unwrap();
        assert_eq!(lost, []);
        let response = ResponseId::new();
        store.finish(answered(&lease, turn, response, "re: hi")).await.unwrap();
        store.outbox_done(OutboxId(response.0)).await.unwrap();
        if message.0 != open {
            scene.deliver(response).await;
        }
    }
    fails_and_waits(&scene).await;
    sweeps(store, &scene.worker).await;
}

async fn fails_and_waits(scene: &Scene<'_>) {
    let store = scene.store;
    let lease = scene.claim(scene.accept("2").await).await;
    let turn = scene.start(&lease).await;
    store.finish(crate::home::ends(&lease, Some(turn), failed())).await.unwrap();
    let lease = scene.claim(scene.accept("2").await).await;
    let handed = store.release(lease.conversation, lease.epoch).await.unwrap();
    assert!(matches!(handed, Fenced::Done(Some(_))));
    let lease = scene.claim(lease.pending[0].id).await;
    let (conversation, epoch, message) = (lease.conversation, lease.epoch, lease.pending[0].id);
    let (what_for, delay, until) = (Parked::Endpoint, Duration::from_secs(60), broca_core::Timestamp(0));
    let park = Park { conversation, epoch, message, what_for, until, delay, seen: None, why: failure() };
    store.park(park).await.unwrap();
    let claimed = store
        .claim(ClaimRequest { message, instance: instance(), worker: scene.worker.clone(), ttl: TTL })
        .await
        .unwrap();
    assert!(matches!(claimed, Claimed::Parked { .. }));
}

async fn sweeps(store: &Store, worker: &WorkerId) {
    store.outbox_due(Duration::ZERO, 100).await.unwrap();
    store.wake_due(100, Duration::from_secs(5)).await.unwrap();
    store.due_deliveries(&instance(), 50).await.unwrap();
    store.stops().await.unwrap();
    store.ended_holds(50).await.unwrap();
    store.workload().await.unwrap();
    store.history("telegram", "1", 20).await.unwrap();
    let sign = Sign {
        worker: worker.clone(),
        host: "here".to_owned(),
        pid: 1,
        version: "1".to_owned(),
        slots: 16,
        in_use: 1,
        draining: false,
        ttl: TTL,
        turn_slots: vec![ConversationId(uuid::Uuid::nil())],
        slot_ttl: TTL,
        probes: Vec::new(),
    };
    store.sign_of_life(sign).await.unwrap();
}
