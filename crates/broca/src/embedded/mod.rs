//! What `broca up` brings along when nothing else is configured: a data folder of its own, and a NATS server in it.

mod data_dir;
mod nats_server;

pub(crate) use data_dir::DataDir;
pub(crate) use nats_server::NatsServer;
