use broca_core::rights::Access;
use broca_store::{Pairing, PairingState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Acting, Deps, Effect, Facts, Foreseen, Operation, OperationError};
use crate::access::{self, Approved};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichPairings {
    /// Also those that are over, newest first.
    pub all: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedPairings {
    pub items: Vec<Pairing>,
}

#[derive(Debug)]
pub struct ListPairings;

impl Operation for ListPairings {
    type Request = WhichPairings;
    type Answer = ListedPairings;
    const FACTS: Facts = Facts {
        name: "pairing.list",
        summary: "The codes that strangers were given and that wait for an answer.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "pairing list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPairings) -> Result<ListedPairings, OperationError> {
        Ok(ListedPairings { items: access::pairings(act.store(), request.all).await? })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichApproved {
    pub code: String,
    /// Also lets in the message that the code was asked for with.
    #[serde(default)]
    pub let_in: bool,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug)]
pub struct ApprovePairing;

impl Operation for ApprovePairing {
    type Request = WhichApproved;
    type Answer = Approved;
    const FACTS: Facts = Facts {
        name: "pairing.approve",
        summary: "Lets the person in whom a code was given to.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: true,
        cli: "pairing approve",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichApproved) -> Result<Approved, OperationError> {
        let WhichApproved { code, let_in, .. } = request;
        let before = access::approvable(act.store(), code, *let_in).await?;
        act.before(json!({"state": before.state}));
        act.about(before.message_id);
        Ok(access::approve(act.store(), &act.deps.today(), code, *let_in, act.actor()).await?)
    }

    async fn foresee(deps: &Deps, request: &WhichApproved) -> Result<Foreseen, OperationError> {
        let pairing = access::approvable(&deps.store, &request.code, request.let_in).await?;
        let message = if request.let_in { ", and their message to the agent" } else { "" };
        let would = format!("let {} in on {}{message}", person(&pairing), pairing.instance);
        Ok(Foreseen::one(would, pairing.message_id))
    }
}

fn person(pairing: &Pairing) -> String {
    format!("{}/{}", pairing.platform, pairing.platform_user_id)
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichCode {
    pub code: String,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug)]
pub struct RevokePairing;

impl Operation for RevokePairing {
    type Request = WhichCode;
    type Answer = Pairing;
    const FACTS: Facts = Facts {
        name: "pairing.revoke",
        summary: "Takes a code back, or what its approval let in.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "pairing revoke",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichCode) -> Result<Pairing, OperationError> {
        let before = access::revocable(act.store(), &request.code).await?;
        act.before(json!({"state": before.state}));
        act.about(before.message_id);
        Ok(access::revoke(act.store(), &request.code, act.actor()).await?)
    }

    async fn foresee(deps: &Deps, request: &WhichCode) -> Result<Foreseen, OperationError> {
        let pairing = access::revocable(&deps.store, &request.code).await?;
        let would = match pairing.state {
            PairingState::Approved => format!("keep {} out again on {}", person(&pairing), pairing.instance),
            _ => format!("take the code of {} on {} back", person(&pairing), pairing.instance),
        };
        Ok(Foreseen::one(would, pairing.message_id))
    }
}
