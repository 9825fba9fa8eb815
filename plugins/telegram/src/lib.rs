//! The `telegram` platform: one bot, by Telegram's bot API.
//!
//! The way in is [long polling](poll) or a [webhook](webhook), both into one [inbox](inbox); the way out reads an
//! answer as [markdown](text) and [sends](deliver) it in as many messages as it takes. Nothing is kept between two runs:
//! Telegram remembers what was confirmed, and SQL what was accepted and which parts of an answer are sent.
//!
//! A user's own account (not a bot) is another protocol with other terms, and is not served.

mod api;
mod command;
mod content;
mod deliver;
mod files;
mod gate;
mod health;
mod inbox;
mod notice;
mod pace;
mod place;
mod plugin;
mod poll;
mod settings;
mod text;
mod webhook;

pub use plugin::{TelegramPlugin, blueprint};
pub use settings::{Edits, Groups, Reply, TelegramSettings};
