//! One file per subcommand. Each only wires: it reads its arguments, calls what does the work, and prints.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod dlq;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod hold;
mod letters;
pub(crate) mod message;
pub(crate) mod migrate;
pub(crate) mod mode;
mod moment;
pub(crate) mod nats;
pub(crate) mod plugin;
pub(crate) mod rehearse;
pub(crate) mod replay;
pub(crate) mod send;
pub(crate) mod status;
pub(crate) mod targets;
pub(crate) mod tied;
mod timeline;
pub(crate) mod up;
mod which;
pub(crate) mod worker;
