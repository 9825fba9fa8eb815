//! Real servers for tests, each on a free port under a temporary folder of its own: ended and removed on drop.
//! Depends on no crate of Broca, so that every crate's tests can use it.

pub mod browser;
mod child;
mod disk;
pub mod nats;
mod port;
pub mod postgres;

pub use browser::{Browser, CONTRAST};
pub use nats::{NatsCluster, NatsServer};
pub use postgres::Postgres;
