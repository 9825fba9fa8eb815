//! The agent side of Broca: the trait [`Agent`], the Letta REST client, and the echo agent.
//!
//! The trait speaks of conversations, turns, idempotency keys and outcomes, not of REST, so that another
//! protocol (the Letta App Server's WebSocket) can stand behind it.

mod agent;
mod echo;
mod letta;

pub use agent::{
    Agent, AgentConversation, AgentHealth, Attachment, Image, Memory, OpenTurn, RunProgress, Stopped, TurnRequest,
};
pub use echo::EchoAgent;
pub use letta::{LettaAgent, LettaError, LettaOptions, server_of};
