//! Walking all messages in the order of their ids, a page at a time, for whoever reads them one by one.

use std::time::Duration;

use broca_core::{ConversationId, MessageId, Timestamp, UserId, clock::micros};
use sqlx::types::Uuid;

use crate::{Store, StoreError, reading::fetch};

/// Ids are made by the clocks of other machines, which may be so far from the database's.
pub(crate) const OTHER_CLOCKS: Duration = Duration::from_secs(3_600);

/// The ids of a time, which every id that was made in it is among.
pub(crate) fn ids_of(since: Option<Timestamp>, until: Option<Timestamp>) -> (Uuid, Uuid) {
    let slack = micros(OTHER_CLOCKS);
    let floor = |at: Timestamp, by: i64| MessageId::floor_of(Timestamp(at.micros().saturating_add(by))).0;
    (since.map_or(Uuid::nil(), |at| floor(at, -slack)), until.map_or(Uuid::max(), |at| floor(at, slack)))
}

/// Which messages. Whatever is set must hold.
#[derive(Clone, Debug, Default)]
pub struct ExportFilter {
    /// Accepted at or after this.
    pub since: Option<Timestamp>,
    /// Accepted before this.
    pub until: Option<Timestamp>,
    pub user: Option<UserId>,
    pub platform: Option<String>,
    pub conversation: Option<ConversationId>,
}

/// A page of the walk.
#[derive(Clone, Debug, Default)]
pub struct ExportStep {
    pub messages: Vec<MessageId>,
    /// Where the walk goes on; `None` when it is over.
    pub next: Option<MessageId>,
}

/// A page is so many rows, whatever the filter leaves of them: no statement reads more.
pub(crate) const PAGE: &str = "-- export: page
SELECT m.id,
       (m.received_at >= $4 OR $4 IS NULL) AND (m.received_at < $5 OR $5 IS NULL)
           AND (m.platform = $6 OR $6 IS NULL) AND (m.conversation_id = $7 OR $7 IS NULL)
           AND (p.user_id = $8 OR $8 IS NULL) AS wanted
FROM (SELECT id, received_at, platform, conversation_id, profile_id FROM messages
      WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3) m
JOIN profiles p ON p.id = m.profile_id
ORDER BY m.id";

impl Store {
    /// The next page behind `after`. What is accepted while the walk goes on is in it or not, by its id; nothing that
    /// was there at its start is left out, and nothing is given twice.
    pub async fn export_page(
        &self,
        filter: &ExportFilter,
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<ExportStep, StoreError> {
        let (first, below) = ids_of(filter.since, filter.until);
        let after = after.map_or(first, |id| id.0.max(first));
        let (since, until) = (filter.since.map(|at| at.micros()), filter.until.map(|at| at.micros()));
        let (platform, user) = (filter.platform.as_deref(), filter.user.map(|user| user.0));
        let (conversation, limit) = (filter.conversation.map(|id| id.0), i64::from(limit));
        let rows = fetch!(
            self,
            fetch_all,
            (Uuid, bool),
            PAGE,
            after,
            below,
            limit,
            since,
            until,
            platform,
            conversation,
            user
        )?;
        let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
        let next = rows.last().filter(|_| more).map(|(id, _)| MessageId(*id));
        let messages = rows.into_iter().filter(|(_, wanted)| *wanted).map(|(id, _)| MessageId(id)).collect();
        Ok(ExportStep { messages, next })
    }
}
