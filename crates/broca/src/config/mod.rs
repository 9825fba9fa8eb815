//! Settings: what they are, where they come from, and whether they make sense.
//!
//! Defaults, then `broca.toml`, then the original's environment names, then `BROCA_*`, then flags; the later wins.
//! Every value remembers its source, so that an error and `broca config show` can name it.

mod agents;
mod attachments;
mod check;
mod original;
mod ranges;
mod retention;
mod schema;
mod secret;
mod settings;
mod show;
mod sources;
#[cfg(test)]
mod tests;

pub(crate) use agents::{AgentKind, AgentSettings, UserMemory};
pub(crate) use retention::{RetentionSettings, StreamSettings};
pub(crate) use schema::schema;
pub(crate) use secret::{Secret, Url};
pub(crate) use settings::{LogFormat, PluginEntry, Settings, TraceSettings};
pub(crate) use show::{Shown, shown};
pub(crate) use sources::{Flag, Loaded, Place, is_setting, load};
