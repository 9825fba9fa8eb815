use std::collections::BTreeSet;

use broca_core::{ConversationId, HoldId, Instance, rights::Access};
use broca_store::{Hold, HoldSubject, NewHold as Wanted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Acting, Code, Deps, Effect, Facts, Operation, OperationError, Span, dead_letters::page_size};
use crate::holds::{self, Released};

/// What is kept back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum HoldOn {
    /// A conversation, by its id.
    Conversation(ConversationId),
    /// A person, on all platforms: the platform's id, e.g. 7 or telegram/7, or the id of the user.
    User(String),
    /// A plugin instance: its messages, and the answers that go out through it.
    Instance(Instance),
    /// An agent, by its name in the settings: all its conversations.
    Agent(String),
    /// A route, by its name in the settings: the messages that it claimed.
    Route(String),
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    pub on: HoldOn,
    /// Why; everybody who looks sees it.
    pub reason: String,
    /// It ends by itself after this long; when it is released unless given.
    #[serde(default, rename = "for")]
    pub life: Option<Span>,
}

impl HoldOn {
    pub async fn subject(&self, deps: &Deps) -> Result<HoldSubject, OperationError> {
        let configured = &deps.configured;
        Ok(match self {
            Self::Conversation(id) => holds::conversation(&deps.store, *id).await?,
            Self::User(name) => HoldSubject::User(holds::person(&deps.store, name).await?),
            Self::Instance(instance) => {
                known("instance", instance.as_str(), configured.instances.iter().map(ToString::to_string))?;
                HoldSubject::Instance(instance.clone())
            }
            Self::Agent(name) => {
                let named = configured.routes.agents().map(str::to_owned);
                known("agent", name, named.chain(configured.agents.keys().cloned()))?;
                HoldSubject::Agent(name.clone())
            }
            Self::Route(name) => {
                known("route", name, configured.routes.names().map(str::to_owned))?;
                HoldSubject::Route(name.clone())
            }
        })
    }
}

/// A name that the settings do not have is a slip of the pen, and would keep nothing back.
pub(super) fn known(what: &str, name: &str, names: impl Iterator<Item = String>) -> Result<(), OperationError> {
    let names: BTreeSet<String> = names.collect();
    if names.contains(name) {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().collect();
    Err(OperationError::new(Code::NotFound, format!("the settings have no {what} '{name}'"))
        .hint(format!("they have: {}", names.join(", "))))
}

#[derive(Debug)]
pub struct AddHold;

impl Operation for AddHold {
    type Request = NewHold;
    type Answer = Hold;
    const FACTS: Facts = Facts {
        name: "hold.add",
        summary: "Keeps a conversation, a person, a plugin instance, an agent or a route back; messages are still accepted, and wait.",
        access: Access::Operate,
        effect: Effect::Changes { again: false },
        reaches_people: false,
        cli: "hold add",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &NewHold) -> Result<Hold, OperationError> {
        let subject = request.on.subject(act.deps).await?;
        let life = request.life.map(|span| span.0);
        let wanted = Wanted { subject, reason: request.reason.clone(), actor: act.actor().to_owned(), life };
        let hold = holds::put(act.store(), wanted).await?;
        act.about(hold.id);
        Ok(hold)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichHolds {
    /// Also those that are over, newest first.
    pub all: bool,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<HoldId>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedHolds {
    pub items: Vec<Hold>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<HoldId>,
}

#[derive(Debug)]
pub struct ListHolds;

impl Operation for ListHolds {
    type Request = WhichHolds;
    type Answer = ListedHolds;
    const FACTS: Facts = Facts {
        name: "hold.list",
        summary: "What is on hold, since when, until when and why.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "hold list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichHolds) -> Result<ListedHolds, OperationError> {
        let limit = page_size(act, request.limit)?;
        let (items, next_cursor) = holds::list(act.store(), request.all, request.cursor, limit).await?;
        Ok(ListedHolds { items, next_cursor })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichReleased {
    #[schemars(length(min = 1))]
    pub ids: Vec<HoldId>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReleasedHolds {
    pub items: Vec<Released>,
}

#[derive(Debug)]
pub struct ReleaseHolds;

impl Operation for ReleaseHolds {
    type Request = WhichReleased;
    type Answer = ReleasedHolds;
    const FACTS: Facts = Facts {
        name: "hold.release",
        summary: "Ends holds; what they kept back goes on, in its order.",
        access: Access::Operate,
        effect: Effect::Changes { again: true },
        reaches_people: true,
        cli: "hold release",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichReleased) -> Result<ReleasedHolds, OperationError> {
        if request.ids.is_empty() {
            return Err(OperationError::new(Code::Usage, "which holds?").hint("`broca hold list` has them"));
        }
        let (mut items, mut before) = (Vec::with_capacity(request.ids.len()), Vec::new());
        for id in &request.ids {
            act.about(id);
            if let Some(hold) = act.store().hold(*id).await? {
                before.push(json!({"id": id, "state": hold.state, "messages": hold.messages}));
                act.before(json!({"items": before}));
            }
            items.push(holds::release(act.store(), *id, act.actor()).await?);
        }
        Ok(ReleasedHolds { items })
    }
}
