//! The end-to-end harness: real servers, the real binary as processes, a scripted agent and a scripted platform
//! whose own logs are what the pipeline is held against.

mod audit;
pub mod chaos;
mod crew;
mod dead_letters;
mod home;
mod process;
mod readme;
mod reckoning;
mod rig;
mod rows;
mod scrape;
pub mod snapshot;
mod terminal;

pub use audit::{NOTICE, Verdict, overlapping_turns};
pub use crew::Crew;
pub use dead_letters::DeadLetters;
pub use home::{Home, Said};
pub use process::Process;
pub use readme::{documented, shape};
pub use reckoning::{DOOMED, Reckoning};
pub use rig::{Database, Rig, RigOptions, eventually};
pub use rows::{all_over, answer_in, comes_to_rest, message_in, message_of};
pub use scrape::{Scrape, page};
pub use terminal::RawTerminal;
