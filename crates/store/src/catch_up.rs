//! Everything that waits in a conversation becomes one turn, on somebody's word and whatever its route says.
//!
//! The word is one number of the conversation's row, the place of what is last accepted at that moment. A worker that reads
//! what is pending sees it with each message; it needs no end, because the queue's head passes it.

use broca_core::ConversationId;
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    set_aside::LOCK,
    tx::{Tx, ask, change, operation},
};

pub(crate) const WAITS: &str = "-- join waiting: how many
SELECT count(*) FROM conversations c
JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head AND m.state = 'received'
WHERE c.id = $1";

/// Whatever it is parked for is asked again: the gate parks it anew when it is still so. The sweep wakes it.
pub(crate) const JOIN: &str = "-- join waiting
UPDATE conversations
SET join_until = tail,
    not_before = CASE WHEN not_before > $2 THEN $2 ELSE not_before END,
    wake_at = CASE WHEN owner IS NULL AND wake_at > $2 THEN $2 ELSE wake_at END
WHERE id = $1 AND head < tail";

pub(crate) async fn join(tx: &mut Tx<'_>, conversation: &ConversationId) -> Result<u64, StoreError> {
    let id: Uuid = conversation.0;
    tx.lock(LOCK, id).await?;
    let now = tx.now().await?;
    let (waiting,) = ask!(tx, fetch_one, (i64,), WAITS, id)?;
    if waiting > 0 {
        change!(tx, JOIN, id, now)?;
    }
    Ok(waiting.unsigned_abs())
}

operation!(JoinWaiting: ConversationId => u64, "join waiting", join);

impl Store {
    /// What waits in these conversations becomes one turn for each, now and whatever the routes say: as far as it
    /// stands together, goes out through one instance to one chat, and fits into one turn. What does not becomes the next turn.
    /// A turn under way goes to its end. Says how many messages wait in each. May be called again after any error.
    ///
    /// A worker that has the conversation already may say up to a page ([`crate::PENDING_PAGE`]) of it one by one.
    pub async fn join_waiting(
        &self,
        conversations: &[ConversationId],
    ) -> Result<Vec<(ConversationId, u64)>, StoreError> {
        let mut joined = Vec::with_capacity(conversations.len());
        for conversation in conversations {
            joined.push((*conversation, self.once::<JoinWaiting>(*conversation).await?));
        }
        Ok(joined)
    }
}
