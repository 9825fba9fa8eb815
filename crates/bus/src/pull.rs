//! One binding to a consumer: the reply subscription, the requests that are out, and what the server says of them.
//!
//! The server counts down every pull request by the messages it sends for it, and ends it with a status that
//! says how many it still owed. Data messages do not say which request they answer, so the requests are
//! counted together: `owed` holds one slot for every message that may still come.

use std::sync::Arc;

use async_nats::{Message, Subscriber};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant},
};

use crate::{BusError, connect::Inner, job};

/// How long one request stands. Also how long a busy consumer's shutdown may take: the server cannot be told to
/// forget a request, and messages that it sends for one after the subscription is gone are lost until `ack_wait`.
const EXPIRES: Duration = Duration::from_secs(2);
/// Twice as long is the shortest that a request with heartbeats may stand.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Two heartbeats and a bit: nothing will come any more.
const SILENCE: Duration = Duration::from_millis(2500);
/// Since when nothing may have come for a consumer to count as idle when it closes.
const IDLE: Duration = Duration::from_secs(1);
/// At closing: time for a backlog to use up the requests that are out, before messages are handed back that
/// would otherwise come straight back to us.
const COLLECT: Duration = Duration::from_millis(100);
/// Messages per request.
const BATCH: usize = 500;
/// Messages that may be on their way at a time, however many slots are free: what is buffered here
/// is withheld from other workers.
const PREFETCH: usize = 1000;

/// What came in.
#[derive(Debug)]
pub(crate) enum Received {
    Delivery(Message, OwnedSemaphorePermit),
    /// A status that was taken into account.
    Noted,
    /// This binding is over; the reason is for the log.
    Broken(String),
}

#[derive(Debug)]
pub(crate) struct Binding {
    subscription: Subscriber,
    inbox: String,
    request_subject: String,
    requests: u64,
    owed: Option<OwnedSemaphorePermit>,
    heard: Instant,
    delivered_at: Option<Instant>,
    /// Something came from the server on this binding.
    pub(crate) proven: bool,
}

impl Binding {
    pub(crate) async fn open(inner: &Inner, stream: &str, durable: &str) -> Result<Self, BusError> {
        let inbox = inner.client().new_inbox();
        let subscription = inner
            .client()
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| BusError::Unavailable(format!("cannot subscribe to {inbox}: {error}")))?;
        let request_subject = format!("{}.CONSUMER.MSG.NEXT.{stream}.{durable}", inner.api.prefix);
        let heard = Instant::now();
        Ok(Self {
            subscription,
            inbox,
            request_subject,
            requests: 0,
            owed: None,
            heard,
            delivered_at: None,
            proven: false,
        })
    }

    /// Messages that may still come.
    pub(crate) fn owed(&self) -> usize {
        self.owed.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// How many slots must be free before asking for more. Asking at every single freed slot would double the
    /// traffic; waiting for the outstanding request would leave slots idle. So: when more are free than owed.
    pub(crate) fn wanted(&self, capacity: usize) -> Option<u32> {
        let owed = self.owed();
        let wanted = owed + 1;
        let fits = owed + wanted <= capacity && owed + BATCH <= PREFETCH;
        fits.then(|| u32::try_from(wanted).unwrap_or(u32::MAX))
    }

    /// Asks for as many messages as `first` and the other free slots allow.
    pub(crate) async fn request(
        &mut self,
        inner: &Inner,
        slots: &Arc<Semaphore>,
        mut first: OwnedSemaphorePermit,
    ) -> Result<(), BusError> {
        let more = BATCH.saturating_sub(first.num_permits()).min(slots.available_permits());
        if let Ok(rest) = Arc::clone(slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(0)) {
            first.merge(rest);
        }
        let body = json!({
            "batch": first.num_permits(),
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        let reply = format!("{}.{}", self.inbox, self.requests);
        inner
            .client()
            .publish_with_reply(self.request_subject.clone(), reply, body.to_string().into())
            .await
            .map_err(|error| BusError::Unavailable(format!("cannot ask for messages: {error}")))?;
        // Nothing is awaited from here on: a cancelled call has either asked and counted, or neither.
        self.requests += 1;
        self.heard = Instant::now();
        match &mut self.owed {
            Some(owed) => owed.merge(first),
            None => self.owed = Some(first),
        }
        Ok(())
    }

    /// Until when something must be heard.
    pub(crate) fn silent_at(&self) -> Instant {
        self.heard + SILENCE
    }

    pub(crate) async fn receive(&mut self, slots: &Arc<Semaphore>) -> Received {
        let message = self.subscription.next().await;
        self.note(message, slots)
    }

    /// What is buffered already; `None` when nothing is.
    pub(crate) fn receive_now(&mut self, slots: &Arc<Semaphore>) -> Option<Received> {
        let message = self.subscription.next().now_or_never()?;
        Some(self.note(message, slots))
    }

    fn note(&mut self, message: Option<Message>, slots: &Arc<Semaphore>) -> Received {
        let Some(message) = message else {
            return Received::Broken("the subscription ended".into());
        };
        self.heard = Instant::now();
        match message.status.map(|status| status.as_u16()) {
            None => {
                self.proven = true;
                self.delivered_at = Some(self.heard);
                match self.slot(slots) {
                    Some(slot) => Received::Delivery(message, slot),
                    None => Received::Broken("more messages came than were asked for".into()),
                }
            }
            Some(100) => {
                self.proven = true;
                Received::Noted
            }
            Some(code) => self.ended(code, &message),
        }
    }

    /// The slot set aside for this message.
    fn slot(&mut self, slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let owed = self.owed.as_mut().and_then(|owed| owed.split(1));
        owed.or_else(|| Arc::clone(slots).try_acquire_owned().ok())
    }

    /// A request ended. 408 is its normal end; so is 409 "Batch Completed". Everything else (no responders,
    /// a leader that steps down, a deleted consumer, a server that shuts down) ends the binding.
    fn ended(&mut self, code: u16, message: &Message) -> Received {
        let unsent = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Pending-Messages"))
            .and_then(|value| value.as_str().parse::<usize>().ok());
        let reason = message.description.as_deref().unwrap_or("no description");
        match unsent {
            Some(unsent) if code == 408 || reason == "Batch Completed" => {
                self.proven = true;
                let unsent = unsent.min(self.owed());
                drop(self.owed.as_mut().and_then(|owed| owed.split(unsent)));
                Received::Noted
            }
            _ => Received::Broken(format!("{code} {reason}")),
        }
    }

    /// Hands back whatever is buffered or on its way, so that another consumer has it at once.
    pub(crate) async fn close(&mut self, inner: &Arc<Inner>, slots: &Arc<Semaphore>) -> Result<usize, BusError> {
        if self.delivered_at.is_none_or(|at| at.elapsed() > IDLE) {
            self.close_idle(inner).await
        } else {
            self.close_busy(inner, slots).await
        }
    }

    /// Ends the subscription at once. The client forgets it a moment before the server does; a message that
    /// arrives in just that moment returns after `ack_wait`.
    async fn close_idle(&mut self, inner: &Arc<Inner>) -> Result<usize, BusError> {
        self.subscription.drain().await.map_err(|error| BusError::Unavailable(error.to_string()))?;
        let mut held = Vec::new();
        while let Some(message) = self.subscription.next().await {
            held.extend(message.status.is_none().then_some(message));
        }
        return_all(inner, &mut held).await
    }

    /// Lets every request end by the server's own word; after that nothing can be on its way.
    async fn close_busy(&mut self, inner: &Arc<Inner>, slots: &Arc<Semaphore>) -> Result<usize, BusError> {
        let started = Instant::now();
        let (mut held, mut returned) = (Vec::new(), 0);
        while self.owed() > 0 {
            let collecting = started.elapsed() < COLLECT;
            if !collecting {
                returned += return_all(inner, &mut held).await?;
            }
            let until = if collecting { started + COLLECT } else { self.silent_at() };
            match tokio::time::timeout_at(until, self.receive(slots)).await {
                Ok(Received::Delivery(message, _slot)) => held.push(message),
                Ok(Received::Noted) => {}
                Ok(Received::Broken(_)) => break,
                Err(_) if collecting => {}
                Err(_) => break,
            }
        }
        Ok(returned + return_all(inner, &mut held).await?)
    }

    /// [`Binding::close`] from a destructor: what is on its way returns after `ack_wait`.
    pub(crate) fn close_now(&mut self, inner: &Arc<Inner>) {
        while let Some(Some(message)) = self.subscription.next().now_or_never() {
            if message.status.is_none() {
                job::hand_back_now(inner, &message);
            }
        }
    }
}

async fn return_all(inner: &Arc<Inner>, held: &mut Vec<Message>) -> Result<usize, BusError> {
    let returned = held.len();
    for message in held.drain(..) {
        job::hand_back(inner, &message).await?;
    }
    Ok(returned)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
