//! The end-to-end harness: real servers, the real binary as processes, a scripted agent and a scripted platform
//! whose own logs are what the pipeline is held against.

mod audit;
mod crew;
mod process;
mod rig;

pub use audit::{Verdict, overlapping_turns};
pub use crew::Crew;
pub use process::Process;
pub use rig::{Database, Rig, RigOptions, eventually};
