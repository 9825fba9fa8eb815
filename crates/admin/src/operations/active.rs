use broca_core::{UserId, rights::Access};
use broca_store::Activation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Acting, Deps, Effect, Facts, Foreseen, Operation, OperationError,
    users::{nobody, person},
};
use crate::access;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhoseActivity {
    /// Our id of the person, or PLATFORM/ID.
    pub who: String,
    /// Why; everybody who looks sees it.
    #[serde(default)]
    pub reason: Option<String>,
}

impl WhoseActivity {
    async fn set(&self, act: &Acting<'_>, active: bool) -> Result<Activation, OperationError> {
        let done = access::set_active(act.store(), &self.who, active, self.reason.as_deref(), act.actor()).await?;
        act.about(done.user_id);
        Ok(done)
    }

    async fn user(&self, deps: &Deps) -> Result<UserId, OperationError> {
        let id = person(&deps.store, &self.who).await?;
        deps.store.user(id).await?.map(|user| user.id).ok_or_else(|| nobody(&self.who))
    }
}

#[derive(Debug)]
pub struct ActivateUser;

impl Operation for ActivateUser {
    type Request = WhoseActivity;
    type Answer = Activation;
    const FACTS: Facts = Facts {
        name: "users.activate",
        summary: "Lets a deactivated person's messages in again.",
        access: Access::Operate,
        effect: Effect::Changes { again: true },
        reaches_people: false,
        cli: "users activate",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhoseActivity) -> Result<Activation, OperationError> {
        request.set(act, true).await
    }
}

#[derive(Debug)]
pub struct DeactivateUser;

impl Operation for DeactivateUser {
    type Request = WhoseActivity;
    type Answer = Activation;
    const FACTS: Facts = Facts {
        name: "users.deactivate",
        summary: "Keeps a person's messages out, on all platforms and whatever the rules say.",
        access: Access::Operate,
        effect: Effect::Destroys { again: true },
        reaches_people: false,
        cli: "users deactivate",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhoseActivity) -> Result<Activation, OperationError> {
        request.set(act, false).await
    }

    async fn foresee(deps: &Deps, request: &WhoseActivity) -> Result<Foreseen, OperationError> {
        let id = request.user(deps).await?;
        Ok(Foreseen::one("keep the messages of a person out, on all platforms and whatever the rules say", id))
    }
}
