//! The settings of an agent.

use std::{path::PathBuf, time::Duration};

use broca_admin::agents::AgentFacts;
use broca_core::breaker::BreakerPolicy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, settings::millis};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AgentKind {
    #[default]
    Letta,
    /// Answers with the message itself, without any server.
    Echo,
}

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AgentSettings {
    /// Who answers.
    pub(crate) kind: AgentKind,
    /// The Letta server, e.g. `http://localhost:8283`.
    pub(crate) endpoint: Option<String>,
    /// Where the server wants one.
    pub(crate) api_key: Option<Secret>,
    /// The file that has it.
    pub(crate) api_key_file: Option<PathBuf>,
    /// The agent's id at Letta.
    pub(crate) agent_id: Option<String>,
    /// A turn that takes longer is unknown, never repeated blindly.
    pub(crate) turn_timeout_s: u64,
    /// Once its stream broke, a run that says nothing for so long counts as dead with its server; half of a turn's
    /// time, and five minutes at most, when it is not set.
    pub(crate) stuck_after_s: Option<u64>,
    /// Its turns under way at a time, over all workers.
    pub(crate) max_concurrent_turns: Option<u32>,
    /// Those of all agents at its endpoint together; agents at one endpoint that set it must set the same.
    pub(crate) endpoint_max_concurrent_turns: Option<u32>,
    /// So many turns in a row that found nobody at the endpoint, and it is not asked for a while; 0: it always is.
    pub(crate) breaker_failures: u32,
    /// How long it is not asked at first; twice as long each time that it is still away.
    pub(crate) breaker_open_ms: u64,
    /// And at most.
    pub(crate) breaker_open_max_ms: u64,
    /// What of the agent's memory is each person's own.
    pub(crate) user_memory: Option<UserMemory>,
    /// The label of their block there.
    pub(crate) user_memory_label: String,
    /// Whether each person has an identity at Letta as well, which is the sender of their messages there.
    pub(crate) user_identity: bool,
    /// How long the echo agent takes to answer.
    pub(crate) delay_ms: u64,
}

/// How an agent keeps what it knows of each person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UserMemory {
    /// Each has a block of its core memory, attached for their turns alone, one turn at a time.
    Block,
}

impl Default for AgentSettings {
    fn default() -> Self {
        let breaker = BreakerPolicy::default();
        Self {
            kind: AgentKind::Letta,
            endpoint: None,
            api_key: None,
            api_key_file: None,
            agent_id: None,
            turn_timeout_s: 600,
            stuck_after_s: None,
            max_concurrent_turns: None,
            endpoint_max_concurrent_turns: None,
            breaker_failures: breaker.failures,
            breaker_open_ms: millis(breaker.open),
            breaker_open_max_ms: millis(breaker.open_max),
            user_memory: None,
            user_memory_label: "human".to_owned(),
            user_identity: false,
            delay_ms: 0,
        }
    }
}

impl AgentSettings {
    pub(crate) fn stuck_after(&self) -> Duration {
        let by_itself = (Duration::from_secs(self.turn_timeout_s) / 2).min(Duration::from_secs(300));
        self.stuck_after_s.map_or(by_itself, Duration::from_secs)
    }

    /// What anybody may know of it who may look.
    pub(crate) fn facts(&self) -> AgentFacts {
        let kind = match self.kind {
            AgentKind::Letta => "letta",
            AgentKind::Echo => "echo",
        };
        AgentFacts {
            kind: kind.to_owned(),
            // As workers call it, and without what may be secret in it.
            endpoint: self.endpoint.as_deref().and_then(broca_letta::server_of),
            agent_id: self.agent_id.clone(),
            turn_timeout_s: self.turn_timeout_s,
            max_concurrent_turns: self.max_concurrent_turns,
        }
    }

    pub(crate) fn breaker(&self) -> BreakerPolicy {
        BreakerPolicy {
            failures: self.breaker_failures,
            open: Duration::from_millis(self.breaker_open_ms),
            open_max: Duration::from_millis(self.breaker_open_max_ms),
        }
    }
}
