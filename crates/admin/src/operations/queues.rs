use broca_core::{Instance, rights::Access};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Effect, Facts, Operation, OperationError};
use crate::{
    control::{self, Supervised},
    status::{self, Broker, ConsumerLag},
};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichQueues {}

/// How far the broker's consumers are behind.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QueuesNow {
    pub broker: Broker,
    /// The workers' first, then those of the enabled plugin instances.
    pub consumers: Vec<ConsumerLag>,
}

#[derive(Debug)]
pub struct ShowQueues;

impl Operation for ShowQueues {
    type Request = WhichQueues;
    type Answer = QueuesNow;
    const FACTS: Facts = Facts {
        name: "queue.show",
        summary: "How far the broker's consumers are behind: what was never delivered, what somebody works on, what came twice.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "queues",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichQueues) -> Result<QueuesNow, OperationError> {
        let (broker, consumers) = status::lags(act.deps.bus().await?, &act.deps.configured.enabled).await?;
        Ok(QueuesNow { broker, consumers })
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichInstances {}

/// A plugin instance.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InstanceNow {
    pub instance: Instance,
    /// The settings have it enabled.
    pub enabled: bool,
    /// In its supervisor's words; nothing when none ever spoke of it.
    pub supervised: Option<Supervised>,
    /// Why that is not known.
    pub problem: Option<String>,
    /// The platform's accounts that its processes have now.
    pub accounts: Vec<AccountNow>,
}

/// An account that a process has to itself.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AccountNow {
    pub platform: String,
    pub account: String,
    /// The process.
    pub owner: String,
    pub lease_until: broca_core::Timestamp,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InstancesNow {
    /// By their names.
    pub items: Vec<InstanceNow>,
}

#[derive(Debug)]
pub struct ListInstances;

impl Operation for ListInstances {
    type Request = WhichInstances;
    type Answer = InstancesNow;
    const FACTS: Facts = Facts {
        name: "plugin.status",
        summary: "How each plugin instance of the settings stands, in its supervisor's words, and the accounts that it has.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "plugin status",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichInstances) -> Result<InstancesNow, OperationError> {
        let (bus, configured) = (act.deps.bus().await?, &act.deps.configured);
        let owners = act.store().accounts().await?;
        let mut items = Vec::with_capacity(configured.instances.len());
        for instance in &configured.instances {
            let (supervised, problem) = match control::standing(bus, instance).await {
                Ok(supervised) => (supervised, None),
                Err(error) => (None, Some(error.to_string())),
            };
            let own = owners.iter().filter(|owner| owner.instance == *instance).cloned();
            let accounts = own.map(|owner| AccountNow {
                platform: owner.platform,
                account: owner.account,
                owner: owner.owner,
                lease_until: owner.lease_until,
            });
            let enabled = configured.enabled.contains(instance);
            let accounts = accounts.collect();
            items.push(InstanceNow { instance: instance.clone(), enabled, supervised, problem, accounts });
        }
        Ok(InstancesNow { items })
    }
}
