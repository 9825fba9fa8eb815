use broca_core::{Instance, MessageId, MessageState, rights::Access};
use broca_store::{MessageFilter, MessageLine};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Effect, Facts, Moment, Operation, OperationError, dead_letters::page_size};

/// Which messages. Whatever is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichMessages {
    /// The platform, e.g. telegram.
    pub platform: Option<String>,
    /// The plugin instance.
    pub instance: Option<Instance>,
    /// The agent, by its name in the settings.
    pub agent: Option<String>,
    /// The route, by its name in the settings.
    pub route: Option<String>,
    /// The person, by the platform's id.
    pub user: Option<String>,
    /// How they stand, e.g. received, completed, failed.
    pub state: Option<MessageState>,
    /// Accepted since then.
    pub since: Option<Moment>,
    /// Accepted before then.
    pub until: Option<Moment>,
    /// Has this in the message or an answer, in any case. Needs a token that may read contents.
    pub contains: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichFound {
    pub filter: WhichMessages,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<MessageId>,
}

/// The newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedMessages {
    pub items: Vec<MessageLine>,
    /// Where the next page goes on; nothing when this is the last one. A page looks at 20000 messages at most, so one with
    /// few items, or none, may have another behind it.
    pub next_cursor: Option<MessageId>,
}

#[derive(Debug)]
pub struct ListMessages;

impl Operation for ListMessages {
    type Request = WhichFound;
    type Answer = ListedMessages;
    const FACTS: Facts = Facts {
        name: "message.list",
        summary: "Looks for messages by where they came from, who wrote them, how they stand and what they say, the newest first.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "message list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichFound) -> Result<ListedMessages, OperationError> {
        if request.filter.contains.is_some() {
            act.caller.may_read_contents("a filter by text")?;
        }
        let (limit, now) = (page_size(act, request.limit)?, act.store().now().await?);
        let WhichMessages { platform, instance, agent, route, user, state, since, until, contains } =
            request.filter.clone();
        let (since, until) = (since.map(|moment| moment.at(now)), until.map(|moment| moment.at(now)));
        let filter = MessageFilter { instance, platform, agent, route, user, state, since, until, contains };
        let found = act.store().search_messages(&filter, request.cursor, limit).await?;
        Ok(ListedMessages { items: found.items, next_cursor: found.next })
    }
}
