//! While a hold is on: what it keeps back is taken out of the queue of a conversation that somebody claimed.
//!
//! Whoever reads a page of pending messages and finds one that is kept back comes here, under the lease. A conversation
//! that is on hold as a whole is given up as it is. Of any other, *every* message that waits and is kept back leaves the
//! queue at once, and keeps its place as its rank. What is accepted later has a greater place, and is set aside
//! behind it when its turn comes; `settle.rs` has the other half of the argument that nothing overtakes.

use broca_core::{ConversationId, EventKind};
use serde_json::json;
use sqlx::types::Uuid;

use crate::{
    StoreError,
    accept::WAKE_AFTER_MICROS,
    holding::{conversation_hold, is_subject, keeps_in},
    journal::{Event, note_each},
    operation::column,
    queue::{self, Left},
    tx::{Tx, ask, change},
};

pub(crate) const LOCK: &str = "-- set aside: lock
SELECT id FROM conversations WHERE id = $1 FOR UPDATE";

macro_rules! conversation {
    ($db:ident) => {
        concat!(
            "-- set aside: conversation
SELECT c.head, ",
            conversation_hold!($db, "c.id", "c.agent", "$3"),
            " IS NOT NULL AS on_hold,
       EXISTS (SELECT 1 FROM messages m
               WHERE m.conversation_id = c.id AND m.seq > c.head AND m.state = 'processing') AS begun
FROM conversations c
WHERE c.id = $1 AND c.epoch = $2 AND c.owner IS NOT NULL"
        )
    };
}
pub(crate) const CONVERSATION_PG: &str = conversation!(pg);
pub(crate) const CONVERSATION_LITE: &str = conversation!(lite);

pub(crate) const GIVE_UP: &str = "-- set aside: give the conversation up
UPDATE conversations SET owner = NULL, lease_until = 0, wake_at = $2 WHERE id = $1";

macro_rules! keepers {
    ($db:ident, $lock:literal) => {
        concat!(
            "-- set aside: holds
SELECT h.id, h.actor, h.reason
FROM holds h
WHERE h.kind IN ('user', 'instance', 'route') AND ",
            keeps_in!("$1", "$3"),
            "
  AND (SELECT EXISTS (SELECT 1 FROM messages m JOIN profiles p ON p.id = m.profile_id
                      WHERE m.conversation_id = $1 AND m.seq > $2 AND m.state = 'received' AND ",
            is_subject!($db, "p.user_id", "m"),
            "))
ORDER BY h.created_at, h.id",
            $lock
        )
    };
}
/// The lock keeps them from being settled before what they take is written.
pub(crate) const KEEPERS_PG: &str = keepers!(pg, " FOR SHARE OF h");
pub(crate) const KEEPERS_LITE: &str = keepers!(lite, "");

macro_rules! set_aside {
    ($db:ident) => {
        concat!(
            "-- set aside
UPDATE messages SET state = 'held', held_by = $1
WHERE conversation_id = $2 AND seq > $3 AND state = 'received'
  AND (SELECT EXISTS (SELECT 1 FROM holds h WHERE h.id = $1 AND ",
            is_subject!($db, "(SELECT p.user_id FROM profiles p WHERE p.id = messages.profile_id)", "messages"),
            "))
RETURNING id, seq"
        )
    };
}
pub(crate) const SET_ASIDE_PG: &str = set_aside!(pg);
pub(crate) const SET_ASIDE_LITE: &str = set_aside!(lite);

/// Sets aside what is kept back in a conversation held under `epoch`. `Nothing`: the lease is given up, because
/// nothing that may be begun is left.
pub(crate) async fn set_aside(tx: &mut Tx<'_>, conversation: ConversationId, epoch: i64) -> Result<Left, StoreError> {
    let id = conversation.0;
    tx.lock(LOCK, id).await?;
    let (now, look) = (tx.now().await?, tx.either(CONVERSATION_PG, CONVERSATION_LITE));
    let Some((head, on_hold, begun)) = ask!(tx, fetch_optional, (i64, bool, bool), look, id, epoch, now)? else {
        return Ok(Left::Nothing);
    };
    if on_hold {
        return if begun { Ok(Left::Work) } else { give_up(tx, id, now).await };
    }
    type Keeper = (Uuid, String, String);
    let keepers: Vec<Keeper> = ask!(tx, fetch_all, Keeper, tx.either(KEEPERS_PG, KEEPERS_LITE), id, head, now)?;
    let mut first = i64::MAX;
    // The oldest hold takes what several keep back.
    for (hold, actor, reason) in keepers {
        let set_aside = tx.either(SET_ASIDE_PG, SET_ASIDE_LITE);
        let mut messages: Vec<(Uuid, i64)> = ask!(tx, fetch_all, (Uuid, i64), set_aside, hold, id, head)?;
        messages.sort_by_key(|(_, seq)| *seq);
        first = messages.first().map_or(first, |(_, seq)| first.min(*seq));
        let event = Event::new(EventKind::Held, now).actor(&actor).detail(json!({"hold": hold, "reason": reason}));
        note_each(tx, &event, &column(&messages, |(message, _)| *message)).await?;
    }
    queue::leave(tx, id, first, now).await
}

/// The sweep finds it, and leaves it alone until the hold ends.
async fn give_up(tx: &mut Tx<'_>, conversation: Uuid, now: i64) -> Result<Left, StoreError> {
    change!(tx, GIVE_UP, conversation, now.saturating_add(WAKE_AFTER_MICROS))?;
    Ok(Left::Nothing)
}
