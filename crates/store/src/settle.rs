//! When a hold has ended: what it took out of the queues goes back, and the hold is over.
//!
//! Messages go back to the tail of their conversation, in the order of the places they had, one conversation in one
//! transaction under the lock of its row. Nothing overtakes them that the same holds kept back:
//!
//! - What waits in the queue and was accepted behind them under the same hold gets a new place behind them, in the
//!   same statement (`RETURNING`).
//! - Until that statement is committed nobody begins such a message: a hold that has ended keeps messages of a
//!   conversation back as long as it has some of that conversation out of the queue (`keeps_in!` in `holding.rs`), and
//!   the statement that says so sees both in one snapshot.
//! - What another hold keeps back, too, goes over to that one and keeps its place as its rank (`HAND_ON`). Going back and
//!   being set aside again would put it behind what that hold took out meanwhile.
//! - A hold is over only once it has nothing out of any queue, and whoever takes something out locks the hold against
//!   that (`KEEPERS` in `set_aside.rs`, `HEIRS` below).
//!
//! So of two messages of one conversation with the same user, instance and route, the one that was accepted first has
//! the smaller place for as long as neither is begun, and is never held while the other is given out.

use std::collections::BTreeSet;

use broca_core::{EventKind, HoldId};
use serde_json::json;
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    holding::{active, is_subject},
    journal::{Event, note_each},
    lite::{batch, hex},
    operation::column,
    tx::{Tx, ask, change, operation},
};

/// Conversations that are woken in one step.
const PAGE: i64 = 500;

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// There may be more: call it again.
    Step {
        messages: u64,
    },
    /// What is left is in somebody else's hands just now.
    Busy,
    /// The hold is over.
    Over,
    /// It has not ended.
    Active,
    Unknown,
}

pub(crate) const LOOK: &str = "-- settle: hold
SELECT kind, subject, settled_at IS NOT NULL, released_at IS NOT NULL OR COALESCE(expires_at, 9223372036854775807) <= $2
FROM holds WHERE id = $1";

async fn step(tx: &mut Tx<'_>, id: &HoldId) -> Result<Settled, StoreError> {
    let now = tx.now().await?;
    let (kind, subject, over, ended) = match ask!(tx, fetch_optional, (String, String, bool, bool), LOOK, id.0, now)? {
        Some(found) => found,
        None => return Ok(Settled::Unknown),
    };
    if over {
        return Ok(Settled::Over);
    }
    if !ended {
        return Ok(Settled::Active);
    }
    if kind == "conversation" {
        let conversation: Uuid = subject.parse().map_err(StoreError::unreadable)?;
        change!(tx, WAKE_ONE, conversation, now)?;
        return close(tx, id.0, now).await;
    }
    if kind == "agent" {
        let woken = change!(tx, tx.either(WAKE_PG, WAKE_LITE), id.0, now, PAGE)?;
        return if woken > 0 { Ok(Settled::Step { messages: 0 }) } else { close(tx, id.0, now).await };
    }
    let next = ask!(tx, fetch_optional, (Uuid, i64, i64), tx.either(NEXT_PG, NEXT_LITE), id.0)?;
    match next {
        Some((conversation, head, tail)) => {
            hand_on(tx, conversation, now).await?;
            Ok(Settled::Step { messages: bring_back(tx, (conversation, head, tail), now).await? })
        }
        None => close(tx, id.0, now).await,
    }
}

operation!(Settle: HoldId => Settled, "settle a hold", step);

pub(crate) const WAKE_ONE: &str = "-- settle: wake conversation
UPDATE conversations SET wake_at = $2
WHERE id = $1 AND head < tail AND wake_at > $2 AND not_before <= $2 AND owner IS NULL";

macro_rules! wake {
    ($lock:literal) => {
        concat!(
            "-- settle: wake conversations
UPDATE conversations SET wake_at = $2
WHERE id IN (
    SELECT c.id FROM holds h CROSS JOIN conversations c
    WHERE h.id = $1 AND c.head < c.tail AND c.wake_at > $2 AND c.not_before <= $2 AND c.owner IS NULL
      AND h.kind = 'agent' AND h.subject = c.agent
    ORDER BY c.id LIMIT $3",
            $lock,
            ")"
        )
    };
}
pub(crate) const WAKE_PG: &str = wake!(" FOR UPDATE OF c");
pub(crate) const WAKE_LITE: &str = wake!("");

/// A conversation that somebody else is at just now is left to the next step.
pub(crate) const NEXT_PG: &str = "-- settle: next conversation
SELECT c.id, c.head, c.tail FROM conversations c
WHERE c.id IN (SELECT m.conversation_id FROM messages m WHERE m.held_by = $1 ORDER BY m.conversation_id LIMIT 100)
LIMIT 1 FOR UPDATE OF c SKIP LOCKED";

pub(crate) const NEXT_LITE: &str = "-- settle: next conversation
SELECT c.id, c.head, c.tail FROM conversations c
WHERE c.id = (SELECT m.conversation_id FROM messages m WHERE m.held_by = $1 LIMIT 1)";

macro_rules! ended {
    ($now:literal) => {
        concat!(
            "(SELECT e.id FROM holds e
              WHERE e.settled_at IS NULL AND e.kind IN ('user', 'instance', 'route') AND (e.released_at IS NOT NULL OR e.expires_at <= ",
            $now,
            "))"
        )
    };
}

macro_rules! heirs {
    ($db:ident, $lock:literal) => {
        concat!(
            "-- settle: holds that go on
SELECT h.id FROM holds h
WHERE h.kind IN ('user', 'instance', 'route') AND ",
            active!("$2"),
            "
  AND (SELECT EXISTS (SELECT 1 FROM messages m JOIN profiles p ON p.id = m.profile_id
                      WHERE m.conversation_id = $1 AND m.held_by IN ",
            ended!("$2"),
            " AND ",
            is_subject!($db, "p.user_id", "m"),
            "))
ORDER BY h.created_at, h.id",
            $lock
        )
    };
}
pub(crate) const HEIRS_PG: &str = heirs!(pg, " FOR SHARE OF h");
pub(crate) const HEIRS_LITE: &str = heirs!(lite, "");

macro_rules! hand_on {
    ($db:ident) => {
        concat!(
            "-- settle: hand on
UPDATE messages SET held_by = $1
WHERE conversation_id = $2 AND held_by IN ",
            ended!("$3"),
            "
  AND (SELECT EXISTS (SELECT 1 FROM holds h WHERE h.id = $1 AND ",
            is_subject!($db, "(SELECT p.user_id FROM profiles p WHERE p.id = messages.profile_id)", "messages"),
            "))"
        )
    };
}
pub(crate) const HAND_ON_PG: &str = hand_on!(pg);
pub(crate) const HAND_ON_LITE: &str = hand_on!(lite);

/// What an active hold keeps back as well goes over to it.
async fn hand_on(tx: &mut Tx<'_>, conversation: Uuid, now: i64) -> Result<(), StoreError> {
    let heirs: Vec<(Uuid,)> = ask!(tx, fetch_all, (Uuid,), tx.either(HEIRS_PG, HEIRS_LITE), conversation, now)?;
    for (heir,) in heirs {
        change!(tx, tx.either(HAND_ON_PG, HAND_ON_LITE), heir, conversation, now)?;
    }
    Ok(())
}

/// `$in_conversation` keeps SQLite from reading the whole conversation: few of its messages are held, if any.
macro_rules! returning {
    ($db:ident, $in_conversation:literal) => {
        concat!(
            "-- settle: returning
SELECT m.id, m.seq, m.held_by FROM messages m WHERE ",
            $in_conversation,
            " AND m.held_by IN ",
            ended!("$3"),
            "
UNION ALL
SELECT m.id, m.seq, NULL FROM messages m JOIN profiles p ON p.id = m.profile_id
WHERE m.conversation_id = $1 AND m.seq > $2 AND m.state = 'received'
  AND (SELECT EXISTS (SELECT 1 FROM holds h
                      WHERE h.id IN ",
            ended!("$3"),
            " AND (SELECT EXISTS (SELECT 1 FROM messages o WHERE o.held_by = h.id AND o.conversation_id = $1))
                        AND ",
            is_subject!($db, "p.user_id", "m"),
            "))
ORDER BY seq"
        )
    };
}
pub(crate) const RETURNING_PG: &str = returning!(pg, "m.conversation_id = $1");
pub(crate) const RETURNING_LITE: &str = returning!(lite, "+m.conversation_id = $1");

pub(crate) const RETURN_PG: &str = "-- settle: return
UPDATE messages m
SET state = 'received', held_by = NULL, first_seq = COALESCE(m.first_seq, m.seq), seq = $2 + i.place
FROM unnest($1::uuid[]) WITH ORDINALITY AS i (id, place) WHERE m.id = i.id";

pub(crate) const RETURN_LITE: &str = "-- settle: return
UPDATE messages
SET state = 'received', held_by = NULL, first_seq = COALESCE(first_seq, seq), seq = $2 + 1 + j.key
FROM json_each($1) j WHERE messages.id = unhex(j.value)";

/// The sweep wakes it at once, unless somebody holds the conversation or it is parked.
pub(crate) const LENGTHEN: &str = "-- settle: queue
UPDATE conversations
SET tail = tail + $2,
    wake_at = CASE WHEN owner IS NOT NULL THEN wake_at WHEN not_before > $3 THEN not_before ELSE $3 END
WHERE id = $1";

/// How many messages got a new place.
async fn bring_back(
    tx: &mut Tx<'_>,
    (conversation, head, tail): (Uuid, i64, i64),
    now: i64,
) -> Result<u64, StoreError> {
    let returning = tx.either(RETURNING_PG, RETURNING_LITE);
    let returning: Vec<Returning> = ask!(tx, fetch_all, Returning, returning, conversation, head, now)?;
    if returning.is_empty() {
        return Ok(0);
    }
    let moved = match tx {
        Tx::Pg(conn) => {
            let ids = column(&returning, |(id, _, _)| *id);
            sqlx::query(RETURN_PG).bind(ids).bind(tail).execute(&mut **conn).await?.rows_affected()
        }
        Tx::Lite(conn) => {
            let ids = batch(&returning, |(id, _, _)| json!(hex(*id)));
            sqlx::query(RETURN_LITE).bind(ids).bind(tail).execute(&mut **conn).await?.rows_affected()
        }
    };
    change!(tx, LENGTHEN, conversation, i64::try_from(moved).map_err(StoreError::unreadable)?, now)?;
    tell(tx, &returning, now).await?;
    Ok(moved)
}

/// What returns: its id, its place until now, and the hold that it leaves.
type Returning = (Uuid, i64, Option<Uuid>);

pub(crate) const RELEASED_BY: &str = "-- settle: who ended it
SELECT released_by FROM holds WHERE id = $1";

async fn tell(tx: &mut Tx<'_>, returning: &[Returning], now: i64) -> Result<(), StoreError> {
    let holds: BTreeSet<Uuid> = returning.iter().filter_map(|(_, _, hold)| *hold).collect();
    for hold in holds {
        let (by,) = ask!(tx, fetch_one, (Option<String>,), RELEASED_BY, hold)?;
        let messages: Vec<Uuid> =
            returning.iter().filter(|(_, _, of)| *of == Some(hold)).map(|(message, _, _)| *message).collect();
        let event = Event::new(EventKind::Released, now).detail(json!({"hold": hold, "expired": by.is_none()}));
        note_each(tx, &Event { actor: by.as_deref(), ..event }, &messages).await?;
    }
    Ok(())
}

pub(crate) const LOCK_HOLD: &str = "-- settle: lock hold
SELECT id FROM holds WHERE id = $1 FOR UPDATE";

pub(crate) const REST: &str = "-- settle: rest
SELECT count(*) FROM (SELECT 1 FROM messages WHERE held_by = $1 LIMIT 1) rest";

pub(crate) const CLOSE: &str = "-- settle: over
UPDATE holds SET settled_at = $2 WHERE id = $1";

async fn close(tx: &mut Tx<'_>, hold: Uuid, now: i64) -> Result<Settled, StoreError> {
    tx.lock(LOCK_HOLD, hold).await?;
    let (rest,) = ask!(tx, fetch_one, (i64,), REST, hold)?;
    if rest > 0 {
        return Ok(Settled::Busy);
    }
    change!(tx, CLOSE, hold, now)?;
    Ok(Settled::Over)
}

pub(crate) const ENDED: &str = "-- holds that have ended
SELECT id FROM holds
WHERE settled_at IS NULL AND COALESCE(released_at, expires_at, 9223372036854775807) <= $1
ORDER BY COALESCE(released_at, expires_at, 9223372036854775807) LIMIT $2";

impl Store {
    /// Holds that have ended and are not over. One look into an empty index when there are none.
    pub async fn ended_holds(&self, limit: u32) -> Result<Vec<HoldId>, StoreError> {
        let now = self.now().await?.micros();
        let rows = crate::reading::fetch!(self, fetch_all, (Uuid,), ENDED, now, i64::from(limit))?;
        Ok(rows.into_iter().map(|(id,)| HoldId(id)).collect())
    }

    /// Brings back what an ended hold took out of one conversation; the hold is over when there is no more. May be called
    /// by anybody, by several at once, and again after any error: each step is one transaction.
    pub async fn settle_hold(&self, id: HoldId) -> Result<Settled, StoreError> {
        self.once::<Settle>(id).await
    }
}
