//! Turns under way that are not to go on: their sender or an operator took the message back, or a later one interrupts.
//!
//! The rows say which. One look a second finds them for all that this process has under way; a wake for a conversation
//! that it holds makes it look at once. Whoever runs the turn waits here beside its agent.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broca_core::{ConversationId, MessageId};
use broca_store::{Behind, Stop, StopKind, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::shared::Worker;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The turn that a held conversation has, and what is wanted of it.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    turn: Mutex<Option<Messages>>,
    told: watch::Sender<Vec<Stop>>,
}

/// What a turn says.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    pub(crate) ids: Vec<MessageId>,
    /// The place of the last one.
    pub(crate) seq: i64,
    /// A later message stops it.
    pub(crate) gives_way: bool,
}

impl UnderWay {
    pub(crate) fn begins(&self, messages: Messages) {
        self.told.send_replace(Vec::new());
        *lock(&self.turn) = Some(messages);
    }

    pub(crate) fn ends(&self) {
        *lock(&self.turn) = None;
    }

    fn messages(&self) -> Option<Messages> {
        lock(&self.turn).clone()
    }

    fn gives_way(&self) -> bool {
        lock(&self.turn).as_ref().is_some_and(|messages| messages.gives_way)
    }

    /// Tells what is wanted of the turn that is under way, if it is still that one.
    pub(crate) fn tell(&self, stops: Vec<Stop>) {
        let turn = lock(&self.turn);
        let Some(messages) = turn.as_ref() else { return };
        let stops: Vec<Stop> = stops.into_iter().filter(|stop| messages.ids.contains(&stop.message)).collect();
        if !stops.is_empty() {
            self.told.send_replace(stops);
        }
    }

    /// Returns when the turn is to be stopped.
    pub(crate) async fn stopped(&self) -> Vec<Stop> {
        let mut told = self.told.subscribe();
        loop {
            let stops = told.borrow_and_update().clone();
            if !stops.is_empty() {
                return stops;
            }
            if told.changed().await.is_err() {
                // Its sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Looks until `stop`.
pub(crate) async fn watch(worker: Arc<Worker>, stop: CancellationToken) {
    let mut timer = tokio::time::interval(LOOK_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = worker.look_now.notified() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = look(&worker).await {
            tracing::warn!(%error, "nobody could tell which turns are to be stopped");
        }
    }
}

async fn look(worker: &Worker) -> Result<(), StoreError> {
    let under_way: Vec<_> = worker.held.under_way().into_iter().filter_map(with_messages).collect();
    if under_way.is_empty() {
        return Ok(());
    }
    let asked = worker.store.stops().await?;
    for (conversation, turn, messages) in under_way {
        let mut stops: Vec<Stop> = asked.iter().filter(|stop| stop.conversation == conversation).cloned().collect();
        if messages.gives_way && stops.is_empty() {
            stops.extend(interruption(worker, conversation, &messages).await?);
        }
        turn.tell(stops);
    }
    Ok(())
}

type Turn = (ConversationId, Arc<UnderWay>, Messages);

fn with_messages((conversation, turn): (ConversationId, Arc<UnderWay>)) -> Option<Turn> {
    let messages = turn.messages()?;
    Some((conversation, turn, messages))
}

/// What waits behind a turn that gives way is the wish itself.
async fn interruption(
    worker: &Worker,
    conversation: ConversationId,
    messages: &Messages,
) -> Result<Option<Stop>, StoreError> {
    let Some(first) = messages.ids.first().copied() else { return Ok(None) };
    let newer = worker.store.waiting_behind(&Behind { conversation, seq: messages.seq, message: first }).await?;
    Ok(newer.map(|newer| Stop {
        conversation,
        message: first,
        kind: StopKind::Interrupt,
        reason: format!("message {newer} came, and its route says that it interrupts"),
    }))
}

/// Somebody wrote into a conversation that this process may have.
pub(crate) fn wrote(worker: &Worker, conversation: ConversationId) {
    if worker.held.turn_of(conversation).is_some_and(|turn| turn.gives_way()) {
        worker.look_now.notify_one();
    }
}

/// A panic elsewhere leaves these whole: every change to them is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
