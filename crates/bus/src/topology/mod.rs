//! Streams, consumers and the settings bucket: kept as files, compared with the server, applied to it.
//!
//! Only an administrator's user may do this. All other processes bind what is there.

mod apply;
mod change;
mod compare;
mod files;
mod limits;

use std::time::Duration;

use broca_core::Instance;
use serde_json::{Map, Value};

pub use change::{Change, ChangeKind, FieldChange};
pub use limits::StreamLimits;

/// A configuration as the server takes it.
pub(crate) type Config = Map<String, Value>;

/// What the broker should hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// Streams, and buckets as the streams that they are.
    streams: Vec<Config>,
    /// Buckets of files, as templates of the streams that they are.
    objects: Vec<Config>,
    consumers: Vec<ConsumerFile>,
}

#[derive(Clone, Debug, PartialEq)]
struct ConsumerFile {
    stream: String,
    /// Holds the word `INSTANCE` when it is a template.
    config: Config,
}

/// What depends on the deployment rather than on the files.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// The plugin instances that get a consumer.
    pub instances: Vec<Instance>,
    /// Those that get a bucket for files.
    pub with_files: Vec<Instance>,
    /// Copies of every stream. `None` leaves streams that exist as they are and creates others with what
    /// the files say.
    pub replicas: Option<usize>,
    /// The redelivery time of all consumers; `None` means what the files say.
    pub ack_wait: Option<Duration>,
    /// Limits of single streams, in place of the files'.
    pub limits: Vec<StreamLimits>,
    /// Remove the consumers of instances that are not listed, unless messages wait for them.
    pub prune: bool,
}
