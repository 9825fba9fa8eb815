//! The `webhook` platform: whoever speaks HTTP.
//!
//! Two roads lead in. A **webhook** is a signed `POST /v1/messages`; its answer goes out as a signed `POST` to the
//! configured address. Both follow the [Standard Webhooks](https://www.standardwebhooks.com) convention: `webhook-id` is
//! the idempotency key, `webhook-signature` an HMAC-SHA256 of `id.timestamp.body`. A **chat request** is a
//! `POST /v1/chat` with a bearer key; its answer is in the reply, or is fetched with `GET /v1/messages/{id}`.
//!
//! The plugin keeps nothing on disk: what was accepted and answered is in SQL, and whoever repeats a request under the
//! same key gets the same message. It speaks plain HTTP; put a proxy with TLS before it.

mod api;
mod chat;
mod incoming;
mod outgoing;
mod plugin;
mod settings;
mod signature;
mod waiting;

pub use plugin::{WebhookPlugin, blueprint};
pub use settings::{ChatKey, ChatSettings, IncomingSettings, OutgoingSettings, WebhookSettings};
pub use signature::{Signer, Unsigned};
