//! Scripted servers that speak the real wire formats (an agent server and a chat platform), for the demo and for tests,
//! and a pipeline in memory for a plugin's own tests.

pub mod letta;
pub mod pipeline;
pub mod platform;
pub mod telegram;
