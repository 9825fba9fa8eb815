use broca_core::{MessageId, rights::Access};
use broca_store::{ConversationFilter, ListedConversation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Effect, Facts, Operation, OperationError, dead_letters::page_size, users::person};

/// Which conversations. Whatever is given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichConversations {
    /// The agent, by its name in the settings.
    pub agent: Option<String>,
    /// In which this person wrote: our id of the person, or PLATFORM/ID.
    pub who: Option<String>,
    /// Only those in which something waits.
    pub waiting: bool,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<MessageId>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedConversations {
    /// The latest first.
    pub items: Vec<ListedConversation>,
    /// Where the next page goes on; nothing when this is the last one. A page looks at 20000 messages at most, so one with
    /// few items, or none, may have another behind it.
    pub next_cursor: Option<MessageId>,
}

#[derive(Debug)]
pub struct ListAllConversations;

impl Operation for ListAllConversations {
    type Request = WhichConversations;
    type Answer = ListedConversations;
    const FACTS: Facts = Facts {
        name: "conversation.list",
        summary: "Conversations: with which agent, who shares each, what waits in it, and who works on it, the latest first.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "conversations list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichConversations) -> Result<ListedConversations, OperationError> {
        let WhichConversations { agent, who, waiting, limit, cursor } = request.clone();
        let limit = page_size(act, limit)?;
        let user = match who {
            Some(who) => Some(person(act.store(), &who).await?),
            None => None,
        };
        let found = act.store().conversations(&ConversationFilter { agent, user, waiting }, cursor, limit).await?;
        Ok(ListedConversations { items: found.items, next_cursor: found.next })
    }
}
