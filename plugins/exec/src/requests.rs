//! What the program asks: each question is answered once, and so many may be open at a time.
//!
//! Messages of one chat are taken one after the other, in the order of their lines, so that a program may report without
//! waiting; those of several chats at once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use broca_plugin::{Cancelled, Context, IngestError, Ingested};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};

use crate::{
    child::Ear,
    protocol::{Entry, FromChild, IncomingMessage, RequestId, Standing, ToChild, Withdrawn},
};

/// Questions that may be open at a time.
pub(crate) const OPEN_REQUESTS: usize = 256;
const LANES: usize = 16;

type Report = (RequestId, Box<IncomingMessage>, OwnedSemaphorePermit);

/// The open questions of one session; they end with it.
#[derive(Debug)]
pub(crate) struct Requests {
    ctx: Context,
    ear: Ear,
    room: Arc<Semaphore>,
    lanes: Vec<mpsc::UnboundedSender<Report>>,
    tasks: JoinSet<()>,
}

impl Requests {
    pub(crate) fn new(ctx: Context, ear: Ear) -> Self {
        let mut tasks = JoinSet::new();
        // Bounded: each report in a lane has one of the places in `room`.
        let lanes = std::iter::repeat_with(|| {
            let (sender, reports) = mpsc::unbounded_channel();
            tasks.spawn(lane(ctx.clone(), ear.clone(), reports));
            sender
        });
        let lanes = lanes.take(LANES).collect();
        Self { ctx, ear, room: Arc::new(Semaphore::new(OPEN_REQUESTS)), lanes, tasks }
    }

    /// Takes a question; gives the line back when it is none.
    pub(crate) async fn take(&mut self, line: FromChild) -> Option<FromChild> {
        // Those that have ended, so that they do not pile up.
        while self.tasks.try_join_next().is_some() {}
        let id = match &line {
            FromChild::Ingest { id, .. }
            | FromChild::Status { id, .. }
            | FromChild::History { id, .. }
            | FromChild::Cancel { id, .. } => id.clone(),
            _ => return Some(line),
        };
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            let reason = format!("{OPEN_REQUESTS} questions are open: wait for their answers");
            // Whoever does not read any more learns nothing by it.
            drop(self.ear.say(&ToChild::Unavailable { id, reason }, None).await);
            return None;
        };
        if let FromChild::Ingest { id, message } = line {
            let lane = &self.lanes[lane_of(&message)];
            if lane.send((id, message, permit)).is_err() {
                tracing::error!("a lane of reports has ended; the program reports again when it is started anew");
            }
            return None;
        }
        let (ctx, ear) = (self.ctx.clone(), self.ear.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            let answer = answer(&ctx, id, line).await;
            drop(ear.say(&answer, None).await);
        });
        None
    }
}

fn lane_of(message: &IncomingMessage) -> usize {
    let mut hasher = DefaultHasher::new();
    message.chat_id.as_ref().unwrap_or(&message.sender.platform_user_id).hash(&mut hasher);
    usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default()
}

async fn lane(ctx: Context, ear: Ear, mut reports: mpsc::UnboundedReceiver<Report>) {
    while let Some((id, message, permit)) = reports.recv().await {
        let answer = match ctx.ingest((*message).into()).await {
            Ok(Ingested::New(message_id)) => ToChild::Accepted { id, message_id, duplicate: false, suppressed: None },
            Ok(Ingested::Duplicate(message_id)) => {
                ToChild::Accepted { id, message_id, duplicate: true, suppressed: None }
            }
            Ok(Ingested::Suppressed(message_id, reason)) => {
                ToChild::Accepted { id, message_id, duplicate: false, suppressed: Some(reason.to_string()) }
            }
            Err(IngestError::Refused(why)) => ToChild::Refused { id, reason: why.to_string() },
            Err(IngestError::Unavailable(reason)) => ToChild::Unavailable { id, reason },
        };
        // A program that is gone reports it again, and is told then.
        drop(ear.say(&answer, None).await);
        drop(permit);
    }
}

async fn answer(ctx: &Context, id: RequestId, question: FromChild) -> ToChild {
    let result = match question {
        FromChild::Status { message_id, .. } => ctx.status(message_id).await.map(|message| {
            let message = message.map(|m| Standing {
                message_id: m.message_id,
                state: m.state,
                reason: m.reason,
                answer: m.answer,
            });
            ToChild::StatusIs { id: id.clone(), message }
        }),
        FromChild::History { platform_user_id, limit, .. } => {
            ctx.history(&platform_user_id, limit.min(1_000)).await.map(|entries| {
                let entry = |e: broca_plugin::HistoryEntry| Entry {
                    message_id: e.message_id,
                    text: e.text,
                    state: e.state,
                    answer: e.answer,
                    received_at: e.received_at.micros(),
                };
                ToChild::HistoryIs { id: id.clone(), messages: entries.into_iter().map(entry).collect() }
            })
        }
        FromChild::Cancel { message_id, reason, .. } => ctx.cancel(message_id, &reason).await.map(|cancelled| {
            let outcome = match cancelled {
                Cancelled::Done => Withdrawn::Done,
                Cancelled::Running => Withdrawn::Running,
                Cancelled::Over => Withdrawn::Over,
            };
            ToChild::Cancelled { id: id.clone(), outcome }
        }),
        _ => Err(IngestError::Unavailable("this is no question".into())),
    };
    result.unwrap_or_else(|error| ToChild::Unavailable { id, reason: error.to_string() })
}
