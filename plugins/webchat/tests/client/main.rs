//! The client against a bridge that speaks the documented API: what comes in, what goes out, what becomes of both when
//! something fails in between.

mod bridge;
mod deliveries;
mod messages;
mod scene;
mod troubles;
