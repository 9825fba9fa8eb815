use broca_core::{ConversationId, rights::Access};
use broca_store::{BusyConversation, Conversation, TalkLine};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Code, Effect, Facts, Operation, OperationError, dead_letters::page_size};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichTalk {
    pub id: ConversationId,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    #[serde(default)]
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    #[serde(default)]
    pub cursor: Option<i64>,
}

/// A conversation, and what was said in it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownTalk {
    pub conversation: Conversation,
    /// By their places in the queue, the last first; messages that were not let in have none, and come at the end.
    pub items: Vec<TalkLine>,
    /// Where the next page goes on; nothing when this is the last one.
    pub next_cursor: Option<i64>,
}

#[derive(Debug)]
pub struct ShowConversation;

impl Operation for ShowConversation {
    type Request = WhichTalk;
    type Answer = ShownTalk;
    const FACTS: Facts = Facts {
        name: "conversation.show",
        summary: "One conversation: who holds it, and its messages with their answers and how each of them stands.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "conversations show",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichTalk) -> Result<ShownTalk, OperationError> {
        let limit = page_size(act, request.limit)?;
        let talk = act.store().talk(request.id, request.cursor, limit).await?.ok_or_else(|| {
            OperationError::new(Code::NotFound, format!("there is no conversation {}", request.id))
                .hint("`broca message show ID` names the one of a message")
        })?;
        Ok(ShownTalk { conversation: talk.conversation, items: talk.items, next_cursor: talk.next })
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichBusy {
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
}

/// Those first that are looked at first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BusyNow {
    pub items: Vec<BusyConversation>,
}

#[derive(Debug)]
pub struct ListBusy;

impl Operation for ListBusy {
    type Request = WhichBusy;
    type Answer = BusyNow;
    const FACTS: Facts = Facts {
        name: "conversation.busy",
        summary: "Conversations with work: how much waits in each, since when and for what, and which worker holds it.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "conversations busy",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichBusy) -> Result<BusyNow, OperationError> {
        let limit = page_size(act, request.limit)?;
        Ok(BusyNow { items: act.store().busy_conversations(limit).await? })
    }
}
