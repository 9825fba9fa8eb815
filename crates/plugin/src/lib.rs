//! The contract between Broca and a platform plugin.
//!
//! A plugin is one process for one platform account. It reports what its platform says ([`Context::ingest`]) and
//! hands answers to its platform ([`Plugin::deliver`]); who may talk, who answers, in which order and how often
//! something is tried is not its business.

mod contract;
mod host;

pub use contract::{
    Capabilities, Context, HistoryEntry, Ingest, IngestError, Ingested, Manifest, MessageStatus, Plugin, PluginError,
    PluginState, StateSink,
};
pub use host::{HostError, host};
