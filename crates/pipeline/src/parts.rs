//! The parts of a long answer are recorded one by one: whoever goes on after a failure begins behind them.

use std::time::Duration;

use async_trait::async_trait;
use broca_core::{
    DeliveryError, Part, ResponseId, WorkerId,
    agent::{Failure, FailureClass},
};
use broca_plugin::PartSink;
use broca_store::{Fenced, RecordParts, Store};
use tokio_util::sync::CancellationToken;

use crate::crash::{CrashPoint, point};

/// Writes down what the platform has of one answer, under the attempt that sent it.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    pub(crate) store: Store,
    pub(crate) response: ResponseId,
    pub(crate) host: WorkerId,
    pub(crate) attempt: u32,
    pub(crate) draining: CancellationToken,
}

#[async_trait]
impl PartSink for Recorder {
    /// Repeats the write while the database is away, because the platform has the part already. The error is
    /// *unknown*: what the rows say is behind what the platform has, and it has to be asked.
    async fn record(&self, parts: &[Part]) -> Result<(), DeliveryError> {
        let record = RecordParts {
            response: self.response,
            host: self.host.clone(),
            attempt: self.attempt,
            parts: parts.to_vec(),
        };
        let mut pause = Duration::from_millis(50);
        loop {
            match self.store.record_parts(record.clone()).await {
                Ok(Fenced::Done(())) => {
                    point(CrashPoint::PartRecorded);
                    return Ok(());
                }
                Ok(Fenced::LeaseLost) => return Err(unrecorded("another process took the answer over")),
                Err(error) if error.is_transient() => {
                    tracing::warn!(response = %self.response, %error, "part not recorded, tried again");
                }
                Err(error) => return Err(unrecorded(&error.to_string())),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
                () = self.draining.cancelled() => return Err(unrecorded("the process stops")),
            }
        }
    }
}

fn unrecorded(why: &str) -> DeliveryError {
    let reason = format!("a part was sent and could not be recorded: {why}");
    DeliveryError::Unknown(Failure::new(FailureClass::Interrupted, reason))
}
