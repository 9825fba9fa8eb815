//! The `demo` platform: a scripted chat platform over HTTP, and the plugin to read before writing one.
//!
//! The platform is `broca_rehearsal::platform`; it works as Telegram's bot API does (numbered updates, confirmed by
//! asking for a higher offset). The plugin keeps no state: what was confirmed is the platform's to remember, what was
//! accepted and answered is in SQL.

mod api;
mod plugin;

pub use plugin::{DemoPlugin, DemoSettings, blueprint};
