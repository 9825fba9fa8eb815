//! What is owed to the broker is published, and forgotten only on the broker's PubAck.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use broca_bus::{Bus, BusError, Outgoing};
use broca_core::{
    envelope::{Body, Envelope, VERSION},
    subject,
};
use broca_store::{Owed, OwedKind, Store, StoreError, SweptWake};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    crash::{CrashPoint, point},
    meter,
    mutate::{self, Protection},
    spans,
};

/// First publishes under way at once. What is over that stays in the outbox for the sweep, so that an outage
/// of the broker costs rows, not memory.
const IN_BACKGROUND: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Debug)]
pub struct Relay {
    store: Store,
    bus: Bus,
    room: Arc<Semaphore>,
    /// The last publish did not go well: an outage is one line in the log, not one for each message.
    failing: Arc<AtomicBool>,
    tasks: TaskTracker,
}

impl Relay {
    pub fn new(store: Store, bus: Bus) -> Self {
        let room = Arc::new(Semaphore::new(IN_BACKGROUND));
        Self { store, bus, room, failing: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Publishes in the background. The row is committed: should this fail, the sweep does it.
    pub fn publish_soon(&self, owed: Owed) {
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            tracing::debug!(outbox = %owed.id, "too many publishes under way, left to the sweep");
            return;
        };
        let relay = self.clone();
        self.tasks.spawn(async move {
            let id = owed.id;
            match relay.publish(owed).await {
                Ok(()) => relay.failing.store(false, Ordering::Relaxed),
                Err(error) => {
                    if !relay.failing.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "publishing fails; what is owed is kept, and left to the sweep");
                    }
                    tracing::debug!(outbox = %id, %error, "not published");
                }
            }
            drop(room);
        });
    }

    /// Publishes one owed message and marks it.
    pub async fn publish(&self, owed: Owed) -> Result<(), RelayError> {
        let id = owed.id;
        if mutate::is_off(Protection::Outbox) {
            self.store.outbox_done(id).await?;
        }
        let kind = meter::kind_of(&owed.what);
        let span = spans::Publish::begins(&owed);
        let sent = self.send(kind, outgoing(owed)).await;
        span.ends(sent.is_ok());
        sent?;
        point(CrashPoint::Published);
        self.store.outbox_done(id).await?;
        Ok(())
    }

    /// Publishes a wake that no outbox row stands behind: the sweep finds the conversation again if it is lost.
    pub async fn publish_swept(&self, wake: SweptWake) -> Result<(), RelayError> {
        let envelope = Envelope {
            version: VERSION,
            body: Body::Wake,
            instance: wake.instance.clone(),
            message_id: wake.message,
            conversation_id: wake.conversation,
            text: None,
            traceparent: None,
            at: wake.at,
        };
        let outgoing = Outgoing {
            subject: subject::incoming(&wake.instance),
            // Each sweep's wake is a new one to the broker: the message's own id was used for its first.
            msg_id: format!("sweep-{}-{}", wake.conversation, wake.at.micros()),
            trace: None,
            payload: envelope.encode(),
        };
        Ok(self.send("sweep", outgoing).await?)
    }

    async fn send(&self, kind: &'static str, outgoing: Outgoing) -> Result<(), BusError> {
        let acked = self.bus.publish(outgoing).await;
        meter::published(kind, acked.as_ref().ok().map(|acked| acked.duplicate));
        acked.map(drop)
    }

    /// Waits for the background publishes under way.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn outgoing(owed: Owed) -> Outgoing {
    let (subject, body) = match owed.what {
        OwedKind::Wake => (subject::incoming(&owed.instance), Body::Wake),
        OwedKind::Response(response_id) => (subject::outgoing(&owed.instance), Body::Response { response_id }),
        OwedKind::DeadLetter { stage, class, reason, attempts } => (
            subject::dead_letter(&stage, &owed.instance, owed.message),
            Body::DeadLetter { stage, class, reason, attempts },
        ),
    };
    let envelope = Envelope {
        version: VERSION,
        body,
        instance: owed.instance,
        message_id: owed.message,
        conversation_id: owed.conversation,
        text: Some(owed.text),
        traceparent: owed.trace,
        at: owed.at,
    };
    Outgoing { subject, msg_id: owed.id.to_string(), trace: owed.trace, payload: envelope.encode() }
}
