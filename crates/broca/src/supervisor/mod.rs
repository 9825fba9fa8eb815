//! Keeps child processes running, and ends them in order.
//!
//! - [`child`]: one process: started, watched, restarted with growing pauses, stopped.
//! - [`group`]: the processes that start and stop together (plugins, workers, the broker).
//! - [`member`]: one of them, which can be stopped by itself.
//! - [`lines`]: their output as one log.
//! - [`tie`]: what ends them when this process is killed.

mod child;
mod group;
mod lines;
mod member;
pub(crate) mod tie;

pub(crate) use child::{ChildSpec, ChildStatus, Output, Stop, announce_ready};
pub(crate) use group::Group;
pub(crate) use lines::Lines;
pub(crate) use member::Member;
