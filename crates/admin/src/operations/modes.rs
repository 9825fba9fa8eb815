use std::time::Duration;

use broca_core::{
    Instance,
    live::ModeSubject,
    rights::Access,
    route::{DEFAULT_AGENT, Mode},
    subject::KEY_MODES,
};
use broca_store::{Applied, LiveChange};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Acting, Code, Deps, Effect, Facts, Operation, OperationError, Span, plugins::known};
use crate::{
    live::{self, InForce},
    modes::{self, ModesNow},
};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichModes {}

/// The modes, and who goes by them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ModesShown {
    /// By the settings.
    pub configured: Mode,
    /// At run time, instead of that.
    pub set: ModesNow,
    pub workers: Vec<Applied>,
}

#[derive(Debug)]
pub struct ShowModes;

impl Operation for ShowModes {
    type Request = WhichModes;
    type Answer = ModesShown;
    const FACTS: Facts = Facts {
        name: "mode.show",
        summary: "What is done with messages: the modes that hold instead of the configured one, and the workers that go by them.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "mode show",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichModes) -> Result<ModesShown, OperationError> {
        let set = modes::now(act.store(), act.deps.bus().await?).await?;
        let workers = modes::workers(act.store()).await?;
        Ok(ModesShown { configured: act.deps.configured.mode, set, workers })
    }
}

/// What a mode is set for: neither plugin nor route is everything.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMode {
    pub mode: Mode,
    /// The messages of a plugin instance.
    #[serde(default)]
    pub plugin: Option<Instance>,
    /// The messages that a route claims, by its name in the settings.
    #[serde(default)]
    pub route: Option<String>,
    /// It ends by itself after this long; when it is cleared unless given.
    #[serde(default, rename = "for")]
    pub life: Option<Span>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a mode is cleared for: neither plugin nor route is what was set for everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichMode {
    pub plugin: Option<Instance>,
    pub route: Option<String>,
    /// Why, for the record.
    pub reason: Option<String>,
}

/// Which revision a change became, and who goes by it.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct ModeChanged {
    /// Nothing when it was so already.
    pub revision: Option<u64>,
    /// Processes that go by it, or by a newer one.
    pub processes: Vec<Applied>,
    /// Those that do not, and perhaps why.
    pub others: Vec<Applied>,
}

/// A name that the settings do not have is a slip of the pen.
fn subject(deps: &Deps, plugin: Option<&Instance>, route: Option<&str>) -> Result<ModeSubject, OperationError> {
    let configured = &deps.configured;
    match (plugin, route) {
        (Some(_), Some(_)) => {
            Err(OperationError::new(Code::Usage, "plugin and route do not go together").hint("give one of the two"))
        }
        (Some(instance), None) => {
            known(deps, instance)?;
            Ok(ModeSubject::Plugin(instance.clone()))
        }
        (None, Some(name)) if configured.routes.names().any(|route| route == name) => {
            Ok(ModeSubject::Route(name.to_owned()))
        }
        (None, Some(name)) => {
            let names: Vec<&str> = configured.routes.names().collect();
            Err(OperationError::new(Code::NotFound, format!("the settings have no route '{name}'"))
                .hint(format!("they have: {}", names.join(", "))))
        }
        (None, None) => Ok(ModeSubject::Everything),
    }
}

/// Whoever goes live needs somebody who answers: the messages would only wait.
fn has_agent(deps: &Deps, of: &ModeSubject) -> Result<(), OperationError> {
    let agent = match of {
        ModeSubject::Route(name) => deps.configured.routes.agent_of(name),
        ModeSubject::Everything | ModeSubject::Plugin(_) => DEFAULT_AGENT,
    };
    if deps.configured.agents.contains_key(agent) {
        return Ok(());
    }
    Err(OperationError::new(Code::Usage, format!("there is no agent '{agent}': messages would only wait"))
        .hint(format!("set agents.{agent}.endpoint and agents.{agent}.agent_id and start again")))
}

async fn set(
    act: &Acting<'_>,
    of: &ModeSubject,
    mode: Option<(Mode, Option<Duration>)>,
) -> Result<ModeChanged, OperationError> {
    act.about(of);
    let (store, bus) = (act.store(), act.deps.bus().await?);
    act.before(json!({"modes": modes::now(store, bus).await?.modes}));
    let Some(revision) = modes::set((store, bus), act.actor(), of, mode).await? else {
        return Ok(ModeChanged::default());
    };
    let InForce { revision, processes, others } = live::in_force(store, KEY_MODES, revision).await?;
    Ok(ModeChanged { revision: Some(revision), processes, others })
}

#[derive(Debug)]
pub struct SetMode;

impl Operation for SetMode {
    type Request = NewMode;
    type Answer = ModeChanged;
    const FACTS: Facts = Facts {
        name: "mode.set",
        summary: "Says what is done with messages from now on: echo, listen or live, for everything, a plugin instance or a route.",
        access: Access::Operate,
        effect: Effect::Changes { again: true },
        reaches_people: true,
        cli: "mode set",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &NewMode) -> Result<ModeChanged, OperationError> {
        let of = subject(act.deps, request.plugin.as_ref(), request.route.as_deref())?;
        if request.mode == Mode::Live {
            has_agent(act.deps, &of)?;
        }
        set(act, &of, Some((request.mode, request.life.map(|span| span.0)))).await
    }
}

#[derive(Debug)]
pub struct ClearMode;

impl Operation for ClearMode {
    type Request = WhichMode;
    type Answer = ModeChanged;
    const FACTS: Facts = Facts {
        name: "mode.clear",
        summary: "Lets the configured mode hold again.",
        access: Access::Operate,
        effect: Effect::Changes { again: true },
        reaches_people: true,
        cli: "mode clear",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichMode) -> Result<ModeChanged, OperationError> {
        set(act, &subject(act.deps, request.plugin.as_ref(), request.route.as_deref())?, None).await
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichModeChanges {
    /// The latest so many.
    pub limit: u32,
}

impl Default for WhichModeChanges {
    fn default() -> Self {
        Self { limit: 50 }
    }
}

/// Changes at run time, newest first. Secrets are not in them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedChanges {
    pub items: Vec<LiveChange>,
}

#[derive(Debug)]
pub struct ListModeChanges;

impl Operation for ListModeChanges {
    type Request = WhichModeChanges;
    type Answer = ListedChanges;
    const FACTS: Facts = Facts {
        name: "mode.history",
        summary: "Who set or cleared which mode when, newest first.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "mode history",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichModeChanges) -> Result<ListedChanges, OperationError> {
        let bus = act.deps.bus().await?;
        Ok(ListedChanges { items: live::history(act.store(), bus, KEY_MODES, request.limit).await? })
    }
}
