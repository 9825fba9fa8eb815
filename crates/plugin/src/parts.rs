//! Answers that a platform takes in several messages.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use broca_core::{DeliveryError, Part, Receipt, Response};

/// Where parts are written down.
#[async_trait]
pub trait PartSink: Send + Sync + std::fmt::Debug {
    /// Records all parts of an answer that its platform has, from the first on.
    async fn record(&self, parts: &[Part]) -> Result<(), DeliveryError>;
}

/// The parts of one answer that its platform has. A plugin that cuts long answers into several messages notes each of
/// them here, so that a failure in the middle is followed by the rest and not by everything again:
///
/// ```
/// # use broca_core::{DeliveryError, Receipt, Response};
/// # use broca_plugin::Parts;
/// # async fn send(piece: &str) -> Result<String, DeliveryError> { Ok(format!("sent {piece}")) }
/// # async fn deliver(response: &Response, parts: &Parts) -> Result<Receipt, DeliveryError> {
/// let mut rest = response.rest(); // Behind what earlier attempts sent.
/// loop {
///     let end = rest.char_indices().nth(4_096).map_or(rest.len(), |(at, _)| at);
///     let (piece, after) = rest.split_at(end);
///     let id = send(piece).await?;
///     if after.is_empty() {
///         return Ok(parts.receipt(id)); // Of all of them.
///     }
///     parts.sent(id, end).await?;
///     rest = after;
/// }
/// # }
/// ```
///
/// A plugin that sends one message for each answer has no use for it.
#[derive(Debug)]
pub struct Parts {
    parts: Mutex<Vec<Part>>,
    sink: Option<Arc<dyn PartSink>>,
}

impl Parts {
    pub fn new(response: &Response, sink: Arc<dyn PartSink>) -> Self {
        Self { sink: Some(sink), ..Self::in_memory(response) }
    }

    /// Writes nothing down: for a plugin's own tests.
    pub fn in_memory(response: &Response) -> Self {
        Self { parts: Mutex::new(response.parts.clone()), sink: None }
    }

    /// Notes that the platform took the next part. `text_bytes` is how much of the answer's text is done by it, with
    /// whatever was left out at its ends. It is on record when this returns.
    ///
    /// # Errors
    /// It could not be recorded: return the error, and send nothing more.
    pub async fn sent(&self, platform_message_id: impl Into<String>, text_bytes: usize) -> Result<(), DeliveryError> {
        let mut parts = self.all();
        let text_end = parts.last().map_or(0, |part| part.text_end).saturating_add(text_bytes);
        parts.push(Part { platform_message_id: platform_message_id.into(), text_end });
        if let Some(sink) = &self.sink {
            sink.record(&parts).await?;
        }
        *self.parts.lock().unwrap_or_else(PoisonError::into_inner) = parts;
        Ok(())
    }

    /// All parts that are on record, those of earlier attempts first.
    pub fn all(&self) -> Vec<Part> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The receipt of the whole answer, once its last part is sent. That part needs no [`Self::sent`].
    pub fn receipt(&self, last: impl Into<String>) -> Receipt {
        let earlier = self.all().into_iter().map(|part| part.platform_message_id);
        Receipt { platform_message_ids: earlier.chain([last.into()]).collect() }
    }
}
