//! What is kept of a person.

use broca_core::{ConversationId, UserId};
use serde::{Deserialize, Serialize};
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    tx::{Tx, ask, snapshot},
};

/// What is kept of a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, sqlx::FromRow)]
pub struct PersonData {
    pub profiles: i64,
    pub messages: i64,
    /// Of the messages, those that wait for their turn.
    pub waiting: i64,
    /// Those that are in a turn.
    pub in_turn: i64,
    pub turns: i64,
    pub answers: i64,
    /// Of the answers, those that wait for their delivery.
    pub answers_waiting: i64,
    pub in_delivery: i64,
    pub deliveries: i64,
    pub events: i64,
    pub replays: i64,
    pub plan_items: i64,
    pub dead_targets: i64,
    pub holds: i64,
    /// Dead letters whose copies are on their way to the broker.
    pub copies_owed: i64,
    #[sqlx(skip)]
    pub conversations: Vec<PersonConversation>,
    /// Conversations that an agent keeps of them.
    #[sqlx(skip)]
    pub agent_conversations: Vec<AgentSide>,
}

/// A conversation that the person wrote in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PersonConversation {
    pub id: ConversationId,
    pub agent: String,
    /// Nobody else is in it: it goes with the person.
    pub own: bool,
}

/// What an agent keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AgentSide {
    /// The agent's configured name.
    pub agent: String,
    /// Its own id of the conversation.
    pub conversation: String,
    /// Others are in it, too: it stays.
    pub shared: bool,
}

pub(crate) const COUNTS: &str = "-- forget: what is there
WITH who AS (SELECT id FROM profiles WHERE user_id = $1),
theirs AS (SELECT m.id, m.state FROM who p JOIN messages m ON m.profile_id = p.id),
answers AS (SELECT r.id, r.state FROM theirs t JOIN responses r ON r.message_id = t.id)
SELECT (SELECT count(*) FROM who) AS profiles, (SELECT count(*) FROM theirs) AS messages,
       (SELECT count(*) FROM theirs WHERE state IN ('received', 'held')) AS waiting,
       (SELECT count(*) FROM theirs WHERE state = 'processing') AS in_turn,
       (SELECT count(*) FROM theirs x JOIN turns t ON t.message_id = x.id) AS turns,
       (SELECT count(*) FROM answers) AS answers,
       (SELECT count(*) FROM answers WHERE state IN ('pending', 'retry')) AS answers_waiting,
       (SELECT count(*) FROM answers WHERE state = 'delivering') AS in_delivery,
       (SELECT count(*) FROM answers a JOIN deliveries d ON d.response_id = a.id) AS deliveries,
       (SELECT count(*) FROM theirs x JOIN events e ON e.message_id = x.id) AS events,
       (SELECT count(*) FROM theirs x JOIN replays r ON r.message_id = x.id) AS replays,
       (SELECT count(*) FROM theirs x JOIN replay_items i ON i.message_id = x.id) AS plan_items,
       (SELECT count(*) FROM dead_targets d JOIN who p ON p.id = d.profile_id) AS dead_targets,
       (SELECT count(*) FROM holds WHERE kind = 'user' AND subject = $2) AS holds,
       (SELECT count(*) FROM outbox o JOIN theirs t ON t.id = o.message_id WHERE o.kind = 'dead_letter') AS copies_owed";

/// By their scope, also those of which no message is left. A chat is the person's own when nobody else ever wrote there,
/// as far as anybody knows, and it is no group; a person's is, unless an account that was unlinked since wrote there.
pub(crate) const CONVERSATIONS: &str = "-- forget: conversations
SELECT c.id, c.agent, c.agent_conversation, TRUE AS own
FROM conversations c
WHERE c.scope_key IN (SELECT 'profile:' || p.platform || '/' || p.platform_user_id FROM profiles p WHERE p.user_id = $1)
UNION ALL
SELECT c.id, c.agent, c.agent_conversation,
       NOT EXISTS (SELECT 1 FROM messages o
                   WHERE o.conversation_id = c.id
                     AND o.profile_id NOT IN (SELECT id FROM profiles WHERE user_id = $1)) AS own
FROM conversations c
WHERE c.scope_key = $2 OR c.scope_key IN (SELECT scope_key FROM past_users WHERE user_id = $1)
UNION ALL
SELECT c.id, c.agent, c.agent_conversation,
       (c.scope_key LIKE 'chat:%' OR c.scope_key LIKE 'user:%')
           AND NOT EXISTS (SELECT 1 FROM messages o
                           WHERE o.conversation_id = c.id
                             AND (o.is_group OR o.profile_id NOT IN (SELECT id FROM profiles WHERE user_id = $1))) AS own
FROM conversations c
WHERE c.id IN (SELECT m.conversation_id FROM profiles p JOIN messages m ON m.profile_id = p.id WHERE p.user_id = $1)
  AND c.scope_key NOT LIKE 'profile:%' AND c.scope_key <> $2
  AND c.scope_key NOT IN (SELECT scope_key FROM past_users WHERE user_id = $1)";

/// A conversation that was lost at the agent and begun anew is named by its turns alone.
pub(crate) const AGENT_SIDE: &str = "-- forget: conversations at the agent
SELECT DISTINCT t.conversation_id, t.agent_conversation
FROM profiles p JOIN messages m ON m.profile_id = p.id JOIN turns t ON t.message_id = m.id
WHERE p.user_id = $1 AND t.agent_conversation IS NOT NULL";

async fn look(tx: &mut Tx<'_>, user: UserId) -> Result<PersonData, StoreError> {
    let hex = user.0.simple().to_string();
    let counts = ask!(tx, fetch_one, PersonData, COUNTS, user.0, hex)?;
    type Row = (Uuid, String, Option<String>, bool);
    let rows = ask!(tx, fetch_all, Row, CONVERSATIONS, user.0, format!("user:{user}"))?;
    let said = ask!(tx, fetch_all, (Uuid, String), AGENT_SIDE, user.0)?;
    let named = rows.iter().filter_map(|(id, _, name, _)| Some((*id, name.clone()?))).chain(said);
    let mut agent_conversations: Vec<AgentSide> = named
        .filter_map(|(id, conversation)| {
            let (_, agent, _, own) = rows.iter().find(|(known, ..)| *known == id)?;
            Some(AgentSide { agent: agent.clone(), conversation, shared: !own })
        })
        .collect();
    agent_conversations.sort();
    agent_conversations.dedup();
    let conversation = |(id, agent, _, own): Row| PersonConversation { id: ConversationId(id), agent, own };
    let conversations = rows.into_iter().map(conversation).collect();
    Ok(PersonData { conversations, agent_conversations, ..counts })
}

impl Store {
    /// What is kept of a person. Reads all their rows: for people.
    pub async fn forget_look(&self, user: UserId) -> Result<PersonData, StoreError> {
        snapshot!(self, look, user)
    }
}
