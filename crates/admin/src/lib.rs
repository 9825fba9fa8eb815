//! What operators do, once: the command line, and later other front ends, are thin callers of these.

pub mod cancel;
pub mod check;
pub mod control;
pub mod dead_letters;
pub mod explain;
pub mod holds;
pub mod janitor;
pub mod journey;
pub mod live;
pub mod modes;
mod preview;
pub mod replay;
pub mod status;
pub mod targets;
pub mod telling;
