use broca_core::{ConversationId, Instance, MessageId, MessageState, rights::Access};
use broca_store::{ConversationFilter, ListedConversation, ListedMessage, MessageFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Acting, Code, Effect, Facts, Moment, Operation, OperationError,
    dead_letters::{cursor, page_size},
    users::person,
};

/// Which messages. Whatever is given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichMessages {
    pub state: Option<MessageState>,
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
    pub conversation: Option<ConversationId>,
    /// The class of failure or refusal.
    pub class: Option<String>,
    /// Accepted since then.
    pub since: Option<Moment>,
    /// Accepted before then.
    pub until: Option<Moment>,
    /// Has this in the message or the answer, in any case. Needs a token that may read contents.
    pub contains: Option<String>,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<MessageId>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedMessages {
    /// The newest first.
    pub items: Vec<ListedMessage>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<MessageId>,
}

#[derive(Debug)]
pub struct ListMessages;

impl Operation for ListMessages {
    type Request = WhichMessages;
    type Answer = ListedMessages;
    const FACTS: Facts = Facts {
        name: "message.list",
        summary: "Messages with their answers, the newest first: by state, person, place, time, or what is in them.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "message list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichMessages) -> Result<ListedMessages, OperationError> {
        if request.contains.is_some() {
            act.caller.may_read_contents("a filter by text")?;
        }
        let limit = page_size(act, request.limit)?;
        let filter = filter(act, request).await?;
        page(act, &filter, request.cursor, limit).await
    }
}

async fn filter(act: &Acting<'_>, request: &WhichMessages) -> Result<MessageFilter, OperationError> {
    let now = act.store().now().await?;
    let WhichMessages { state, platform, instance, agent, route, user, .. } = request.clone();
    let WhichMessages { conversation, class, since, until, contains, .. } = request.clone();
    let at = |moment: Option<Moment>| moment.map(|moment| moment.at(now));
    let (since, until) = (at(since), at(until));
    Ok(MessageFilter { state, instance, platform, agent, route, user, conversation, class, since, until, contains })
}

async fn page(
    act: &Acting<'_>,
    filter: &MessageFilter,
    before: Option<MessageId>,
    limit: u32,
) -> Result<ListedMessages, OperationError> {
    let mut items = act.store().messages(filter, before, limit.saturating_add(1)).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next_cursor = items.last().filter(|_| more).map(|last| last.id);
    Ok(ListedMessages { items, next_cursor })
}

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
        let filter = ConversationFilter { id: None, agent, user, waiting };
        let mut items = act.store().conversations(&filter, after, limit.saturating_add(1)).await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.cursor().to_string());
        Ok(ListedConversations { items, next_cursor })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichConversation {
    pub id: ConversationId,
    /// So many of its latest messages: 20 unless given.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A conversation with its latest messages.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownConversation {
    pub conversation: ListedConversation,
    /// The oldest of them first.
    pub messages: Vec<ListedMessage>,
}

#[derive(Debug)]
pub struct ShowConversation;

impl Operation for ShowConversation {
    type Request = WhichConversation;
    type Answer = ShownConversation;
    const FACTS: Facts = Facts {
        name: "conversation.show",
        summary: "One conversation, and what was said in it last: messages and answers, the oldest first.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "conversations show",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichConversation) -> Result<ShownConversation, OperationError> {
        let limit = page_size(act, request.limit)?;
        let one = ConversationFilter { id: Some(request.id), ..ConversationFilter::default() };
        let conversation = act.store().conversations(&one, None, 1).await?.pop().ok_or_else(|| {
            OperationError::new(Code::NotFound, format!("there is no conversation {}", request.id))
                .hint("`broca conversations list` has them, and `broca message show` names a message's")
        })?;
        let of = MessageFilter { conversation: Some(request.id), ..MessageFilter::default() };
        let ListedMessages { items: mut messages, .. } = page(act, &of, None, limit).await?;
        messages.reverse();
        Ok(ShownConversation { conversation, messages })
    }
}
