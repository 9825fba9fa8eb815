//! The bus against real servers.

mod acks;
mod cluster;
mod healing;
mod latency;
mod objects;
mod permissions;
mod publishing;
mod rig;
mod settings;
mod slots;
mod tls;
mod topology;
