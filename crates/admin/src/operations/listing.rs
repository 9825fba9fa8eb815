use broca_core::rights::Access;
use broca_store::{ConversationFilter, ListedConversation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Acting, Effect, Facts, Operation, OperationError,
    dead_letters::{cursor, page_size},
    users::person,
};

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
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedConversations {
    /// The latest first.
    pub items: Vec<ListedConversation>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<String>,
}

#[derive(Debug)]
pub struct ListAllConversations;

impl Operation for ListAllConversations {
    type Request = WhichConversations;
    type Answer = ListedConversations;
    const FACTS: Facts = Facts {
        name: "conversation.list",
        summary: "Conversations: with which agent, who shares each, what waits in it, and who works on it. Looks at all of them.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "conversations list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichConversations) -> Result<ListedConversations, OperationError> {
        let WhichConversations { agent, who, waiting, limit, cursor: after } = request.clone();
        let (limit, after) = (page_size(act, limit)?, cursor(after.as_deref())?);
        let user = match who {
            Some(who) => Some(person(act.store(), &who).await?),
            None => None,
        };
        let filter = ConversationFilter { agent, user, waiting };
        let mut items = act.store().conversations(&filter, after, limit.saturating_add(1)).await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.cursor().to_string());
        Ok(ListedConversations { items, next_cursor })
    }
}
