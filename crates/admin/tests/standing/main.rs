//! What is said of messages, on a real SQLite file. That both databases tell the same is the store's own suite.

mod as_of;
mod backlog;
mod explain;
mod home;
