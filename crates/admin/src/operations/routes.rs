use broca_core::{
    Instance,
    rights::Access,
    route::{DEFAULT_AGENT, DEFAULT_ROUTE, Facts as Told, Mode, Route, Scope},
};
use broca_store::MessageRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Code, Effect, Facts, Operation, OperationError, WhichMessage, error::unknown_message};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichRoutes {}

/// One route, as it is asked: the first whose conditions all hold has the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListedRoute {
    pub name: String,
    /// What must hold, e.g. platform is telegram; nothing is everything.
    pub conditions: Vec<String>,
    pub agent: String,
    /// Who shares a conversation; nothing is chat in groups and profile elsewhere.
    pub scope: Option<String>,
    /// Its own; nothing is the general one.
    pub mode: Option<Mode>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedRoutes {
    /// In the order in which they are asked; the last has what no other claims.
    pub items: Vec<ListedRoute>,
    /// By the settings, for routes without one of their own.
    pub mode: Mode,
}

fn listed(route: &Route) -> ListedRoute {
    ListedRoute {
        name: route.name.clone(),
        conditions: route.conditions(),
        agent: route.agent.clone().unwrap_or_else(|| DEFAULT_AGENT.to_owned()),
        scope: route.scope.map(|scope| scope.as_str().to_owned()),
        mode: route.mode,
    }
}

#[derive(Debug)]
pub struct ListRoutes;

impl Operation for ListRoutes {
    type Request = WhichRoutes;
    type Answer = ListedRoutes;
    const FACTS: Facts = Facts {
        name: "route.list",
        summary: "The routes in the order in which they are asked: what must hold, and which agent answers then.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "routes list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichRoutes) -> Result<ListedRoutes, OperationError> {
        let routes = &act.deps.configured.routes;
        let last = Route { name: DEFAULT_ROUTE.to_owned(), ..Route::default() };
        Ok(ListedRoutes { items: routes.routes.iter().chain([&last]).map(listed).collect(), mode: routes.mode })
    }
}

/// A message that was accepted, or the facts of one that might be: `message`, or `instance` with `user`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichRouted {
    pub message: Option<WhichMessage>,
    pub instance: Option<Instance>,
    /// The instance's name unless given.
    pub platform: Option<String>,
    /// The person, by the platform's id.
    pub user: Option<String>,
    /// The chat, by the platform's id.
    pub chat: Option<String>,
    /// It is written in a group.
    pub group: bool,
}

/// A route that was asked before, and did not claim the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PassedOver {
    pub route: String,
    /// The first condition that does not hold.
    pub because: String,
}

/// Which route claims a message, and what that comes to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RouteExplained {
    pub route: String,
    pub agent: String,
    pub scope: String,
    /// By the settings; what is set at run time goes before it.
    pub mode: Mode,
    /// What became of a message that was accepted, where that differs: the settings have changed since.
    pub accepted_by: Option<String>,
    pub passed_over: Vec<PassedOver>,
}

#[derive(Debug)]
pub struct ExplainRoute;

impl Operation for ExplainRoute {
    type Request = WhichRouted;
    type Answer = RouteExplained;
    const FACTS: Facts = Facts {
        name: "route.explain",
        summary: "Which route has a message by the settings of today, which agent answers, and why no route before it does.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "routes explain",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichRouted) -> Result<RouteExplained, OperationError> {
        match (&request.message, &request.instance, &request.user) {
            (Some(which), None, None) => {
                let id = which.find(act.store()).await?;
                let message = act.store().message(id).await?.ok_or_else(|| unknown_message(&id))?;
                let explained = explain(act, &of_message(&message));
                let accepted_by = (explained.route != message.route).then(|| message.route.clone());
                Ok(RouteExplained { accepted_by, ..explained })
            }
            (None, Some(instance), Some(user)) => {
                let told = Told {
                    instance,
                    platform: request.platform.as_deref().unwrap_or(instance.as_str()),
                    platform_user_id: user,
                    chat_id: request.chat.as_deref(),
                    is_group: request.group,
                };
                Ok(explain(act, &told))
            }
            _ => Err(OperationError::new(Code::Usage, "which message?")
                .hint("give the id of one, or the instance and the person that one would come from")),
        }
    }
}

fn of_message(message: &MessageRecord) -> Told<'_> {
    Told {
        instance: &message.instance,
        platform: &message.platform,
        platform_user_id: &message.platform_user_id,
        chat_id: message.chat_id.as_deref(),
        is_group: message.is_group,
    }
}

fn explain(act: &Acting<'_>, told: &Told<'_>) -> RouteExplained {
    let routes = &act.deps.configured.routes;
    let resolved = routes.resolve(told);
    let missed = routes.routes.iter().map_while(|route| Some((route, route.missed(told)?)));
    let passed_over = missed.map(|(route, because)| PassedOver { route: route.name.clone(), because }).collect();
    let scope: Scope = resolved.scope;
    RouteExplained {
        route: resolved.route,
        agent: resolved.agent,
        scope: scope.as_str().to_owned(),
        mode: resolved.mode,
        accepted_by: None,
        passed_over,
    }
}
