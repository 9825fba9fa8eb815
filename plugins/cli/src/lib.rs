//! The `cli` platform: people talk to agents from a terminal.
//!
//! Two halves meet at a Unix socket: the plugin process ([`CliPlugin`]) and the terminals that connect to it
//! ([`Terminal`], which `broca send` and `broca chat` use). What they say to each other is in [`protocol`], so that
//! other programs can be terminals, too.

mod chat;
mod client;
mod exchange;
mod keyboard;
mod lines;
mod link;
mod plugin;
pub mod protocol;
mod session;
mod socket;
mod terminals;

pub use chat::{ChatOptions, ChatStyle, ChatSummary};
pub use client::{SendOutcome, Terminal, TerminalError};
pub use keyboard::Keyboard;
pub use plugin::{CliPlugin, CliSettings, blueprint};
