//! Delivery attempts, as both databases see them.

use std::time::Duration;

use broca_core::{
    Instance, OutboxId, Part, Receipt, ResponseId, ResponseState, WorkerId, agent::Failure, clock::micros,
};
use serde_json::Value;

use crate::{DeliveryEnd, FinishDelivery, StoreError};

/// An answer that waits for its first attempt is announced again after this long.
pub(crate) const ANNOUNCE_AFTER_MICROS: i64 = 5_000_000;

/// A plugin process's wish to deliver an answer.
#[derive(Clone, Debug)]
pub(crate) struct BeginDelivery {
    pub(crate) response: ResponseId,
    pub(crate) instance: Instance,
    pub(crate) host: WorkerId,
    pub(crate) ttl: Duration,
}

pub(crate) fn parts_text(parts: &[Part]) -> Result<String, StoreError> {
    serde_json::to_string(parts).map_err(StoreError::unreadable)
}

/// The end of an attempt, flattened to the columns that both databases write.
pub(crate) struct DeliveryEnding<'a> {
    pub(crate) state: ResponseState,
    pub(crate) outcome: &'static str,
    failure: Option<&'a Failure>,
    receipt: Option<&'a Receipt>,
    pub(crate) delay: i64,
    /// Set when the chat is to be remembered as dead.
    pub(crate) probe_after: Option<i64>,
    /// Set when the end owes the broker a dead letter.
    pub(crate) outbox: Option<OutboxId>,
}

impl<'a> DeliveryEnding<'a> {
    pub(crate) fn of(finish: &'a FinishDelivery) -> Self {
        let plain = |state, outcome, failure| Self {
            state,
            outcome,
            failure,
            receipt: None,
            delay: 0,
            probe_after: None,
            outbox: None,
        };
        let dead =
            |failure| Self { outbox: Some(OutboxId::new()), ..plain(ResponseState::Dead, "dead", Some(failure)) };
        match &finish.end {
            DeliveryEnd::Delivered(receipt) => {
                Self { receipt: Some(receipt), ..plain(ResponseState::Delivered, "delivered", None) }
            }
            DeliveryEnd::Retry { failure, delay } => {
                Self { delay: micros(*delay), ..plain(ResponseState::Retry, "retry", Some(failure)) }
            }
            DeliveryEnd::Dead(failure) => dead(failure),
            DeliveryEnd::TargetDead { failure, probe_after } => {
                Self { probe_after: Some(micros(*probe_after)), ..dead(failure) }
            }
            DeliveryEnd::Unknown(failure) => plain(ResponseState::Unknown, "unknown", Some(failure)),
            DeliveryEnd::HandBack => plain(ResponseState::Pending, "handed_back", None),
        }
    }

    pub(crate) fn class(&self) -> Option<&'static str> {
        self.failure.map(|failure| failure.class.as_str())
    }

    pub(crate) fn reason(&self) -> Option<&'a str> {
        self.failure.map(|failure| failure.reason.as_str())
    }

    pub(crate) fn receipt(&self) -> Option<Value> {
        self.receipt.and_then(|receipt| serde_json::to_value(receipt).ok())
    }
}

/// What a response is to its plugin. What a message of class `command` brings is a reply, and a notice to all else.
macro_rules! response_kind {
    ($response:literal, $message:literal) => {
        concat!(
            "CASE WHEN ",
            $response,
            ".kind = 'notice' AND ",
            $message,
            ".class = 'command' THEN 'reply' ELSE ",
            $response,
            ".kind END AS kind"
        )
    };
}
pub(crate) use response_kind;
