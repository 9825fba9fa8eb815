//! The way of a message, one file per stretch, each ending at a durable point:
//!
//! 1. [`ingest`]: a plugin's report becomes committed rows, and an owed wake.
//! 2. [`relay`]: what is owed to the broker is published and marked on its PubAck.
//! 3. [`work`]: a wake becomes a held conversation; its messages are brought to their ends in order, each by a
//!    [`turn`] of the agent.
//! 4. [`deliver`]: an answer is handed to the platform and its receipt recorded.
//! 5. [`sweep`]: whatever a crash or an outage left lying is picked up again.
//!
//! Correctness rests on the rows and the sweeps. Wakes are speed: any of them may be lost, doubled or reordered.
//! [`worker`] and [`plugin`] are the two kinds of process that these stretches run in.

pub mod admission;
pub mod agents;
pub mod commands;
pub mod crash;
pub mod deliver;
pub mod events;
pub mod files;
pub mod ingest;
pub mod mutate;
mod pacing;
pub mod plugin;
pub mod relay;
pub mod spans;
pub mod sweep;
pub mod turn;
pub mod work;
pub mod worker;
mod yielded;

mod account;
mod attempt;
mod burst;
mod delivering;
mod ending;
mod hearing;
mod held;
mod leftovers;
mod live_settings;
mod memory;
mod meter;
mod modes;
mod outcome;
mod parts;
mod place;
mod saying;
mod shared;
mod states;
mod stopping;
mod typing;

pub use account::AccountTaken;
pub use agents::Agents;

/// Why a process of the pipeline ended other than by a shutdown.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Store(#[from] broca_store::StoreError),
    #[error(transparent)]
    Bus(#[from] broca_bus::BusError),
    #[error(transparent)]
    Host(#[from] broca_plugin::HostError),
    #[error(transparent)]
    Account(#[from] AccountTaken),
    /// Neither the live settings of an instance nor those of its files will do.
    #[error(transparent)]
    Settings(#[from] broca_plugin::SettingsError),
}
