//! All SQL of Broca, on SQLite and PostgreSQL behind one concrete [`Store`].
//!
//! This is the only crate that names sqlx. Every operation on a message's way exists as a batch and is
//! group-committed: callers hand in one item, whatever waits becomes the next statement.

mod rows;

pub use rows::*;
