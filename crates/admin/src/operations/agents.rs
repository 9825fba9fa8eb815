use std::collections::BTreeMap;

use broca_core::rights::Access;
use broca_store::{Endpoint, ParkedCount};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Code, Effect, Facts, Operation, OperationError};
use crate::agents::{AgentFacts, AgentHealth};

/// An agent that the settings have, or that a route leads to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedAgent {
    pub name: String,
    /// Nothing when the settings do not have it: its messages wait.
    pub settings: Option<AgentFacts>,
    /// The routes that lead to it.
    pub routes: Vec<String>,
    /// Its endpoint, while that is in trouble.
    pub trouble: Option<Endpoint>,
    /// Its conversations that wait for something.
    pub parked: Vec<ParkedCount>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichAgents {}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedAgents {
    pub items: Vec<ListedAgent>,
}

async fn agents(act: &Acting<'_>) -> Result<Vec<ListedAgent>, OperationError> {
    let configured = &act.deps.configured;
    let routes = &configured.routes;
    let pace = act.store().pace().await?;
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in configured.agents.keys() {
        names.entry(name).or_default();
    }
    for route in routes.names() {
        names.entry(routes.agent_of(route)).or_default().push(route.to_owned());
    }
    let listed = |(name, routes): (&str, Vec<String>)| {
        let settings = configured.agents.get(name).cloned();
        let endpoint = settings.as_ref().and_then(|facts| facts.endpoint.as_deref());
        ListedAgent {
            name: name.to_owned(),
            routes,
            trouble: pace.endpoints.iter().find(|one| Some(one.endpoint.as_str()) == endpoint).cloned(),
            parked: pace.parked.iter().filter(|parked| parked.agent == name).cloned().collect(),
            settings,
        }
    };
    Ok(names.into_iter().map(listed).collect())
}

#[derive(Debug)]
pub struct ListAgents;

impl Operation for ListAgents {
    type Request = WhichAgents;
    type Answer = ListedAgents;
    const FACTS: Facts = Facts {
        name: "agent.list",
        summary: "The agents, the routes that lead to each, and what of it waits. Asks no agent.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "agents list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichAgents) -> Result<ListedAgents, OperationError> {
        Ok(ListedAgents { items: agents(act).await? })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichAgent {
    /// By its name in the settings.
    pub name: String,
}

/// One agent, and what it says itself.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownAgent {
    #[serde(flatten)]
    pub agent: ListedAgent,
    /// Nothing when it is not configured, or when no route is in live mode.
    pub health: Option<AgentHealth>,
}

#[derive(Debug)]
pub struct ShowAgent;

impl Operation for ShowAgent {
    type Request = WhichAgent;
    type Answer = ShownAgent;
    const FACTS: Facts = Facts {
        name: "agent.show",
        summary: "One agent: what the settings say of it, what waits for it, and whether it is there.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "agents info",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichAgent) -> Result<ShownAgent, OperationError> {
        let agents = agents(act).await?;
        let names: Vec<String> = agents.iter().map(|agent| agent.name.clone()).collect();
        let agent = agents.into_iter().find(|agent| agent.name == request.name).ok_or_else(|| {
            OperationError::new(Code::NotFound, format!("the settings have no agent '{}'", request.name))
                .hint(format!("they have: {}", names.join(", ")))
        })?;
        let health = act.deps.ask_agents().await?.into_iter().find(|health| health.name == request.name);
        Ok(ShownAgent { agent, health })
    }
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AskedAgents {
    /// Empty when no route is in live mode: none is asked then.
    pub items: Vec<AgentHealth>,
}

#[derive(Debug)]
pub struct AskAgents;

impl Operation for AskAgents {
    type Request = WhichAgents;
    type Answer = AskedAgents;
    const FACTS: Facts = Facts {
        name: "agent.status",
        summary: "Asks every configured agent whether it is there, and which version answers.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "agents status",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichAgents) -> Result<AskedAgents, OperationError> {
        Ok(AskedAgents { items: act.deps.ask_agents().await? })
    }
}
