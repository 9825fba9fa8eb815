//! A delivered, un-acknowledged message as a value: it is decided once, or it comes back.

use std::{fmt, sync::Arc, time::Duration};

use async_nats::{Message, Subject, client::Request};
use broca_core::{TraceParent, envelope::HEADER_TRACEPARENT};
use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::{BusError, connect::Inner};

/// How long one word to the server may wait for room in the connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// A bare refusal redelivers at once and would spin; this is the pace of a job that nobody decided about.
const DROPPED_DELAY: Duration = Duration::from_secs(1);

/// A delivered message. It occupies one slot of its consumer until it is decided.
///
/// Dropped without a decision it is refused, and redelivered after a second. A word that got lost on a
/// broken connection means redelivery after the consumer's `ack_wait`: whoever works on a job must be able
/// to see it again. JetStream takes an acknowledgement of an old delivery too, so it fences nothing.
pub struct Job {
    message: Message,
    token: Token,
    delivery: Delivery,
    decided: bool,
    _slot: Option<OwnedSemaphorePermit>,
}

/// What the acknowledgement subject tells of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Counted from 1.
    pub(crate) delivered: u64,
    pub(crate) sequence: u64,
}

/// Says that a job is still being worked on. Cheap to clone and valid as long as the delivery is.
#[derive(Clone)]
pub struct ProgressHandle {
    token: Token,
}

#[derive(Clone)]
struct Token {
    inner: Arc<Inner>,
    reply: Subject,
}

impl Job {
    /// `None` when the message is no JetStream delivery.
    pub(crate) fn new(inner: &Arc<Inner>, message: Message, slot: Option<OwnedSemaphorePermit>) -> Option<Self> {
        let reply = message.reply.clone()?;
        let delivery = Delivery::read(&reply)?;
        let token = Token { inner: Arc::clone(inner), reply };
        Some(Self { message, token, delivery, decided: false, _slot: slot })
    }

    pub fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    /// The trace that the publisher named, if it is well-formed.
    pub fn trace(&self) -> Option<TraceParent> {
        self.message.headers.as_ref()?.get(HEADER_TRACEPARENT)?.as_str().parse().ok()
    }

    /// How often this message was delivered, this time included.
    pub fn delivered(&self) -> u64 {
        self.delivery.delivered
    }

    /// The message's sequence in its stream.
    pub fn sequence(&self) -> u64 {
        self.delivery.sequence
    }

    /// Done; not confirmed by the server.
    pub async fn ack(mut self) -> Result<(), BusError> {
        self.decide(Bytes::from_static(b"+ACK")).await
    }

    /// Done, confirmed by the server; half as fast as [`Job::ack`]. An error means that it is not known.
    pub async fn ack_confirmed(mut self) -> Result<(), BusError> {
        let request = Request::new().payload(Bytes::from_static(b"+ACK")).timeout(Some(SEND_TIMEOUT));
        let answer = self.token.inner.client().send_request(self.token.reply.clone(), request).await;
        self.decided = true;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => Err(BusError::Unavailable(format!("the acknowledgement was not confirmed: {error}"))),
        }
    }

    /// Not done: deliver it again after `delay`, to whichever consumer asks. Zero means at once.
    pub async fn nak(mut self, delay: Duration) -> Result<(), BusError> {
        self.decide(refusal(delay)).await
    }

    /// Never deliver it again. The server tells the reason in an advisory.
    pub async fn term(mut self, reason: &str) -> Result<(), BusError> {
        self.decide(Bytes::from(format!("+TERM {reason}"))).await
    }

    /// Restarts the consumer's `ack_wait`.
    pub async fn progress(&self) -> Result<(), BusError> {
        self.token.progress().await
    }

    /// For a heartbeat that speaks for many jobs.
    pub fn progress_handle(&self) -> ProgressHandle {
        ProgressHandle { token: self.token.clone() }
    }

    /// Decided when the attempt has ended, well or not: a call that was cancelled half-way refuses the job.
    async fn decide(&mut self, word: Bytes) -> Result<(), BusError> {
        let sent = self.token.send(word).await;
        self.decided = true;
        sent
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.decided {
            self.token.send_now(refusal(DROPPED_DELAY));
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("subject", &self.subject()).field("delivery", &self.delivery).finish()
    }
}

impl ProgressHandle {
    /// Restarts the consumer's `ack_wait`. Harmless when the job was decided meanwhile.
    pub async fn progress(&self) -> Result<(), BusError> {
        self.token.progress().await
    }
}

impl fmt::Debug for ProgressHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProgressHandle").field(&self.token.reply.as_str()).finish()
    }
}

impl Token {
    async fn progress(&self) -> Result<(), BusError> {
        self.send(Bytes::from_static(b"+WPI")).await
    }

    async fn send(&self, word: Bytes) -> Result<(), BusError> {
        match tokio::time::timeout(SEND_TIMEOUT, self.inner.client().publish(self.reply.clone(), word)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BusError::Unavailable(format!("cannot answer a delivery: {error}"))),
            Err(_) => Err(BusError::Unavailable(format!("cannot answer a delivery within {SEND_TIMEOUT:?}"))),
        }
    }

    /// From a destructor. When the connection takes nothing more, `ack_wait` brings the job back instead.
    fn send_now(&self, word: Bytes) {
        let sending = tokio::task::unconstrained(self.inner.client().publish(self.reply.clone(), word));
        if !matches!(sending.now_or_never(), Some(Ok(()))) {
            tracing::debug!("a dropped job could not be handed back; it returns after ack_wait");
        }
    }
}

/// Hands a buffered delivery straight to another consumer.
pub(crate) async fn hand_back(inner: &Arc<Inner>, message: &Message) -> Result<(), BusError> {
    match &message.reply {
        Some(reply) => Token { inner: Arc::clone(inner), reply: reply.clone() }.send(refusal(Duration::ZERO)).await,
        None => Ok(()),
    }
}

/// [`hand_back`] from a destructor.
pub(crate) fn hand_back_now(inner: &Arc<Inner>, message: &Message) {
    if let Some(reply) = &message.reply {
        Token { inner: Arc::clone(inner), reply: reply.clone() }.send_now(refusal(Duration::ZERO));
    }
}

fn refusal(delay: Duration) -> Bytes {
    if delay.is_zero() {
        Bytes::from_static(b"-NAK")
    } else {
        Bytes::from(format!("-NAK {{\"delay\": {}}}", delay.as_nanos()))
    }
}

impl Delivery {
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.…`, or with domain and account before the stream.
    fn read(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.split('.').collect();
        let first = match tokens.len() {
            9 => 4,
            11.. => 6,
            _ => return None,
        };
        if tokens[..2] != ["$JS", "ACK"] {
            return None;
        }
        Some(Self { delivered: tokens[first].parse().ok()?, sequence: tokens[first + 1].parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_acknowledgement_subject_are_read() {
        let delivery = Some(Delivery { delivered: 3, sequence: 77 });
        assert_eq!(Delivery::read("$JS.ACK.BROCA_IN.workers.3.77.5.1700000000000000000.9"), delivery);
        assert_eq!(Delivery::read("$JS.ACK._.hash.BROCA_IN.workers.3.77.5.1700000000000000000.9"), delivery);
        assert_eq!(Delivery::read("$JS.ACK._.hash.BROCA_IN.workers.3.77.5.1700000000000000000.9.x"), delivery);
        for stray in ["", "_INBOX.a.b", "a.b.c.d.1.2.3.4.5", "$JS.ACK.S.C.x.2.3.4.5", "$JS.ACK.S.C.1.2.3.4.5.6"] {
            assert_eq!(Delivery::read(stray), None, "{stray}");
        }
    }

    #[test]
    fn a_refusal_carries_nanoseconds() {
        assert_eq!(refusal(Duration::ZERO), "-NAK");
        assert_eq!(refusal(Duration::from_millis(1500)), "-NAK {\"delay\": 1500000000}");
    }
}
