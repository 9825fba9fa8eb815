//! The webhook plugin over real HTTP: who is believed, what is told, and what becomes of an answer.

mod answers;
mod chat;
mod hostile;
mod receiver;
mod scene;
mod signed;
