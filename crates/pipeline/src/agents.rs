//! The configured agents by name.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use broca_letta::{Agent, EchoAgent};

/// A configured agent.
#[derive(Clone, Debug)]
pub struct NamedAgent {
    pub agent: Arc<dyn Agent>,
    /// How long one turn may take.
    pub turn_timeout: Duration,
}

/// Every agent that a route may name, and the echo agent that echo mode uses in their stead.
#[derive(Clone, Debug)]
pub struct Agents {
    named: BTreeMap<String, NamedAgent>,
    echo: NamedAgent,
}

impl Agents {
    pub fn new(named: impl IntoIterator<Item = (String, NamedAgent)>) -> Self {
        let echo = NamedAgent { agent: Arc::new(EchoAgent::default()), turn_timeout: Duration::from_secs(60) };
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
}
