//! The `cli` platform: people talk to agents from a terminal.

mod client;
mod plugin;

pub use client::{ChatOptions, ChatStyle, ChatSummary, Keyboard, SendOutcome, Terminal, TerminalError};
pub use plugin::{CliPlugin, CliSettings};
