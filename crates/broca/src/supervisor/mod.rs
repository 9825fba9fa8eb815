//! Keeps child processes running, and ends them in order.
//!
//! - [`child`]: one process: started, watched, restarted with growing pauses, stopped.
//! - [`group`]: the processes that start and stop together (plugins, workers, the broker).
//! - [`lines`]: their output as one log.
//! - [`tie`]: what ends them when this process is killed.

mod child;
mod group;
mod lines;
pub(crate) mod tie;

pub(crate) use child::{ChildSpec, Output, announce_ready};
pub(crate) use group::Group;
pub(crate) use lines::Lines;
