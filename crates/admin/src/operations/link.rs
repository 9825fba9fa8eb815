use broca_core::{ProfileId, UserId, rights::Access};
use broca_store::{CannotLink, Linked, Store, Unlinked};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Acting, Code, Deps, Effect, Facts, Foreseen, Operation, OperationError,
    users::{nobody, person},
};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhoAreOne {
    /// Our id of the person, or PLATFORM/ID. Their own instructions and preferences win.
    pub who: String,
    /// The other one, whose accounts become theirs, and who is nobody afterwards.
    pub user: String,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

async fn both(store: &Store, request: &WhoAreOne) -> Result<(UserId, UserId), OperationError> {
    let (into, absorbed) = (person(store, &request.who).await?, person(store, &request.user).await?);
    if into == absorbed {
        return Err(cannot(CannotLink::Same));
    }
    Ok((into, absorbed))
}

fn cannot(why: CannotLink) -> OperationError {
    let (code, hint) = match why {
        CannotLink::Nobody => (Code::NotFound, "`broca users list` has everybody who ever wrote and was not forgotten"),
        CannotLink::Same | CannotLink::OnlyAccount => (Code::Conflict, "`broca users get WHO` has a person's accounts"),
        CannotLink::OnHold => (Code::Conflict, "`broca hold list` has the hold, `broca hold release` ends it"),
        CannotLink::Inactive => (Code::Conflict, "`broca users activate WHO` lets the person in again"),
        CannotLink::Forgetting => (Code::Conflict, "`broca users forget WHO` goes on with it"),
    };
    OperationError::new(code, why.to_string()).hint(hint)
}

#[derive(Debug)]
pub struct LinkUsers;

impl Operation for LinkUsers {
    type Request = WhoAreOne;
    type Answer = Linked;
    const FACTS: Facts = Facts {
        name: "users.link",
        summary: "Makes two people one: all accounts of the second become the first one's.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "users link",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhoAreOne) -> Result<Linked, OperationError> {
        let (into, absorbed) = both(act.store(), request).await?;
        act.about(into);
        act.about(absorbed);
        act.before(json!({"user_ids": [into, absorbed]}));
        act.store().link_users(into, absorbed).await?.map_err(cannot)
    }

    async fn foresee(deps: &Deps, request: &WhoAreOne) -> Result<Foreseen, OperationError> {
        let (into, absorbed) = both(&deps.store, request).await?;
        let accounts = deps.store.user(absorbed).await?.map_or(0, |user| user.profiles.len());
        let would = format!("make {accounts} accounts of {absorbed} those of {into}, and drop {absorbed}");
        Ok(Foreseen { would, count: accounts as u64, examples: vec![into.to_string(), absorbed.to_string()] })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichAccount {
    /// PLATFORM/ID, or our id of the profile.
    pub who: String,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

async fn account(store: &Store, who: &str) -> Result<ProfileId, OperationError> {
    if let Ok(id) = who.parse() {
        return Ok(id);
    }
    let Some((platform, id)) = who.split_once('/') else {
        return Err(OperationError::new(Code::Usage, format!("'{who}' names no account"))
            .hint("an account is PLATFORM/ID, e.g. telegram/7"));
    };
    store.profile_of(platform, id).await?.ok_or_else(|| nobody(who))
}

#[derive(Debug)]
pub struct UnlinkUser;

impl Operation for UnlinkUser {
    type Request = WhichAccount;
    type Answer = Unlinked;
    const FACTS: Facts = Facts {
        name: "users.unlink",
        summary: "Makes an account a person of its own again, who is new; what it wrote goes along.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "users unlink",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichAccount) -> Result<Unlinked, OperationError> {
        let profile = account(act.store(), &request.who).await?;
        let parted = act.store().unlink_profile(profile).await?.map_err(cannot)?;
        act.before(json!({"user_id": parted.former}));
        act.about(parted.former);
        act.about(parted.user_id);
        Ok(parted)
    }

    async fn foresee(deps: &Deps, request: &WhichAccount) -> Result<Foreseen, OperationError> {
        let profile = account(&deps.store, &request.who).await?;
        Ok(Foreseen::one("make this account a person of its own", profile))
    }
}
