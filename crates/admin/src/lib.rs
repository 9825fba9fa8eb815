//! What operators do, once: the command line, and later other front ends, are thin callers of these.

pub mod cancel;
pub mod check;
pub mod dead_letters;
pub mod holds;
pub mod janitor;
mod preview;
pub mod replay;
pub mod status;
pub mod targets;
