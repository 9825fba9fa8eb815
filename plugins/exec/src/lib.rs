//! Any program as a plugin: it reads and writes JSON lines, and needs no library, no queue and no credentials of ours.
//! `README.md` of this folder is the whole of it on one page.
//!
//! Here the program's child process is a [`Plugin`](broca_plugin::Plugin) like the others, so that order, receipts,
//! retries and what becomes of a cut-off delivery are the pipeline's, as everywhere.
//!
//! - [`protocol`]: every line that is said, in both directions.
//! - [`folder`]: a program with a `plugin.toml`.
//! - [`template`]: the examples as the beginning of a new one.
//! - `child`: the process, its group, its pipes, its end.
//! - `session`: one life of it, from hello to its end; `requests` is what it asks meanwhile, `pending` what it is asked.
//! - `plugin`: life after life, and what the host wants of whichever lives.

mod child;
pub mod folder;
mod garbage;
mod pending;
mod plugin;
mod program;
pub mod protocol;
mod requests;
mod session;
mod settings;
pub mod template;

pub use plugin::{ExecPlugin, Reading};
pub use program::{Launch, Program, untied};
pub use settings::{ExecSettings, Options, blueprint};
