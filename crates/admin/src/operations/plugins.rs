use std::time::Duration;

use broca_core::{Instance, rights::Access, subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Code, Deps, Effect, Facts, Foreseen, ListedChanges, Operation, OperationError};
use crate::{
    control::{self, Action, Carried},
    live,
};

/// How long a supervisor has to carry an order out, unless more is given, and how long it may have.
const PATIENCE_S: u64 = 60;
const LONGEST_S: u64 = 3_600;

/// A name that the settings do not have is a slip of the pen.
pub(super) fn known(deps: &Deps, instance: &Instance) -> Result<(), OperationError> {
    let instances = &deps.configured.instances;
    if instances.contains(instance) {
        return Ok(());
    }
    let names: Vec<&str> = instances.iter().map(Instance::as_str).collect();
    Err(OperationError::new(Code::NotFound, format!("the settings have no plugin instance '{instance}'"))
        .hint(format!("configured are {}; add [plugins.{instance}] to broca.toml", names.join(", "))))
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichPluginChanges {
    /// As in `[plugins.<instance>]`.
    pub instance: Instance,
    /// The latest so many.
    #[serde(default = "latest")]
    pub limit: u32,
}

fn latest() -> u32 {
    50
}

#[derive(Debug)]
pub struct ListPluginChanges;

impl Operation for ListPluginChanges {
    type Request = WhichPluginChanges;
    type Answer = ListedChanges;
    const FACTS: Facts = Facts {
        name: "plugin.history",
        summary: "Who changed which settings of a plugin instance while it ran, newest first; secrets are left out.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "plugin history",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPluginChanges) -> Result<ListedChanges, OperationError> {
        known(act.deps, &request.instance)?;
        let (bus, key) = (act.deps.bus().await?, subject::settings_key(&request.instance));
        Ok(ListedChanges { items: live::history(act.store(), bus, &key, request.limit).await? })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichPlugin {
    /// As in `[plugins.<instance>]`.
    pub instance: Instance,
    /// How long to wait until it is done, in seconds.
    #[serde(default = "patience_s")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_s: u64,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

fn patience_s() -> u64 {
    PATIENCE_S
}

/// What a supervisor did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OrderedPlugin {
    pub instance: Instance,
    pub action: Action,
    pub result: Carried,
}

/// An answer is that it is done or, of what enables and disables, that it holds for later starts.
async fn order(act: &Acting<'_>, request: &WhichPlugin, action: Action) -> Result<OrderedPlugin, OperationError> {
    let WhichPlugin { instance, timeout_s, .. } = request;
    known(act.deps, instance)?;
    if !(1..=LONGEST_S).contains(timeout_s) {
        return Err(OperationError::new(Code::Usage, format!("timeout_s is 1 to {LONGEST_S}, and not {timeout_s}")));
    }
    act.about(instance);
    let bus = act.deps.bus().await?;
    if let Some(before) = control::standing(bus, instance).await? {
        act.before(serde_json::json!({"standing": before.standing, "pid": before.pid}));
    }
    let result = control::order(bus, instance, action, act.actor(), Duration::from_secs(*timeout_s)).await?;
    match &result {
        Carried::Refused { why, supervised } => {
            let (name, standing) = (action.as_str(), supervised.standing.as_str());
            return Err(OperationError::new(Code::Failure, format!("{name} {instance}: {why}"))
                .hint(format!("it is {standing} now; the log of `broca up` says more")));
        }
        Carried::NobodyAnswered if !matches!(action, Action::Enable | Action::Disable) => {
            return Err(OperationError::new(Code::Unavailable, format!("no `broca up` answered within {timeout_s} s"))
                .hint(
                    "is one running with this instance in its settings? it may still carry the order out; give it more \
                     --timeout",
                ));
        }
        Carried::Done { .. } | Carried::NobodyAnswered => {}
    }
    Ok(OrderedPlugin { instance: instance.clone(), action, result })
}

async fn foreseen(deps: &Deps, request: &WhichPlugin, action: Action) -> Result<Foreseen, OperationError> {
    let instance = &request.instance;
    known(deps, instance)?;
    let now = match control::standing(deps.bus().await?, instance).await? {
        Some(supervised) => format!("it was last said to be {}", supervised.standing.as_str()),
        None => "no supervisor ever spoke of it".to_owned(),
    };
    Ok(Foreseen::one(format!("{} the plugin instance {instance}; {now}", action.as_str()), instance))
}

macro_rules! orders {
    ($($operation:ident, $action:ident, $name:literal, $cli:literal, $effect:expr, $reaches:literal, $summary:literal;)*) => {$(
        #[derive(Debug)]
        pub struct $operation;

        impl Operation for $operation {
            type Request = WhichPlugin;
            type Answer = OrderedPlugin;
            const FACTS: Facts = Facts {
                name: $name,
                summary: $summary,
                access: Access::Admin,
                effect: $effect,
                reaches_people: $reaches,
                cli: $cli,
                absent: &[],
            };

            async fn run(act: &Acting<'_>, request: &WhichPlugin) -> Result<OrderedPlugin, OperationError> {
                order(act, request, Action::$action).await
            }

            async fn foresee(deps: &Deps, request: &WhichPlugin) -> Result<Foreseen, OperationError> {
                foreseen(deps, request, Action::$action).await
            }
        }
    )*};
}

orders! {
    EnablePlugin, Enable, "plugin.enable", "plugin enable", Effect::Changes { again: true }, true,
        "Has the running `broca up` load and start a plugin instance, now and with each start of its own.";
    DisablePlugin, Disable, "plugin.disable", "plugin disable", Effect::Destroys { again: true }, false,
        "Has the running `broca up` stop and unload a plugin instance, and leave it so with each start of its own.";
    LoadPlugin, Load, "plugin.load", "plugin load", Effect::Changes { again: true }, false,
        "Looks for the plugin of an instance again, and checks it.";
    UnloadPlugin, Unload, "plugin.unload", "plugin unload", Effect::Destroys { again: true }, false,
        "Stops a plugin instance and forgets its plugin, until it is loaded again or `broca up` starts again.";
    StartPlugin, Start, "plugin.start", "plugin start", Effect::Changes { again: true }, true,
        "Starts a plugin instance.";
    StopPlugin, Stop, "plugin.stop", "plugin stop", Effect::Destroys { again: true }, false,
        "Stops a plugin instance until it is started, or `broca up` starts again.";
    RestartPlugin, Restart, "plugin.restart", "plugin restart", Effect::Destroys { again: false }, false,
        "Stops a plugin instance, and starts it.";
}
