//! The Letta client against a scripted Letta server.

mod approvals;
mod errors;
mod recovery;
mod rig;
mod scenes;
mod stopping;
mod table;
mod turns;
mod without_redis;
