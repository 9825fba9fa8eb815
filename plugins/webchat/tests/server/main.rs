//! The server over real HTTP: every action with its envelope, who is let in, what survives, what hostile requests do.

mod actions;
mod admin;
mod gates;
mod hostile;
mod restarts;
mod scene;
mod streams;
