//! What operators do, once. `operations` is the table of it: the command line, the HTTP server and the MCP server are
//! thin callers of that; what stands beside it is what it calls.

pub mod access;
pub mod agents;
pub mod backlog;
pub mod cancel;
pub mod check;
pub mod control;
pub mod dead_letters;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod forget;
pub mod holds;
pub mod janitor;
pub mod journey;
pub mod live;
pub mod modes;
pub mod operations;
mod page;
pub mod person;
mod preview;
pub mod queue;
pub mod replay;
pub mod retention;
pub mod status;
pub mod targets;
pub mod telling;
pub mod users;
