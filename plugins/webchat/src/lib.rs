//! The `webchat` platform: people on web pages.
//!
//! Broca's predecessor fetched their messages from a *bridge*, a small web application that widgets talk to, by the
//! bridge's API. This plugin does either half: as a **client** it fetches from such a bridge, as a **server** it is one,
//! with the same API, so that widgets that exist work against it, and with a page and a widget of its own that get their
//! answers as they come.
//!
//! The server keeps its sessions, and the answers that pages fetch, in one file ([`server`](crate) has no database). That
//! file is a view: messages are the pipeline's before a page is told so, and an answer has its receipt once it is synced.

mod client;
mod plugin;
mod server;
mod settings;
mod wire;

pub use plugin::{WebchatPlugin, blueprint};
pub use settings::{ClientSettings, Mode, PerMinute, ServerSettings, WebchatSettings};
