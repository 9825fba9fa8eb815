//! What the parts could do alone.

use std::{sync::Arc, time::Instant};

use broca_bus::{Bus, BusError, Job, Outgoing};
use broca_core::subject;
use broca_store::{StoreError, Yardstick};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Args, cpu,
    load::TEXT,
    report::{FLOOR, Row},
    stage::{Stage, instance},
};
use crate::failure::{Blame, Code, Failure};

/// Rows in one statement; the same bound as the store's group commit.
const BATCH: usize = 200;
/// Rows in one statement of the loop that only writes.
const SQL_BATCH: usize = 100;
const IN_FLIGHT: usize = 1000;

/// Acknowledged, pipelined publishes, and then a consumer that pulls and acks them.
pub(super) async fn jetstream(stage: &Stage, args: &Args) -> Result<Vec<Row>, Failure> {
    let subject = subject::outgoing(&instance()?);
    let before = stage.roles(None).used();
    let started = Instant::now();
    stream::iter(0..args.messages)
        .map(|_| Ok::<_, BusError>(Uuid::now_v7()))
        .try_for_each_concurrent(IN_FLIGHT, |id| publish(&stage.bus, &subject, id))
        .await?;
    let published = Row::new(stage.name, "JetStream: publish", args.messages).took(started.elapsed());
    let published = published.cpu(cpu::since(&before, &stage.roles(None).used()));

    let mut consumer = consumer(stage, Side::Out).await?;
    let shutdown = CancellationToken::new();
    let before = stage.roles(None).used();
    let started = Instant::now();
    for _ in 0..args.messages {
        let Some(job) = consumer.next(&shutdown).await else { break };
        job.ack().await?;
    }
    let pulled = Row::new(stage.name, "JetStream: pull + ack", args.messages).took(started.elapsed());
    let pulled = pulled.cpu(cpu::since(&before, &stage.roles(None).used()));
    shutdown.cancel();
    drop(consumer.next(&shutdown).await);
    Ok(vec![published, pulled])
}

/// The three writes of a message's way, in batches of 100 by a bare loop.
pub(super) async fn sql(stage: &Stage, args: &Args) -> Result<Row, Failure> {
    let bare = stage.store.yardstick().await?;
    let before = stage.roles(None).used();
    let started = Instant::now();
    for from in (0..args.messages).step_by(SQL_BATCH) {
        let ids: Vec<Uuid> = (from..args.messages.min(from + SQL_BATCH)).map(|_| Uuid::now_v7()).collect();
        bare.insert(&ids, TEXT).await?;
        bare.complete(&ids, TEXT).await?;
        bare.delivered(&ids).await?;
    }
    let row = Row::new(stage.name, "SQL: 3 writes, by 100", args.messages).took(started.elapsed());
    let row = row.cpu(cpu::since(&before, &stage.roles(None).used()));
    bare.end().await?;
    Ok(row)
}

/// Insert, publish, pull, complete, publish, pull, mark delivered: batched, and nothing else.
pub(super) async fn floor(stage: &Stage, args: &Args) -> Result<Row, Failure> {
    let bare = stage.store.yardstick().await?;
    let floor = Floor { bus: stage.bus.clone(), bare: bare.clone(), room: Arc::new(Semaphore::new(args.in_flight)) };
    let shutdown = CancellationToken::new();
    let taken_in = jobs(stage, Side::In, shutdown.clone()).await?;
    let taken_out = jobs(stage, Side::Out, shutdown.clone()).await?;
    let before = stage.roles(None).used();
    let started = Instant::now();
    let work = tokio::spawn(floor.clone().complete(taken_in));
    let accept = tokio::spawn(floor.clone().accept(args.messages));
    floor.deliver(taken_out, args.messages).await?;
    let row = Row::new(stage.name, FLOOR, args.messages).took(started.elapsed());
    let row = row.cpu(cpu::since(&before, &stage.roles(None).used()));
    shutdown.cancel();
    for task in [accept, work] {
        task.await.blame(Code::Failure, "the floor")??;
    }
    bare.end().await?;
    Ok(row)
}

#[derive(Clone)]
struct Floor {
    bus: Bus,
    bare: Yardstick,
    /// Messages that may be on their way.
    room: Arc<Semaphore>,
}

impl Floor {
    async fn accept(self, messages: usize) -> Result<(), Failure> {
        let subject = subject::incoming(&instance()?);
        let mut left = messages;
        while left > 0 {
            let size = left.min(BATCH).min(self.room.available_permits().max(1));
            let permits = self.room.acquire_many(u32::try_from(size).unwrap_or(u32::MAX)).await;
            permits.blame(Code::Failure, "the floor")?.forget();
            let ids: Vec<Uuid> = (0..size).map(|_| Uuid::now_v7()).collect();
            self.bare.insert(&ids, TEXT).await?;
            self.publish_soon(&subject, ids);
            left -= size;
        }
        Ok(())
    }

    async fn complete(self, mut jobs: mpsc::Receiver<Job>) -> Result<(), Failure> {
        let subject = subject::outgoing(&instance()?);
        let mut batch = Vec::with_capacity(BATCH);
        while jobs.recv_many(&mut batch, BATCH).await > 0 {
            let ids = ids(&batch)?;
            self.bare.complete(&ids, TEXT).await?;
            self.publish_soon(&subject, ids);
            for job in batch.drain(..) {
                job.ack().await?;
            }
        }
        Ok(())
    }

    async fn deliver(self, mut jobs: mpsc::Receiver<Job>, messages: usize) -> Result<(), Failure> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut done = 0;
        while done < messages && jobs.recv_many(&mut batch, BATCH).await > 0 {
            self.bare.delivered(&ids(&batch)?).await?;
            done += batch.len();
            self.room.add_permits(batch.len());
            for job in batch.drain(..) {
                job.ack().await?;
            }
        }
        Ok(())
    }

    /// Bounded by the room.
    fn publish_soon(&self, subject: &str, ids: Vec<Uuid>) {
        let (bus, subject) = (self.bus.clone(), subject.to_owned());
        tokio::spawn(async move {
            let all = ids.into_iter().map(|id| publish(&bus, &subject, id));
            if let Err(error) = futures::future::try_join_all(all).await {
                tracing::error!(%error, "the floor could not publish");
            }
        });
    }
}

async fn publish(bus: &Bus, subject: &str, id: Uuid) -> Result<(), BusError> {
    let payload = format!("{{\"id\":\"{id}\",\"text\":\"{TEXT}\"}}").into_bytes();
    bus.publish(Outgoing { subject: subject.to_owned(), msg_id: id.to_string(), trace: None, payload }).await?;
    Ok(())
}

fn ids(jobs: &[Job]) -> Result<Vec<Uuid>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Payload {
        id: Uuid,
    }
    let id = |job: &Job| serde_json::from_slice::<Payload>(job.payload()).map(|payload| payload.id);
    jobs.iter().map(id).collect::<Result<_, _>>().map_err(|error| StoreError::Unreadable(error.to_string()))
}

#[derive(Clone, Copy)]
enum Side {
    In,
    Out,
}

async fn consumer(stage: &Stage, side: Side) -> Result<broca_bus::Consumer, Failure> {
    let out = subject::outgoing_consumer(&instance()?);
    let (stream, durable) = match side {
        Side::In => (subject::STREAM_IN, subject::CONSUMER_WORKERS),
        Side::Out => (subject::STREAM_OUT, out.as_str()),
    };
    Ok(stage.bus.consumer(stream, durable, IN_FLIGHT).await?)
}

/// The consumer's messages through a queue, so that whatever waits can be taken as one batch.
async fn jobs(stage: &Stage, side: Side, shutdown: CancellationToken) -> Result<mpsc::Receiver<Job>, Failure> {
    let mut consumer = consumer(stage, side).await?;
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    tokio::spawn(async move {
        while let Some(job) = consumer.next(&shutdown).await {
            if sender.send(job).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
