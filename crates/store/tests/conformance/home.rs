//! A fresh database with a store on it, and short words for what the tests do over and over.

use std::{sync::Arc, time::Duration};

use broca_core::{
    Answer, ConversationId, Incoming, Instance, MessageId, ResponseId, Sender, TraceParent, TurnId, WorkerId,
    agent::{Failure, FailureClass},
    route::Scope,
};
use broca_servers::Postgres;
use broca_store::{
    Accepted, Backend, ClaimRequest, Claimed, Delivery, Dispatch, End, Fenced, Finish, Finished, IfFailed, Lease,
    NewMessage, NewResponse, StartTurn, Store, StoreOptions,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const TTL: Duration = Duration::from_secs(30);

pub(crate) struct Home {
    pub(crate) store: Store,
    url: String,
    // What follows ends when the test does, after the store.
    _file: Option<TempDir>,
    _server: Option<Arc<Postgres>>,
}

impl Home {
    pub(crate) async fn postgres() -> Self {
        let server = Postgres::shared();
        let url = server.new_database();
        Self::at(url, None, Some(server)).await
    }

    pub(crate) async fn sqlite() -> Self {
        let dir = TempDir::new().unwrap();
        let url = format!("sqlite:{}", dir.path().join("new/folder/broca.db").display());
        Self::at(url, Some(dir), None).await
    }

    async fn at(url: String, file: Option<TempDir>, server: Option<Arc<Postgres>>) -> Self {
        let store = connect(&url).await;
        store.migrate().await.unwrap();
        Self { store, url, _file: file, _server: server }
    }

    /// A second process, as far as the database can tell.
    pub(crate) async fn another(&self) -> Store {
        connect(&self.url).await
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.store.backend() == Backend::Postgres
    }

    /// Does by hand what no operation does, e.g. let a lease run out.
    pub(crate) async fn sql(&self, statement: &str) {
        let statement = AssertSqlSafe(statement.to_owned());
        if self.is_postgres() {
            let mut conn = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query(statement).execute(&mut conn).await.unwrap();
            conn.close().await.unwrap();
        } else {
            let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query(statement).execute(&mut conn).await.unwrap();
            conn.close().await.unwrap();
        }
    }

    /// The one number that a query gives.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let query = AssertSqlSafe(query.to_owned());
        if self.is_postgres() {
            let mut conn = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(query).fetch_one(&mut conn).await.unwrap()
        } else {
            let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(query).fetch_one(&mut conn).await.unwrap()
        }
    }

    /// An id as it stands in a statement.
    pub(crate) fn id(&self, id: Uuid) -> String {
        if self.is_postgres() { format!("'{id}'::uuid") } else { format!("x'{}'", id.simple()) }
    }

    pub(crate) async fn expire_leases(&self) {
        self.sql("UPDATE conversations SET lease_until = 1, wake_at = 1 WHERE owner IS NOT NULL").await;
    }

    pub(crate) async fn accept(&self, message: NewMessage) -> (MessageId, ConversationId) {
        match self.store.ingest(message).await.unwrap() {
            Accepted::New { message, conversation, .. } => (message, conversation),
            other => panic!("not let in anew: {other:?}"),
        }
    }

    pub(crate) async fn claim(&self, message: MessageId, worker: &WorkerId) -> Claimed {
        self.store.claim(wish(message, worker)).await.unwrap()
    }

    pub(crate) async fn hold(&self, message: MessageId, worker: &WorkerId) -> Lease {
        held(self.claim(message, worker).await)
    }

    /// Starts a turn of the first pending message.
    pub(crate) async fn start(&self, lease: &Lease, worker: &WorkerId) -> TurnId {
        let turn = TurnId::new();
        let started = self.store.start_turn(start_of(lease, turn, worker)).await.unwrap();
        assert!(matches!(started, Fenced::Done(_)));
        turn
    }

    /// Accepts a message of `person` and brings it as far as its response.
    pub(crate) async fn answer(&self, person: &str, text: &str) -> ResponseId {
        let (message, _) = self.accept(says(person, text)).await;
        let worker = worker("answers");
        let lease = self.hold(message, &worker).await;
        let turn = self.start(&lease, &worker).await;
        let response = ResponseId::new();
        let finish = answered(&lease, turn, response, &format!("re: {text}"));
        assert!(done(self.store.finish(finish).await.unwrap()).released);
        response
    }

    pub(crate) async fn go(&self, response: ResponseId, host: &WorkerId) -> Dispatch {
        match self.begin(response, host).await {
            Delivery::Go(dispatch) => *dispatch,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn begin(&self, response: ResponseId, host: &WorkerId) -> Delivery {
        self.store.begin_delivery(response, &instance(), host, TTL).await.unwrap()
    }
}

async fn connect(url: &str) -> Store {
    Store::connect(url, StoreOptions::default()).await.unwrap()
}

pub(crate) fn instance() -> Instance {
    "cli".parse().unwrap()
}

pub(crate) fn worker(label: &str) -> WorkerId {
    WorkerId::unique(label)
}

pub(crate) fn says(person: &str, text: &str) -> NewMessage {
    NewMessage {
        id: MessageId::new(),
        instance: instance(),
        platform: "cli".to_owned(),
        incoming: Incoming {
            event_id: Uuid::new_v4().to_string(),
            sender: Sender { platform_user_id: person.to_owned(), ..Sender::default() },
            text: text.to_owned(),
            attributes: serde_json::json!({"reply_to": 7}),
            ..Incoming::default()
        },
        route: "default".to_owned(),
        agent: "default".to_owned(),
        scope: Scope::Profile,
        trace: TraceParent::random(),
        files: Vec::new(),
        admission: broca_store::Admission::Open,
    }
}

pub(crate) fn wish(message: MessageId, worker: &WorkerId) -> ClaimRequest {
    ClaimRequest { message, instance: instance(), worker: worker.clone(), ttl: TTL }
}

pub(crate) fn held(claimed: Claimed) -> Lease {
    match claimed {
        Claimed::Held(lease) => *lease,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn start_of(lease: &Lease, turn: TurnId, worker: &WorkerId) -> StartTurn {
    StartTurn {
        turn,
        conversation: lease.conversation,
        epoch: lease.epoch,
        message: lease.pending[0].id,
        worker: worker.clone(),
    }
}

/// The end of the first pending message.
pub(crate) fn ends(lease: &Lease, turn: Option<TurnId>, end: End) -> Finish {
    let (conversation, epoch, message) = (lease.conversation, lease.epoch, lease.pending[0].id);
    Finish { conversation, epoch, message, turn, end, if_failed: IfFailed::default() }
}

pub(crate) fn answered(lease: &Lease, turn: TurnId, response: ResponseId, text: &str) -> Finish {
    let answer = Answer::text(text);
    let response = Some(NewResponse { id: response, text: text.to_owned() });
    ends(lease, Some(turn), End::Answered { answer, response })
}

pub(crate) fn silent() -> End {
    End::Answered { answer: Answer::default(), response: None }
}

pub(crate) fn failure() -> Failure {
    Failure::new(FailureClass::Unavailable, "nobody answered")
}

pub(crate) fn failed() -> End {
    End::Failed { failure: failure(), turn_unknown: false }
}

pub(crate) fn retry(delay: Duration) -> End {
    End::Retry { failure: failure(), delay, turn_unknown: false }
}

pub(crate) fn done(finished: Fenced<Finished>) -> Finished {
    match finished {
        Fenced::Done(finished) => finished,
        Fenced::LeaseLost => panic!("the lease was lost"),
    }
}
