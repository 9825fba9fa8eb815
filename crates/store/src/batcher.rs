//! Group commit: callers hand in single items, and whatever waits when the previous batch is done becomes the next.
//!
//! There is no time window: an item that finds the operation idle runs at once and alone. A caller that
//! goes away does not take its item back; the item runs, and its answer is dropped.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    StoreError,
    operation::{self, Each, Operation, Session},
};

/// Items in one statement. More gained nothing when measured.
const BATCH: usize = 200;
/// Callers that may wait before the next one has to wait for a place to wait.
const WAITING: usize = 1024;
/// A connection is kept this long for the next batch.
const KEEP: Duration = Duration::from_secs(10);

type Job<O> = (<O as Operation>::Item, oneshot::Sender<Each<<O as Operation>::Output>>);

/// The entrance to one operation. Its task ends when the last clone is dropped.
pub(crate) struct Batcher<O: Operation>(mpsc::Sender<Job<O>>);

impl<O: Operation> Clone for Batcher<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<O: Operation> std::fmt::Debug for Batcher<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batcher({})", O::NAME)
    }
}

impl<O: Operation> Batcher<O> {
    /// Starts the operation's task on the current tokio runtime.
    pub(crate) fn start(session: Session) -> Self {
        operation::begin_measuring::<O>();
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(run_batches::<O>(session, receiver));
        Self(sender)
    }

    pub(crate) async fn submit(&self, item: O::Item) -> Each<O::Output> {
        let (answer, answered) = oneshot::channel();
        self.0.send((item, answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// Only a runtime that shuts down ends the task before its callers.
fn stopped() -> StoreError {
    sqlx::Error::PoolClosed.into()
}

async fn run_batches<O: Operation>(mut session: Session, mut jobs: mpsc::Receiver<Job<O>>) {
    let mut waiting = Vec::with_capacity(BATCH);
    loop {
        let taken = match timeout(KEEP, jobs.recv_many(&mut waiting, BATCH)).await {
            Ok(taken) => taken,
            Err(_) => {
                session.rest();
                jobs.recv_many(&mut waiting, BATCH).await
            }
        };
        if taken == 0 {
            return;
        }
        let (items, callers): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
        let answers = session.run::<O>(&items).await;
        for (caller, answer) in callers.into_iter().zip(answers) {
            // A caller that went away needs no answer.
            drop(caller.send(answer));
        }
    }
}
