//! The configured agents by name.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use broca_core::breaker::BreakerPolicy;
use broca_letta::{Agent, EchoAgent};

/// A configured agent.
#[derive(Clone, Debug)]
pub struct NamedAgent {
    pub agent: Arc<dyn Agent>,
    /// How long one turn may take.
    pub turn_timeout: Duration,
    pub limits: AgentLimits,
}

/// How hard an agent may be worked, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentLimits {
    /// Its turns under way at a time.
    pub turns: Option<u32>,
    /// Those of all agents at its endpoint together.
    pub endpoint_turns: Option<u32>,
    /// When its endpoint is left alone.
    pub breaker: BreakerPolicy,
}

impl AgentLimits {
    /// Whether its turns are counted at all.
    pub fn any(&self) -> bool {
        self.turns.is_some() || self.endpoint_turns.is_some()
    }
}

/// Every agent that a route may name, and the echo agent that echo mode uses in their stead.
#[derive(Clone, Debug)]
pub struct Agents {
    named: BTreeMap<String, NamedAgent>,
    echo: NamedAgent,
}

impl Agents {
    pub fn new(named: impl IntoIterator<Item = (String, NamedAgent)>) -> Self {
        let agent = Arc::new(EchoAgent::default());
        let echo = NamedAgent { agent, turn_timeout: Duration::from_secs(60), limits: AgentLimits::default() };
        Self { named: named.into_iter().collect(), echo }
    }

    pub fn get(&self, name: &str) -> Option<&NamedAgent> {
        self.named.get(name)
    }

    pub fn echo(&self) -> &NamedAgent {
        &self.echo
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &NamedAgent)> {
        self.named.iter().map(|(name, agent)| (name.as_str(), agent))
    }

    /// The names of the agents at an endpoint.
    pub fn at(&self, endpoint: &str) -> Vec<String> {
        let there = self.iter().filter(|(_, named)| named.agent.endpoint() == Some(endpoint));
        there.map(|(name, _)| name.to_owned()).collect()
    }
}
