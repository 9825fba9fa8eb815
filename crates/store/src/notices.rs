//! What a person is told instead of an answer, written where a message ends otherwise than by an ordinary turn.

use broca_core::ConversationId;
use sqlx::types::Uuid;

use crate::{
    NewResponse, StoreError, lite,
    tx::{Tx, change},
};

/// The message that a notice is about.
pub(crate) struct About<'a> {
    pub(crate) message: Uuid,
    pub(crate) conversation: ConversationId,
    pub(crate) instance: &'a str,
    pub(crate) chat: Option<&'a str>,
    pub(crate) profile: Uuid,
}

impl About<'_> {
    /// Where the notice keeps its order with answers.
    pub(crate) fn lane(&self) -> String {
        lite::lane(self.instance, self.chat, self.profile)
    }
}

pub(crate) const TELL: &str = "-- notice
INSERT INTO responses (id, kind, message_id, conversation_id, profile_id, instance, lane, text, state, created_at)
VALUES ($1, 'notice', $2, $3, $4, $5, $6, $7, 'pending', $8)
ON CONFLICT (id) DO NOTHING";

pub(crate) const OWE: &str = "-- notice: outbox
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, created_at)
VALUES ($1, 'response', $2, $3, $4, $1, $5)";

/// Writes a notice and owes it to the broker, unless the one of this id is there already.
pub(crate) async fn tell(tx: &mut Tx<'_>, notice: &NewResponse, about: &About<'_>, now: i64) -> Result<(), StoreError> {
    let (id, text, lane) = (notice.id.0, notice.text.as_str(), about.lane());
    let About { message, conversation, instance, profile, .. } = about;
    let (message, conversation, profile) = (*message, conversation.0, *profile);
    if change!(tx, TELL, id, message, conversation, profile, *instance, lane.as_str(), text, now)? == 1 {
        change!(tx, OWE, id, *instance, message, conversation, now)?;
    }
    Ok(())
}
