//! The list of writes: what goes in, what comes out, and where each one's SQL is.

use std::time::Duration;

use broca_core::{ConversationId, OutboxId, ResponseId, Timestamp, TurnId, WorkerId};
use sqlx::{PgConnection, SqliteConnection};

use crate::{
    Accepted, ClaimRequest, Claimed, Delivery, DeliveryFinished, Fenced, Finish, FinishDelivery, Finished, NewMessage,
    Owed, Park, PendingMessage, RecordParts, ResumeTurn, StartTurn, StoreError, SweptWake, Unpark,
    delivering::BeginDelivery,
    operation::{Each, Operation},
    turns::RunSeen,
};

/// A write that is done in batches. The path is the same under `pg` and under `lite`.
macro_rules! batched {
    ($($name:ident: $item:ty => $output:ty, $label:literal, $($path:ident)::+;)*) => {$(
        pub(crate) struct $name;

        impl Operation for $name {
            type Item = $item;
            type Output = $output;
            const NAME: &'static str = $label;

            async fn pg(conn: &mut PgConnection, items: &[$item]) -> Result<Vec<Each<$output>>, StoreError> {
                crate::pg::$($path)::+(conn, items).await
            }

            async fn lite(conn: &mut SqliteConnection, items: &[$item]) -> Result<Vec<Each<$output>>, StoreError> {
                crate::lite::$($path)::+(conn, items).await
            }
        }
    )*};
}

batched! {
    Ingest: NewMessage => Accepted, "ingest", ingest::run;
    Claim: ClaimRequest => Claimed, "claim", claim::run;
    Pending: (ConversationId, i64) => Vec<PendingMessage>, "pending", claim::pending;
    Start: StartTurn => Fenced<u32>, "start turn", turn::start;
    Resume: ResumeTurn => Fenced<u32>, "resume turn", turn::resume;
    RecordRun: RunSeen => Fenced<u32>, "record run", turn::record_run;
    End: Finish => Fenced<Finished>, "finish", finish::run;
    OutboxDone: OutboxId => (), "outbox done", outbox::done;
    Begin: BeginDelivery => Delivery, "begin delivery", delivery::begin;
    EndDelivery: FinishDelivery => Fenced<DeliveryFinished>, "finish delivery", delivery::finish;
    ParkConversation: Park => Fenced<Timestamp>, "park", parking::park;
}

/// How many of them there are, and of the single ones that are queued like them: each keeps a connection of its own
/// to PostgreSQL while it is busy.
pub(crate) const BATCHED: u32 = 15;

/// A write that is rare, or a batch already. A crowd of them (first contacts, a drain) is queued as batches are, so that
/// it waits for its turn and not for a connection.
macro_rules! single {
    ($($name:ident: $item:ty => $output:ty, $label:literal, |$conn:ident, $it:ident| $call:expr;)*) => {$(
        pub(crate) struct $name;

        impl Operation for $name {
            type Item = $item;
            type Output = $output;
            const NAME: &'static str = $label;

            async fn pg($conn: &mut PgConnection, items: &[$item]) -> Result<Vec<Each<$output>>, StoreError> {
                use crate::pg::*;
                let mut answers = Vec::with_capacity(items.len());
                for $it in items {
                    answers.push(Ok($call.await?));
                }
                Ok(answers)
            }

            async fn lite($conn: &mut SqliteConnection, items: &[$item]) -> Result<Vec<Each<$output>>, StoreError> {
                use crate::lite::*;
                let mut answers = Vec::with_capacity(items.len());
                for $it in items {
                    answers.push(Ok($call.await?));
                }
                Ok(answers)
            }
        }
    )*};
}

pub(crate) struct Leases {
    pub(crate) worker: WorkerId,
    pub(crate) leases: Vec<(ConversationId, i64)>,
    pub(crate) seen: Vec<(TurnId, i64)>,
    pub(crate) ttl: Duration,
}

single! {
    SetAgentConversation: (ConversationId, i64, TurnId, String) => Fenced<()>, "set agent conversation",
        |conn, it| lease::set_agent_conversation(conn, it.0, it.1, it.2, &it.3);
    Release: (ConversationId, i64) => Fenced<Option<Owed>>, "release", |conn, it| lease::release(conn, it.0, it.1);
    Renew: Leases => Vec<ConversationId>, "renew",
        |conn, it| lease::renew(conn, &it.worker, &it.leases, &it.seen, it.ttl);
    WakeDue: (i64, Duration) => Vec<SweptWake>, "wake due", |conn, it| lease::wake_due(conn, it.0, it.1);
    Gather: (ConversationId, i64, u32) => Vec<PendingMessage>, "gather", |conn, it| claim::gather(conn, *it);
    UnparkSome: Unpark => u64, "unpark", |conn, it| parking::unpark(conn, it);
    Parts: RecordParts => Fenced<()>, "record parts", |conn, it| delivery::record_parts(conn, it);
    RenewDeliveries: (WorkerId, Vec<ResponseId>, Duration) => Vec<ResponseId>, "renew deliveries",
        |conn, it| delivery::renew(conn, &it.0, &it.1, it.2);
}
