//! The configured agents: made from the settings, and asked whether they are there.

use std::{fmt, sync::Arc, time::Duration};

use broca_admin::agents::AgentHealth as SaidHealth;
use broca_core::agent::{Failure as AgentFailure, FailureClass};
use broca_letta::{Agent, AgentHealth, EchoAgent, LettaAgent, LettaOptions};
use broca_pipeline::{
    Agents,
    agents::{AgentLimits, NamedAgent},
};

use crate::{
    config::{AgentKind, AgentSettings, Secret, Settings, UserMemory},
    failure::{Code, Failure},
};

/// How long an agent may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every configured agent.
///
/// # Errors
/// An address, key or id that no client can be made of. In echo mode, where nobody is called, such an agent is left out.
pub(crate) fn configured(settings: &Settings) -> Result<Agents, Failure> {
    let mut named = Vec::new();
    for (name, agent) in &settings.agents {
        match client(name, agent) {
            Ok(client) => {
                let turn_timeout = Duration::from_secs(agent.turn_timeout_s);
                let limits = AgentLimits {
                    // Of an agent's people, one has their block attached at a time.
                    turns: if agent.user_memory.is_some() { Some(1) } else { agent.max_concurrent_turns },
                    endpoint_turns: settings.endpoint_limit(agent),
                    breaker: agent.breaker(),
                };
                named.push((name.clone(), NamedAgent { agent: client, turn_timeout, limits }));
            }
            Err(failure) if settings.calls_agents() => return Err(failure),
            Err(_) => {}
        }
    }
    Ok(Agents::new(named))
}

fn client(name: &str, settings: &AgentSettings) -> Result<Arc<dyn Agent>, Failure> {
    if settings.kind == AgentKind::Echo {
        return Ok(Arc::new(EchoAgent { delay: Duration::from_millis(settings.delay_ms) }));
    }
    let endpoint = settings.endpoint.clone().unwrap_or_default();
    let agent_id = settings.agent_id.clone().unwrap_or_default();
    let api_key = settings.api_key.clone().map(Secret::into_inner);
    let stuck_after = settings.stuck_after();
    let user_block = settings.user_memory.map(|UserMemory::Block| settings.user_memory_label.clone());
    let user_identity = settings.user_identity;
    let options =
        LettaOptions { api_key, stuck_after, user_block, user_identity, ..LettaOptions::new(endpoint, agent_id) };
    let agent = LettaAgent::new(options);
    let agent = agent.map_err(|error| Failure::new(Code::Usage, format!("agents.{name}: {error}")))?;
    Ok(Arc::new(agent))
}

/// What an agent said when it was asked whether it is there.
#[derive(Debug)]
pub(crate) struct Asked {
    name: String,
    answer: Result<AgentHealth, AgentFailure>,
}

impl Asked {
    pub(crate) fn into_parts(self) -> (String, Result<AgentHealth, AgentFailure>) {
        (self.name, self.answer)
    }
}

/// Asks all of them at once; asks nobody when no message can reach an agent.
pub(crate) async fn ask(settings: &Settings, agents: &Agents) -> Vec<Asked> {
    if !settings.calls_agents() {
        return Vec::new();
    }
    let asked = agents.iter().map(async |(name, agent)| {
        let late = || Err(AgentFailure::new(FailureClass::Timeout, format!("no word from it within {PATIENCE:?}")));
        let answer = tokio::time::timeout(PATIENCE, agent.agent.probe()).await.unwrap_or_else(|_| late());
        Asked { name: name.to_owned(), answer }
    });
    futures::future::join_all(asked).await
}

impl Asked {
    /// An agent that will never answer as it is configured. One that is only away is not: its messages wait.
    ///
    /// # Errors
    /// It does not exist, or refuses our key.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Err(failure) = &self.answer else { return Ok(()) };
        let (code, key) = match failure.class {
            FailureClass::Unauthorised => (Code::Unauthorised, "api_key"),
            FailureClass::NotFound => (Code::NotFound, "agent_id"),
            _ => return Ok(()),
        };
        let name = &self.name;
        Err(Failure::new(code, format!("agent '{name}': {failure}"))
            .hint(format!("correct agents.{name}.{key}, or start with --mode echo to try without an agent")))
    }

    /// As operators see it.
    pub(crate) fn health(self) -> SaidHealth {
        let name = self.name;
        match self.answer {
            Ok(AgentHealth { version, idempotent, detail }) => SaidHealth {
                name,
                is_there: true,
                version: Some(version),
                idempotent: Some(idempotent),
                class: None,
                detail,
            },
            Err(failure) => SaidHealth {
                name,
                is_there: false,
                version: None,
                idempotent: None,
                class: Some(failure.class.to_string()),
                detail: failure.reason,
            },
        }
    }

    pub(crate) fn log(&self) {
        match &self.answer {
            Ok(health) => {
                tracing::info!(agent = self.name, version = health.version, detail = health.detail, "agent is there");
            }
            Err(failure) => {
                tracing::warn!(agent = self.name, class = %failure.class, reason = failure.reason, "agent is not there; its messages wait");
            }
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Ok(health) => write!(f, "{} ({}; {})", self.name, health.version, health.detail),
            Err(failure) => write!(f, "{} is not there ({failure}); its messages wait", self.name),
        }
    }
}
