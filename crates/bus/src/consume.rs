//! Consuming: a bound durable pull consumer that heals itself and never holds more than its slots.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rand::Rng;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, BusError, Job,
    api::{Api, ApiError},
    connect::Inner,
    pull::{Binding, Received},
};

const INFO_TIMEOUT: Duration = Duration::from_secs(2);
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// At shutdown; a busy consumer's requests take up to two seconds to end.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(4);

/// A bound durable pull consumer.
#[derive(Debug)]
pub struct Consumer {
    inner: Arc<Inner>,
    stream: String,
    durable: String,
    capacity: usize,
    slots: Arc<Semaphore>,
    ack_wait: Duration,
    binding: Option<Binding>,
    /// Received on a binding that is over; comes out first.
    ready: VecDeque<Job>,
    connections: watch::Receiver<u64>,
    outage: Outage,
}

/// How far a consumer is behind, as the server counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Never delivered yet.
    pub pending: u64,
    /// Delivered and undecided.
    pub ack_pending: u64,
    /// Of those, delivered more than once.
    pub redelivered: u64,
    /// Pull requests that wait for messages.
    pub waiting: u64,
}

#[derive(Deserialize)]
struct ConsumerInfo {
    config: ConsumerConfig,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    num_redelivered: u64,
    #[serde(default)]
    num_waiting: u64,
}

#[derive(Deserialize)]
struct ConsumerConfig {
    durable_name: Option<String>,
    deliver_subject: Option<String>,
    #[serde(default)]
    ack_policy: String,
    /// Nanoseconds.
    #[serde(default)]
    ack_wait: u64,
}

impl Bus {
    /// Binds the durable pull consumer `durable` of `stream`; creates nothing. At most `slots` of its
    /// messages are held at a time: buffered here, or as a [`Job`] that is not decided yet.
    pub async fn consumer(&self, stream: &str, durable: &str, slots: usize) -> Result<Consumer, BusError> {
        // Watched before the look-up, so that a connection lost in between is seen.
        let connections = self.inner.connections.watch();
        let info = look_up(&self.inner.api, stream, durable).await?;
        let capacity = slots.clamp(1, Semaphore::MAX_PERMITS >> 1);
        Ok(Consumer {
            inner: Arc::clone(&self.inner),
            stream: stream.to_owned(),
            durable: durable.to_owned(),
            capacity,
            slots: Arc::new(Semaphore::new(capacity)),
            ack_wait: Duration::from_nanos(info.config.ack_wait),
            binding: None,
            ready: VecDeque::new(),
            connections,
            outage: Outage::default(),
        })
    }

    /// How far a consumer is behind.
    pub async fn backlog(&self, stream: &str, durable: &str) -> Result<Backlog, BusError> {
        let info = look_up(&self.inner.api, stream, durable).await?;
        Ok(Backlog {
            pending: info.num_pending,
            ack_pending: info.num_ack_pending,
            redelivered: info.num_redelivered,
            waiting: info.num_waiting,
        })
    }
}

async fn look_up(api: &Api, stream: &str, durable: &str) -> Result<ConsumerInfo, BusError> {
    let name = format!("CONSUMER.INFO.{stream}.{durable}");
    let info: ConsumerInfo = match api.request(&name, &json!({}), INFO_TIMEOUT).await {
        Ok(info) => info,
        Err(ApiError::NotFound) => {
            return Err(BusError::MissingConsumer { stream: stream.to_owned(), consumer: durable.to_owned() });
        }
        Err(ApiError::Other(error)) => return Err(error),
    };
    let wrong = |found: &str| BusError::WrongConsumer {
        stream: stream.to_owned(),
        consumer: durable.to_owned(),
        found: found.to_owned(),
    };
    match &info.config {
        config if config.deliver_subject.as_deref().is_some_and(|s| !s.is_empty()) => Err(wrong("a push consumer")),
        config if config.durable_name.is_none() => Err(wrong("not durable")),
        config if config.ack_policy != "explicit" => Err(wrong("without explicit acks")),
        _ => Ok(info),
    }
}

impl Consumer {
    /// The consumer's redelivery time, as of the last look-up: progress must be said well within it.
    pub fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    /// The next job; waits for one, for a free slot, or out an outage, for as long as it takes. `None` only
    /// when `shutdown` is cancelled; everything buffered has then been handed back.
    ///
    /// May be cancelled: no message is lost by it.
    pub async fn next(&mut self, shutdown: &CancellationToken) -> Option<Job> {
        loop {
            let step = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                step = self.step() => step,
            };
            match step {
                Ok(Some(job)) => return Some(job),
                Ok(None) => {}
                Err(error) => self.break_off(&error),
            }
        }
        self.hand_back().await;
        None
    }

    /// Slots that no job and no request occupies.
    pub fn free_slots(&self) -> usize {
        self.slots.available_permits()
    }

    /// One event: a job, something noted, or the end of the binding.
    async fn step(&mut self) -> Result<Option<Job>, BusError> {
        if let Some(job) = self.ready.pop_front() {
            return Ok(Some(job));
        }
        let Some(binding) = &mut self.binding else {
            self.bind().await?;
            return Ok(None);
        };
        // Asked for while earlier messages are still buffered, so that the next ones are on their way.
        let wanted = binding.wanted(self.capacity);
        if let Some(wanted) = wanted
            && let Ok(first) = Arc::clone(&self.slots).try_acquire_many_owned(wanted)
        {
            binding.request(&self.inner, &self.slots, first).await?;
            return Ok(None);
        }
        let silent_at = binding.silent_at();
        let owed = binding.owed() > 0;
        let received = tokio::select! {
            biased;
            received = binding.receive(&self.slots) => received,
            // The requests died with the old connection.
            _ = self.connections.changed() => Received::Broken("the connection was replaced".into()),
            Ok(first) = Arc::clone(&self.slots).acquire_many_owned(wanted.unwrap_or(1)), if wanted.is_some() => {
                binding.request(&self.inner, &self.slots, first).await?;
                Received::Noted
            }
            () = tokio::time::sleep_until(silent_at), if owed => {
                Received::Broken("the server fell silent".into())
            }
        };
        if binding.proven {
            self.outage.over(&self.stream, &self.durable);
        }
        match received {
            Received::Delivery(message, slot) => Ok(self.job(message, slot)),
            Received::Noted => Ok(None),
            Received::Broken(reason) => Err(BusError::Unavailable(reason)),
        }
    }

    async fn bind(&mut self) -> Result<(), BusError> {
        tokio::select! {
            biased;
            // A new connection is worth an attempt at once.
            _ = self.connections.changed() => {}
            () = self.outage.pause() => {}
        }
        let info = tokio::select! {
            biased;
            _ = self.connections.changed() => return Ok(()),
            info = look_up(&self.inner.api, &self.stream, &self.durable) => info?,
        };
        self.ack_wait = Duration::from_nanos(info.config.ack_wait);
        self.binding = Some(Binding::open(&self.inner, &self.stream, &self.durable).await?);
        Ok(())
    }

    fn job(&self, message: async_nats::Message, slot: OwnedSemaphorePermit) -> Option<Job> {
        let job = Job::new(&self.inner, message, Some(slot));
        if job.is_none() {
            tracing::warn!(stream = self.stream, "ignored a message that came to our inbox without being a delivery");
        }
        job
    }

    /// Ends the binding. What it had received already is kept and comes out of [`Consumer::next`].
    fn break_off(&mut self, error: &BusError) {
        let mut proven = false;
        if let Some(mut binding) = self.binding.take() {
            while let Some(received) = binding.receive_now(&self.slots) {
                match received {
                    Received::Delivery(message, slot) => self.ready.extend(self.job(message, slot)),
                    Received::Noted => {}
                    Received::Broken(_) => break,
                }
            }
            proven = binding.proven;
        }
        self.outage.failed(&self.stream, &self.durable, error, proven);
    }

    async fn hand_back(&mut self) {
        let handed = tokio::time::timeout(HAND_BACK_TIMEOUT, self.hand_back_untimed()).await;
        self.binding = None;
        let (stream, consumer) = (&self.stream, &self.durable);
        let error = match handed {
            Ok(Ok(returned)) => return tracing::debug!(%stream, %consumer, returned, "stopped consuming"),
            Ok(Err(error)) => error,
            Err(_) => BusError::Unavailable(format!("not done within {HAND_BACK_TIMEOUT:?}")),
        };
        tracing::warn!(%stream, %consumer, %error, "buffered messages return after ack_wait");
    }

    async fn hand_back_untimed(&mut self) -> Result<usize, BusError> {
        let bus = Bus { inner: Arc::clone(&self.inner) };
        if !bus.is_connected() {
            return Err(BusError::Unavailable("the connection is lost".into()));
        }
        let mut returned = self.ready.len();
        while let Some(job) = self.ready.pop_front() {
            job.nak(Duration::ZERO).await?;
        }
        if let Some(binding) = &mut self.binding {
            returned += binding.close(&self.inner, &self.slots).await?;
        }
        bus.flush().await?;
        Ok(returned)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Some(binding) = &mut self.binding {
            binding.close_now(&self.inner);
        }
    }
}

/// Since when nothing works, and when to try again. Says so once, and once that it is over.
#[derive(Debug, Default)]
struct Outage {
    failures: u32,
    retry_at: Option<Instant>,
    reported: bool,
}

impl Outage {
    async fn pause(&self) {
        if let Some(at) = self.retry_at {
            tokio::time::sleep_until(at).await;
        }
    }

    /// A binding that worked is replaced at once, but not again and again.
    fn failed(&mut self, stream: &str, consumer: &str, error: &BusError, proven: bool) {
        let now = Instant::now();
        let recent = self.retry_at.is_some_and(|at| now < at + BACKOFF_MIN);
        if proven && !recent {
            self.retry_at = Some(now);
            tracing::debug!(stream, consumer, %error, "binding the consumer again");
            return;
        }
        let delay = BACKOFF_MIN.saturating_mul(1 << self.failures.min(5)).min(BACKOFF_MAX);
        self.retry_at = Some(now + delay.mul_f64(rand::rng().random_range(0.8..=1.0)));
        self.failures += 1;
        if !self.reported {
            self.reported = true;
            tracing::warn!(stream, consumer, %error, "cannot consume, trying again until it works");
        }
    }

    fn over(&mut self, stream: &str, consumer: &str) {
        if self.reported {
            tracing::info!(stream, consumer, failures = self.failures, "consuming again");
        }
        self.failures = 0;
        self.reported = false;
    }
}
