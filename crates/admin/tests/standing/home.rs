//! A fresh database, and the steps on a message's way.

use std::time::Duration;

use broca_core::{
    Answer, Incoming, Instance, MessageId, OutboxId, Receipt, ResponseId, Sender, TraceParent, TurnId, WorkerId,
    agent::{Failure, FailureClass},
    route::Scope,
};
use broca_store::{
    Accepted, ClaimRequest, Claimed, Delivery, DeliveryEnd, End, Fenced, Finish, FinishDelivery, IfFailed, Lease,
    NewMessage, NewResponse, StartTurn, Store, StoreOptions,
};
use tempfile::TempDir;

pub(crate) const TTL: Duration = Duration::from_secs(30);
/// A lease that has run out when it is looked at.
pub(crate) const GONE: Duration = Duration::ZERO;

pub(crate) struct Home {
    pub(crate) store: Store,
    _file: TempDir,
}

pub(crate) fn instance() -> Instance {
    "cli".parse().unwrap()
}

pub(crate) fn worker(name: &str) -> WorkerId {
    WorkerId::from(name.to_owned())
}

pub(crate) fn failure() -> Failure {
    Failure::new(FailureClass::RateLimited, "too many requests")
}

pub(crate) fn answered(response: ResponseId) -> End {
    let response = Some(NewResponse { id: response, text: "hello".to_owned() });
    End::Answered { answer: Answer::text("hello"), response }
}

pub(crate) fn delivered() -> DeliveryEnd {
    DeliveryEnd::Delivered(Receipt::of("991"))
}

impl Home {
    pub(crate) async fn new() -> Self {
        let file = TempDir::new().unwrap();
        let url = format!("sqlite:{}", file.path().join("broca.db").display());
        let store = Store::connect(&url, StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        Self { store, _file: file }
    }

    /// A message of alice's, whose wake is still owed.
    pub(crate) async fn accept(&self, event: &str) -> (MessageId, OutboxId) {
        let incoming = Incoming {
            event_id: event.to_owned(),
            sender: Sender { platform_user_id: "alice".to_owned(), ..Sender::default() },
            text: "hi".to_owned(),
            ..Incoming::default()
        };
        let message = NewMessage {
            id: MessageId::new(),
            instance: instance(),
            platform: "cli".to_owned(),
            incoming,
            route: "default".to_owned(),
            agent: "default".to_owned(),
            scope: Scope::Profile,
            trace: TraceParent::random(),
            files: Vec::new(),
            admission: broca_store::Admission::Open,
        };
        match self.store.ingest(message).await.unwrap() {
            Accepted::New { message, outbox, .. } => (message, outbox),
            other => panic!("not let in anew: {other:?}"),
        }
    }

    /// One whose wake the broker has.
    pub(crate) async fn woken(&self, event: &str) -> MessageId {
        let (message, outbox) = self.accept(event).await;
        self.store.outbox_done(outbox).await.unwrap();
        message
    }

    pub(crate) async fn claim(&self, message: MessageId, name: &str, ttl: Duration) -> Lease {
        let request = ClaimRequest { message, instance: instance(), worker: worker(name), ttl };
        match self.store.claim(request).await.unwrap() {
            Claimed::Held(lease) => *lease,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn start(&self, lease: &Lease, name: &str) -> TurnId {
        let (turn, message) = (TurnId::new(), lease.pending[0].id);
        let (conversation, epoch) = (lease.conversation, lease.epoch);
        let start = StartTurn { turn, conversation, epoch, message, worker: worker(name) };
        assert!(matches!(self.store.start_turn(start).await.unwrap(), Fenced::Done(_)));
        turn
    }

    pub(crate) async fn finish(&self, lease: &Lease, turn: Option<TurnId>, end: End) -> Option<OutboxId> {
        let (conversation, epoch, message) = (lease.conversation, lease.epoch, lease.pending[0].id);
        match self
            .store
            .finish(Finish { conversation, epoch, message, turn, end, if_failed: IfFailed::default() })
            .await
            .unwrap()
        {
            Fenced::Done(finished) => finished.owed.map(|(owed, _)| owed),
            Fenced::LeaseLost => panic!("the lease was lost"),
        }
    }

    /// Claims it, and ends it in one turn.
    pub(crate) async fn turn(&self, message: MessageId, end: End) -> Option<OutboxId> {
        let lease = self.claim(message, "w", TTL).await;
        let turn = self.start(&lease, "w").await;
        self.finish(&lease, Some(turn), end).await
    }

    /// A message with an answer that the broker has.
    pub(crate) async fn answer(&self, event: &str) -> (MessageId, ResponseId) {
        let (message, response) = (self.woken(event).await, ResponseId::new());
        let owed = self.turn(message, answered(response)).await.unwrap();
        self.store.outbox_done(owed).await.unwrap();
        (message, response)
    }

    pub(crate) async fn begin(&self, response: ResponseId, ttl: Duration) -> u32 {
        match self.store.begin_delivery(response, &instance(), &worker("out"), ttl).await.unwrap() {
            Delivery::Go(dispatch) => dispatch.response.attempt,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn deliver(&self, response: ResponseId, end: DeliveryEnd) {
        let attempt = self.begin(response, TTL).await;
        self.end_delivery(response, attempt, end).await;
    }

    pub(crate) async fn end_delivery(&self, response: ResponseId, attempt: u32, end: DeliveryEnd) {
        let finish = FinishDelivery { response, host: worker("out"), attempt, end };
        assert!(matches!(self.store.finish_delivery(finish).await.unwrap(), Fenced::Done(_)));
    }

    /// Until the database's clock has moved on.
    pub(crate) async fn tick(&self) {
        let at = self.store.now().await.unwrap();
        while self.store.now().await.unwrap() <= at {
            tokio::task::yield_now().await;
        }
    }
}
