//! All NATS: connecting, publishing with an acknowledgement, consuming with flow control, and the topology.
//! The only crate that names `async-nats`.
//!
//! What it promises: a publish that returned `Ok` is stored by the stream; a [`Job`] that nobody decided
//! about comes back; a [`Consumer`] ends only by shutdown. What it does not promise, and what no caller may
//! need: order, exactly-once, or that an acknowledgement of an old delivery is refused. Those come from SQL.

mod account;
mod announce;
mod api;
mod connect;
mod consume;
mod error;
mod events;
mod job;
mod objects;
mod publish;
mod pull;
mod purge;
mod rights;
mod settings;
pub mod topology;
mod version;

pub use account::Storage;
pub use announce::Announcements;
pub use connect::{Auth, Bus, BusOptions, ServerFacts};
pub use consume::{Backlog, Consumer};
pub use error::BusError;
pub use job::{Job, ProgressHandle};
pub use publish::{Acked, Outgoing};
pub use rights::Attempt;
pub use settings::{Entry, Known, SettingsFeed};

pub use topology::{ApplyOptions, Change, ChangeKind, FieldChange, StreamLimits, Topology};
pub use version::{MINIMUM_SERVER, ServerVersion, TESTED_SERVER};
