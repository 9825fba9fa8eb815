use broca_core::{UserId, rights::Access};
use broca_store::{Store, UserFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Acting, Code, Effect, Facts, Operation, OperationError, dead_letters::page_size};
use crate::{
    holds::{self, HoldError},
    users::{self, Conversations, Page, Shown},
};

/// Which people. Whatever is given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichPeople {
    /// Those who have an account there, e.g. telegram.
    pub platform: Option<String>,
    /// Has this in a name, in any case; or is the platform's id.
    pub name: Option<String>,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<UserId>,
}

#[derive(Debug)]
pub struct ListUsers;

impl Operation for ListUsers {
    type Request = WhichPeople;
    type Answer = Page;
    const FACTS: Facts = Facts {
        name: "users.list",
        summary: "People who wrote, with their accounts, the newest first.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "users list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPeople) -> Result<Page, OperationError> {
        let filter = UserFilter { platform: request.platform.clone(), name: request.name.clone() };
        Ok(users::list(act.store(), &filter, request.cursor, page_size(act, request.limit)?).await?)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichPerson {
    /// Our id of the person, or PLATFORM/ID.
    pub who: String,
}

pub(super) async fn person(store: &Store, who: &str) -> Result<UserId, OperationError> {
    match holds::person(store, who).await {
        Err(HoldError::Nobody(_)) => Err(nobody(who)),
        found => Ok(found?),
    }
}

pub(super) fn nobody(who: &str) -> OperationError {
    OperationError::new(Code::NotFound, format!("nobody is known as '{who}'"))
        .hint("`broca users list` has everybody who ever wrote and was not forgotten")
}

async fn shown(store: &Store, who: &str) -> Result<Shown, OperationError> {
    let id = person(store, who).await?;
    users::show(store, id).await?.ok_or_else(|| nobody(who))
}

#[derive(Debug)]
pub struct ShowUser;

impl Operation for ShowUser {
    type Request = WhichPerson;
    type Answer = Shown;
    const FACTS: Facts = Facts {
        name: "users.show",
        summary: "One person, with their accounts and how much they wrote.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "users get",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPerson) -> Result<Shown, OperationError> {
        shown(act.store(), &request.who).await
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renaming {
    /// Our id of the person, or PLATFORM/ID.
    pub who: String,
    /// What we call them; what a platform calls them is its own.
    pub display_name: String,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug)]
pub struct UpdateUser;

impl Operation for UpdateUser {
    type Request = Renaming;
    type Answer = Shown;
    const FACTS: Facts = Facts {
        name: "users.update",
        summary: "Changes what we call a person.",
        access: Access::Operate,
        effect: Effect::Changes { again: true },
        reaches_people: false,
        cli: "users update",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &Renaming) -> Result<Shown, OperationError> {
        let before = shown(act.store(), &request.who).await?.user;
        act.about(before.id);
        act.before(json!({"display_name": before.display_name}));
        if !act.store().rename_user(before.id, &request.display_name).await? {
            return Err(nobody(&request.who));
        }
        shown(act.store(), &before.id.to_string()).await
    }
}

#[derive(Debug)]
pub struct ListConversations;

impl Operation for ListConversations {
    type Request = WhichPerson;
    type Answer = Conversations;
    const FACTS: Facts = Facts {
        name: "users.conversations",
        summary: "The conversations that a person wrote in, the latest first.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "users conversations",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPerson) -> Result<Conversations, OperationError> {
        let id = person(act.store(), &request.who).await?;
        if act.store().user(id).await?.is_none() {
            return Err(nobody(&request.who));
        }
        Ok(users::conversations(act.store(), id).await?)
    }
}
