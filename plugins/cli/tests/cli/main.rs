//! The cli platform from outside: terminals and raw sockets at a running plugin, a pipeline in memory behind it.

mod pipeline;
mod terminals;
mod wire;
