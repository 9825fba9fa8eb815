//! One message is ended before its time, on somebody's word.

use broca_core::MessageId;
use broca_store::{Cancelled, Store, StoreError};
use serde::Serialize;

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct Cancel {
    pub message: MessageId,
    /// Who asks.
    pub actor: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct CancelReport {
    pub message_id: MessageId,
    #[serde(flatten)]
    pub cancelled: Cancelled,
}

/// Ends a message that waits for its turn, has the agent stop that works on it, or keeps its answer from being delivered.
///
/// # Errors
/// The database does not answer.
pub async fn cancel(store: &Store, cancel: &Cancel) -> Result<CancelReport, StoreError> {
    let why = cancel.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let cancelled = store.cancel(cancel.message, &format!("cancelled by {}{why}", cancel.actor)).await?;
    Ok(CancelReport { message_id: cancel.message, cancelled })
}
