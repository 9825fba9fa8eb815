//! The steps of forgetting a person: batches of their messages, and the end.

use std::time::Duration;

use broca_core::{ConversationId, Instance, MessageId, UserId};
use serde_json::json;
use sqlx::types::{Json, Uuid};

use super::record::count;
use crate::{
    Removed, Store, StoreError,
    cancel::{CancelMessage, cancel},
    decode::{files, parsed},
    lite::{batch, hex},
    reading::fetch,
    retention::hanging::{self, Going, delete},
    tx::{Tx, ask, change, operation},
};

/// Rows that the last transaction takes with it.
const REST: usize = 200;

/// One message that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetItem {
    pub message: MessageId,
    pub instance: Instance,
    /// There may be a copy in the dead-letter stream.
    pub copied: bool,
    /// The names of its files in the instance's bucket.
    pub objects: Vec<String>,
}

/// How the last step ended.
#[derive(Clone, Debug, PartialEq)]
pub enum ForgetEnd {
    Done,
    /// Something is in a turn, in delivery, or on its way to the broker.
    Busy,
    /// More messages came meanwhile than the last step takes: remove them first.
    More,
}

pub(crate) const WAITING: &str = "-- forget: what waits
SELECT m.id FROM profiles p JOIN messages m ON m.profile_id = p.id
WHERE p.user_id = $1
  AND (m.state IN ('received', 'held')
       OR EXISTS (SELECT 1 FROM responses r WHERE r.message_id = m.id AND r.state IN ('pending', 'retry')))
LIMIT $2";

macro_rules! messages {
    ($label:literal, $and:literal) => {
        concat!(
            "-- forget: ",
            $label,
            "
SELECT m.id, m.instance, m.event_id, m.received_at, m.files, m.state = 'failed' AS letter,
       m.state IN ('completed', 'stored', 'suppressed', 'failed', 'cancelled')
           AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.message_id = m.id AND t.state = 'started')
           AND NOT EXISTS (SELECT 1 FROM responses r WHERE r.message_id = m.id AND r.open) AS settled,
       m.replays > 0 OR m.class IS NOT NULL AND m.class <> 'operator'
           OR EXISTS (SELECT 1 FROM responses r
                      WHERE r.message_id = m.id
                        AND (r.replays > 0 OR r.class IS NOT NULL AND r.class <> 'operator')) AS copied
FROM profiles p JOIN messages m ON m.profile_id = p.id
WHERE p.user_id = $1 ",
            $and
        )
    };
}

/// In no order, so that none of them is read but those that are given. What an operator ended has a class, but never
/// was a letter.
pub(crate) const NEXT: &str = messages!("next messages", "LIMIT $2");
pub(crate) const THESE: [&str; 2] = [
    messages!("messages", "AND m.id = ANY ($2)"),
    messages!("messages", "AND m.id IN (SELECT unhex(value) FROM json_each($2))"),
];

pub(crate) const LOCK: &str = "-- forget: lock messages
SELECT id FROM messages WHERE id = ANY ($1) ORDER BY id FOR UPDATE";

#[derive(sqlx::FromRow)]
struct NextRow {
    id: Uuid,
    instance: String,
    event_id: String,
    received_at: i64,
    files: Option<Json<serde_json::Value>>,
    letter: bool,
    settled: bool,
    copied: bool,
}

impl NextRow {
    fn going(self) -> Going {
        let Self { id, instance, event_id, received_at, letter, .. } = self;
        Going { id, instance, event_id, received_at, letter }
    }

    fn objects(&self) -> Vec<String> {
        let kept = self.files.clone().map(files).unwrap_or_default();
        kept.into_iter().filter_map(|file| file.object).collect()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Remove {
    user: UserId,
    messages: Vec<Uuid>,
    dedupe: Duration,
}

async fn remove(tx: &mut Tx<'_>, wish: &Remove) -> Result<Removed, StoreError> {
    let rows: Vec<NextRow> = match tx {
        Tx::Pg(conn) => {
            sqlx::query(LOCK).bind(&wish.messages).execute(&mut **conn).await?;
            sqlx::query_as(THESE[0]).bind(wish.user.0).bind(&wish.messages).fetch_all(&mut **conn).await?
        }
        Tx::Lite(conn) => {
            let messages = batch(&wish.messages, |id| json!(hex(*id)));
            sqlx::query_as(THESE[1]).bind(wish.user.0).bind(messages).fetch_all(&mut **conn).await?
        }
    };
    let going: Vec<Going> = rows.into_iter().filter(|row| row.settled).map(NextRow::going).collect();
    let now = tx.now().await?;
    let removed = hanging::remove(tx, &going, wish.dedupe, now).await?;
    count(tx, wish.user, removed, None).await?;
    Ok(removed)
}

pub(crate) const BARRIER: &str = "LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE";

const EVENTS: [&str; 2] = [
    "-- forget: steps of conversations\nDELETE FROM events WHERE conversation_id = ANY ($1)",
    "-- forget: steps of conversations
DELETE FROM events WHERE conversation_id IN (SELECT unhex(value) FROM json_each($1))",
];
const SLOTS: [&str; 2] = [
    "-- forget: slots\nDELETE FROM turn_slots WHERE conversation_id = ANY ($1)",
    "-- forget: slots\nDELETE FROM turn_slots WHERE conversation_id IN (SELECT unhex(value) FROM json_each($1))",
];
const QUEUES: [&str; 2] = [
    "-- forget: conversations\nDELETE FROM conversations WHERE id = ANY ($1)",
    "-- forget: conversations\nDELETE FROM conversations WHERE id IN (SELECT unhex(value) FROM json_each($1))",
];
const TARGETS: &str = "-- forget: targets
DELETE FROM dead_targets WHERE profile_id IN (SELECT id FROM profiles WHERE user_id = $1)";
const HOLD: &str = "-- forget: holds\nDELETE FROM holds WHERE kind = $1 AND subject = $2";
/// What operators said of somebody stays with them; what came of their own request for a code goes.
const PAIRED: &str = "-- forget: rules of pairings
DELETE FROM access_rules WHERE source = 'pairing'
  AND who IN (SELECT platform || '/' || platform_user_id FROM profiles WHERE user_id = $1)";
const PAIRINGS: &str = "-- forget: pairings
DELETE FROM pairings WHERE EXISTS (SELECT 1 FROM profiles p WHERE p.user_id = $1
  AND p.platform = pairings.platform AND p.platform_user_id = pairings.platform_user_id)";
/// An instance is of one platform; somebody else's account of the same id on another platform only counts anew.
const COUNTERS: &str = "-- forget: counters
DELETE FROM access_counters WHERE platform_user_id IN (SELECT platform_user_id FROM profiles WHERE user_id = $1)";
const LINK_CODES: &str = "-- forget: link codes
DELETE FROM link_codes WHERE profile_id IN (SELECT id FROM profiles WHERE user_id = $1)";
const LINK_TRIES: &str = "-- forget: wrong link codes
DELETE FROM link_tries WHERE profile_id IN (SELECT id FROM profiles WHERE user_id = $1)";
const PAST: &str = "-- forget: links\nDELETE FROM past_users WHERE user_id = $1";
/// What they did as an admin in a chat stays, without their name.
const ACTS: &str = "-- forget: acts in chats
UPDATE audit_log SET actor = 'chat' WHERE via = 'chat'
  AND actor IN (SELECT platform || '/' || platform_user_id FROM profiles WHERE user_id = $1)";
const HOLDS_OF: &str = "-- forget: holds by them
UPDATE holds SET actor = 'chat'
WHERE actor IN (SELECT platform || '/' || platform_user_id FROM profiles WHERE user_id = $1)";
const RELEASES_OF: &str = "-- forget: releases by them
UPDATE holds SET released_by = 'chat'
WHERE released_by IN (SELECT platform || '/' || platform_user_id FROM profiles WHERE user_id = $1)";
const RULES_OF: &str = "-- forget: rules by them
UPDATE access_rules SET actor = 'chat'
WHERE actor IN (SELECT platform || '/' || platform_user_id FROM profiles WHERE user_id = $1)";
const APPROVALS_OF: &str = "-- forget: approvals by them
UPDATE pairings SET approved_by = 'chat'
WHERE approved_by IN (SELECT platform || '/' || platform_user_id FROM profiles WHERE user_id = $1)";
/// Their agents' servers still have them; a worker has them deleted there.
const BLOCKS: &str = "-- forget: blocks\nUPDATE user_blocks SET user_id = NULL, retired = TRUE WHERE user_id = $1";
const PROFILES: &str = "-- forget: profiles\nDELETE FROM profiles WHERE user_id = $1";
const USER: &str = "-- forget: user\nDELETE FROM users WHERE id = $1";
const OWED: &str = "-- forget: copies on their way
SELECT count(*) FROM outbox o JOIN messages m ON m.id = o.message_id JOIN profiles p ON p.id = m.profile_id
WHERE p.user_id = $1 AND o.kind = 'dead_letter'";

#[derive(Clone, Debug)]
pub(crate) struct End {
    user: UserId,
    own: Vec<Uuid>,
    dedupe: Duration,
    reason: String,
}

async fn end(tx: &mut Tx<'_>, wish: &End) -> Result<ForgetEnd, StoreError> {
    if let Tx::Pg(conn) = tx {
        sqlx::query(BARRIER).execute(&mut **conn).await?;
    }
    let (user, limit) = (wish.user.0, i64::try_from(REST).unwrap_or(i64::MAX));
    for (message,) in ask!(tx, fetch_all, (Uuid,), WAITING, user, limit)? {
        cancel(tx, &CancelMessage { message: MessageId(message), reason: wish.reason.clone() }).await?;
    }
    let rest = ask!(tx, fetch_all, NextRow, NEXT, user, limit + 1)?;
    let has_files = |row: &NextRow| row.settled && !row.objects().is_empty();
    if rest.len() > REST || rest.iter().any(|row| row.copied || has_files(row)) {
        return Ok(ForgetEnd::More);
    }
    let (owed,) = ask!(tx, fetch_one, (i64,), OWED, user)?;
    if owed > 0 || rest.iter().any(|row| !row.settled) {
        return Ok(ForgetEnd::Busy);
    }
    let now = tx.now().await?;
    let going: Vec<Going> = rest.into_iter().map(NextRow::going).collect();
    let mut removed = hanging::remove(tx, &going, wish.dedupe, now).await?;
    removed.events += delete(tx, EVENTS, &wish.own).await?;
    removed.holds = change!(tx, HOLD, "user", user.simple().to_string())?;
    for conversation in &wish.own {
        removed.holds += change!(tx, HOLD, "conversation", conversation.simple().to_string())?;
    }
    delete(tx, SLOTS, &wish.own).await?;
    delete(tx, QUEUES, &wish.own).await?;
    for statement in [
        TARGETS,
        PAIRED,
        PAIRINGS,
        COUNTERS,
        LINK_CODES,
        LINK_TRIES,
        PAST,
        ACTS,
        HOLDS_OF,
        RELEASES_OF,
        RULES_OF,
        APPROVALS_OF,
        BLOCKS,
    ] {
        change!(tx, statement, user)?;
    }
    change!(tx, PROFILES, user)?;
    change!(tx, USER, user)?;
    count(tx, wish.user, removed, Some(now)).await?;
    Ok(ForgetEnd::Done)
}

operation!(RemoveTheirs: Remove => Removed, "forget: messages", remove);
operation!(EndForgetting: End => ForgetEnd, "forget: end", end);

impl Store {
    /// The first messages of a person that wait for their turn, or whose answers wait for their delivery.
    pub async fn forget_waiting(&self, user: UserId, limit: u32) -> Result<Vec<MessageId>, StoreError> {
        let rows = fetch!(self, fetch_all, (Uuid,), WAITING, user.0, i64::from(limit))?;
        Ok(rows.into_iter().map(|(id,)| MessageId(id)).collect())
    }

    /// The first messages of a person.
    pub async fn forget_next(&self, user: UserId, limit: u32) -> Result<Vec<ForgetItem>, StoreError> {
        let rows = fetch!(self, fetch_all, NextRow, NEXT, user.0, i64::from(limit))?;
        let item = |row: NextRow| {
            let objects = row.objects();
            Ok(ForgetItem { message: MessageId(row.id), instance: parsed(&row.instance)?, copied: row.copied, objects })
        };
        rows.into_iter().map(item).collect()
    }

    /// Removes those of these messages that are over, with all that hangs on them. Drop their copies first: afterwards
    /// nobody knows where they lie.
    pub async fn forget_remove(
        &self,
        user: UserId,
        messages: &[MessageId],
        dedupe: Duration,
    ) -> Result<Removed, StoreError> {
        let messages = messages.iter().map(|message| message.0).collect();
        self.once::<RemoveTheirs>(Remove { user, messages, dedupe }).await
    }

    /// The end: what came meanwhile is cancelled and removed, and the person with their profiles and `own` conversations.
    pub async fn forget_end(
        &self,
        user: UserId,
        own: &[ConversationId],
        dedupe: Duration,
        reason: &str,
    ) -> Result<ForgetEnd, StoreError> {
        let (own, reason) = (own.iter().map(|id| id.0).collect(), reason.to_owned());
        self.once::<EndForgetting>(End { user, own, dedupe, reason }).await
    }
}
