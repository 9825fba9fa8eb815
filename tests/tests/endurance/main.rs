//! Every plugin that is shipped survives what happens to it: its platform away for an hour, no broker, its own `kill -9`
//! between any two durable points, a flood, hostile input. Each before a far side that speaks its platform's wire format.
//!
//! The kills of `telegram`, `webchat` and the programs of `exec` stand in their own files, as does Telegram's flood.

mod far;
mod flood;
mod hostile;
mod hour;
mod kills;
mod receiver;
mod stage;
