//! Agents, as far as operators see them: what the settings say, and what they say themselves.

use schemars::JsonSchema;
use serde::Serialize;

/// What the settings say of an agent, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AgentFacts {
    /// letta or echo.
    pub kind: String,
    pub endpoint: Option<String>,
    /// Its id at its server.
    pub agent_id: Option<String>,
    pub turn_timeout_s: u64,
    pub max_concurrent_turns: Option<u32>,
}

/// What an agent said when it was asked whether it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AgentHealth {
    pub name: String,
    pub is_there: bool,
    pub version: Option<String>,
    /// Whether a turn can be repeated under its key.
    pub idempotent: Option<bool>,
    /// The class of what is wrong.
    pub class: Option<String>,
    /// In a sentence.
    pub detail: String,
}
