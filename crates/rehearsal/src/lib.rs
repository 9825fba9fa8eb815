//! Scripted servers that speak the real wire formats: an agent server and a chat platform, for the demo and for tests.

pub mod letta;
pub mod platform;
