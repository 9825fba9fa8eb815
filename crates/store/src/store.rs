//! The store: one method for each step on a message's way.

use std::{sync::Arc, time::Duration};

use broca_core::{ConversationId, Instance, OutboxId, ResponseId, Timestamp, TurnId, WorkerId};

use crate::{
    Accepted, ClaimRequest, Claimed, Delivery, DeliveryFinished, Fenced, Finish, FinishDelivery, Finished, NewMessage,
    Owed, Park, PendingMessage, RecordParts, ResumeTurn, StartTurn, StoreError, SweptWake, Unpark,
    batcher::Batcher,
    db::{Db, Lite, Pg},
    delivering::BeginDelivery,
    lite,
    operation::{Operation, Session},
    pg, slots,
    turns::RunSeen,
    writes,
};

/// A claim and [`Store::pending`] give at most this many messages at once.
pub const PENDING_PAGE: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Postgres,
    Sqlite,
}

#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Connections to PostgreSQL at most (never fewer than 17: fifteen kinds of queued operations have one each while they
    /// are used, two are for all else); readers of a SQLite file.
    pub max_connections: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { max_connections: 16 }
    }
}

/// All of Broca's tables. A clone shares the connections.
///
/// Writes on a message's way are group-committed: each call hands in one item, and what waits goes into one
/// transaction. A call that is dropped before it answers may have been done. Every failure leaves nothing half done,
/// and every call may be repeated after an error that [`StoreError::is_transient`].
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) db: Db,
    pub(crate) batches: Arc<Batches>,
}

#[derive(Debug)]
pub(crate) struct Batches {
    ingest: Batcher<writes::Ingest>,
    claim: Batcher<writes::Claim>,
    pending: Batcher<writes::Pending>,
    set_agent_conversation: Batcher<writes::SetAgentConversation>,
    release: Batcher<writes::Release>,
    start: Batcher<writes::Start>,
    resume: Batcher<writes::Resume>,
    record_run: Batcher<writes::RecordRun>,
    finish: Batcher<writes::End>,
    outbox_done: Batcher<writes::OutboxDone>,
    begin_delivery: Batcher<writes::Begin>,
    finish_delivery: Batcher<writes::EndDelivery>,
    park: Batcher<writes::ParkConversation>,
    pub(crate) take_slot: Batcher<slots::Take>,
    pub(crate) free_slot: Batcher<slots::Free>,
}

impl Batches {
    fn start(db: &Db) -> Self {
        let session = || {
            let hot = match db {
                Db::Pg(pg) => Some(pg.hot.clone()),
                Db::Lite(_) => None,
            };
            Session::new(db.clone(), hot)
        };
        Self {
            ingest: Batcher::start(session()),
            claim: Batcher::start(session()),
            pending: Batcher::start(session()),
            set_agent_conversation: Batcher::start(session()),
            release: Batcher::start(session()),
            start: Batcher::start(session()),
            resume: Batcher::start(session()),
            record_run: Batcher::start(session()),
            finish: Batcher::start(session()),
            outbox_done: Batcher::start(session()),
            begin_delivery: Batcher::start(session()),
            finish_delivery: Batcher::start(session()),
            park: Batcher::start(session()),
            take_slot: Batcher::start(session()),
            free_slot: Batcher::start(session()),
        }
    }
}

impl Store {
    /// Connects to `postgres://…` or `sqlite:path`; a SQLite file and its folder are created when missing. Fails with
    /// [`StoreError::Unavailable`] when the database cannot be reached. Needs a running tokio runtime.
    pub async fn connect(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let scheme = url.split(':').next().unwrap_or_default();
        let db = match scheme {
            "postgres" | "postgresql" => Db::Pg(Pg::connect(url, options.max_connections, writes::BATCHED).await?),
            "sqlite" => Db::Lite(Lite::connect(url, options.max_connections).await?),
            // The rest of the url may carry a password.
            _ => {
                return Err(StoreError::Url { url: format!("{scheme}:…"), reason: "unknown scheme".to_owned() });
            }
        };
        Ok(Self { batches: Arc::new(Batches::start(&db)), db })
    }

    pub fn backend(&self) -> Backend {
        match self.db {
            Db::Pg(_) => Backend::Postgres,
            Db::Lite(_) => Backend::Sqlite,
        }
    }

    /// Applies the missing migrations; names those it applied.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        self.db.migrate().await
    }

    /// [`StoreError::NotMigrated`] when the database lacks a migration that this build needs.
    pub async fn check_migrated(&self) -> Result<(), StoreError> {
        let missing = self.db.missing().await?;
        if missing.is_empty() { Ok(()) } else { Err(StoreError::NotMigrated { missing }) }
    }

    /// Accepts a message: user, profile, conversation, its place in it, and the wake that is owed, in one
    /// transaction. The same `(instance, event_id)` is accepted once, whoever reports it and however often.
    pub async fn ingest(&self, message: NewMessage) -> Result<Accepted, StoreError> {
        self.batches.ingest.submit(message).await
    }

    /// Accepts messages that arrived together, in their order and in one transaction. Should the data of
    /// one be refused, that is the error, though the others are accepted: repeat without it, they are duplicates then.
    pub async fn ingest_many(&self, messages: Vec<NewMessage>) -> Result<Vec<Accepted>, StoreError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = Session::new(self.db.clone(), None);
        session.run::<writes::Ingest>(&messages).await.into_iter().collect()
    }

    /// Takes the conversation of a message, if it is free and has something pending: raises its epoch, and gives what
    /// is pending. The lease ends at database time + `ttl` unless [`Self::renew`]ed.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Claimed, StoreError> {
        self.batches.claim.submit(request).await
    }

    /// The first pending messages of a held conversation, in order, at most [`PENDING_PAGE`]; none once the
    /// lease is lost, or given up because everything is on hold.
    pub async fn pending(&self, conversation: ConversationId, epoch: i64) -> Result<Vec<PendingMessage>, StoreError> {
        self.batches.pending.submit((conversation, epoch)).await
    }

    /// The same, as many as one turn may say: for what is gathered into one.
    pub async fn gather(
        &self,
        conversation: ConversationId,
        epoch: i64,
        at_most: u32,
    ) -> Result<Vec<PendingMessage>, StoreError> {
        self.once::<writes::Gather>((conversation, epoch, at_most)).await
    }

    /// Remembers the agent's own id of a held conversation, also with the open turn that is to be said in it.
    pub async fn set_agent_conversation(
        &self,
        conversation: ConversationId,
        epoch: i64,
        turn: TurnId,
        agent_conversation: &str,
    ) -> Result<Fenced<()>, StoreError> {
        let item = (conversation, epoch, turn, agent_conversation.to_owned());
        self.batches.set_agent_conversation.submit(item).await
    }

    /// Records a turn before the agent is called, and counts the attempt; gives its number, from 1.
    /// [`StoreError::LeftQueue`] when an operator took the message away, [`StoreError::Refused`] when it is not pending
    /// for any other reason, [`StoreError::Data`] when another turn of it is open.
    pub async fn start_turn(&self, turn: StartTurn) -> Result<Fenced<u32>, StoreError> {
        self.batches.start.submit(turn).await
    }

    /// Takes up a turn that a predecessor left open; gives the number of attempts, this one included unless
    /// the predecessor [`Self::release`]d it. [`StoreError::Refused`] when the turn is not open.
    pub async fn resume_turn(&self, turn: ResumeTurn) -> Result<Fenced<u32>, StoreError> {
        self.batches.resume.submit(turn).await
    }

    /// Remembers the agent's name for what it does in an open turn, so that a successor can ask for it.
    pub async fn record_run(&self, turn: TurnId, epoch: i64, run: &str) -> Result<Fenced<()>, StoreError> {
        let done = self.batches.record_run.submit(RunSeen { turn, epoch, run: run.to_owned() }).await?;
        Ok(match done {
            Fenced::Done(_) => Fenced::Done(()),
            Fenced::LeaseLost => Fenced::LeaseLost,
        })
    }

    /// Ends the work on the first pending message, or one attempt at it: the turn, the message, the answer with its
    /// owed publish, and the lease, which is released in the same moment when nothing else is pending or
    /// the conversation is parked. [`StoreError::Refused`] when the move is illegal, [`StoreError::LeftQueue`] when an
    /// operator took the message away.
    pub async fn finish(&self, finish: Finish) -> Result<Fenced<Finished>, StoreError> {
        self.batches.finish.submit(finish).await
    }

    /// Gives a lease up with work pending, to be fair or to shut down: an open turn is marked as handed over, and the
    /// wake that the first pending message is owed again is returned. `None` when nothing was pending.
    pub async fn release(&self, conversation: ConversationId, epoch: i64) -> Result<Fenced<Option<Owed>>, StoreError> {
        self.batches.release.submit((conversation, epoch)).await
    }

    /// Gives a held conversation up until a later time, though nothing of it failed: no attempt is counted, and a turn
    /// that a predecessor left open stays open. Says when it comes back, or `Timestamp(0)` when [`Park::seen`] keeps it.
    pub async fn park(&self, park: Park) -> Result<Fenced<Timestamp>, StoreError> {
        self.batches.park.submit(park).await
    }

    /// Lets parked conversations come back, one after the other; says how many. The sweep wakes them.
    pub async fn unpark(&self, wish: Unpark) -> Result<u64, StoreError> {
        self.once::<writes::UnparkSome>(wish).await
    }

    /// Extends all leases of a worker until database time + `ttl`, and notes how far it read the streams of its open
    /// turns (`seen`). Returns the leases that were lost: write nothing more for those.
    pub async fn renew(
        &self,
        worker: &WorkerId,
        leases: &[(ConversationId, i64)],
        seen: &[(TurnId, i64)],
        ttl: Duration,
    ) -> Result<Vec<ConversationId>, StoreError> {
        let (leases, seen) = (leases.to_vec(), seen.to_vec());
        self.once::<writes::Renew>(writes::Leases { worker: worker.clone(), leases, seen, ttl }).await
    }

    /// Conversations with work that nobody does and whose time has come, longest due first. Each is given out again
    /// only after `grace`, so that several sweepers share the work.
    pub async fn wake_due(&self, limit: u32, grace: Duration) -> Result<Vec<SweptWake>, StoreError> {
        self.once::<writes::WakeDue>((i64::from(limit), grace)).await
    }

    /// The broker confirmed this publish.
    pub async fn outbox_done(&self, publish: OutboxId) -> Result<(), StoreError> {
        self.batches.outbox_done.submit(publish).await
    }

    /// Publishes that are owed for at least `min_age`, oldest first.
    pub async fn outbox_due(&self, min_age: Duration, limit: u32) -> Result<Vec<Owed>, StoreError> {
        match &self.db {
            Db::Pg(pg) => pg::outbox::due(&mut *pg.pool.acquire().await?, min_age, i64::from(limit)).await,
            Db::Lite(lite) => lite::outbox::due(&lite.reader, min_age, i64::from(limit)).await,
        }
    }

    /// Asks to deliver an answer. With [`Delivery::Go`] and [`Delivery::Settle`] it is `host`'s until database time +
    /// `ttl`; end the attempt with [`Self::finish_delivery`].
    pub async fn begin_delivery(
        &self,
        response: ResponseId,
        instance: &Instance,
        host: &WorkerId,
        ttl: Duration,
    ) -> Result<Delivery, StoreError> {
        let (instance, host) = (instance.clone(), host.clone());
        self.batches.begin_delivery.submit(BeginDelivery { response, instance, host, ttl }).await
    }

    /// Ends a delivery attempt; a `LeaseLost` one was already ended, or taken over by another host.
    pub async fn finish_delivery(&self, finish: FinishDelivery) -> Result<Fenced<DeliveryFinished>, StoreError> {
        self.batches.finish_delivery.submit(finish).await
    }

    /// Records what the platform has by now of an answer under delivery. The attempt that got that far counts as the
    /// first of the budget: a long answer on a platform that limits the rate goes on as long as it gets on.
    pub async fn record_parts(&self, parts: RecordParts) -> Result<Fenced<()>, StoreError> {
        self.once::<writes::Parts>(parts).await
    }

    /// Extends `host`'s hold on the answers it is delivering; returns those that it does not hold.
    pub async fn renew_deliveries(
        &self,
        host: &WorkerId,
        responses: &[ResponseId],
        ttl: Duration,
    ) -> Result<Vec<ResponseId>, StoreError> {
        self.once::<writes::RenewDeliveries>((host.clone(), responses.to_vec(), ttl)).await
    }

    /// Answers that are first in their lane and wait for somebody: due for a retry, cut off in delivery, or announced
    /// five seconds ago and still untouched.
    pub async fn due_deliveries(&self, instance: &Instance, limit: u32) -> Result<Vec<ResponseId>, StoreError> {
        match &self.db {
            Db::Pg(pg) => pg::delivery::due(&mut *pg.pool.acquire().await?, instance, i64::from(limit)).await,
            Db::Lite(lite) => lite::delivery::due(&lite.reader, instance, i64::from(limit)).await,
        }
    }

    /// Its future is on the heap for as long as it is run: the callers' futures, which wait for agents most of their time, would
    /// each have room for it otherwise.
    pub(crate) async fn once<O: Operation>(&self, item: O::Item) -> Result<O::Output, StoreError> {
        let db = self.db.clone();
        let run = Box::pin(async move { Session::new(db, None).run::<O>(&[item]).await });
        run.await.pop().unwrap_or_else(|| Err(StoreError::Unreadable(format!("{} gave no answer", O::NAME))))
    }
}
