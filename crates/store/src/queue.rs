//! The places of a conversation's queue, for messages that enter or leave it otherwise than by being accepted and by the
//! end of their turn: replayed, cancelled, held.
//!
//! The end of a turn compares numbers of one row: the conversation is at rest when the message that ended stands at
//! `tail`. Looking for pending rows instead would race. So whoever moves messages keeps, under the lock of the
//! conversation's row:
//!
//! - nothing is pending: `head = tail`, and nobody holds the conversation;
//! - something is pending: all of it stands behind `head`, and the last of it stands at `tail`.
//!
//! When the message at `tail` leaves, the last one that stays is given the place `tail + 1`. It keeps its order, since
//! nothing pending stands between, and no place is given out twice. A turn that it may be in goes on: an end under way
//! waits for the lock, and then reads the new place from the newest version of the message's row. That the message is
//! the first pending one it sees in its own snapshot, at the place from before: so `head` stays where it is, and what
//! left leaves gaps behind it.

use sqlx::types::Uuid;

use crate::{
    StoreError,
    tx::{Tx, ask, change},
};

/// The id of the first message that is pending behind `$head`.
macro_rules! first_pending {
    ($conversation:literal, $head:literal) => {
        concat!(
            "(SELECT e.id FROM messages e
           WHERE e.conversation_id = ",
            $conversation,
            " AND e.seq > ",
            $head,
            " AND e.state IN ('received', 'processing')
           ORDER BY e.seq LIMIT 1)"
        )
    };
}
pub(crate) use first_pending;

pub(crate) const LOCK: &str = "-- queue: lock conversation
SELECT c.id FROM messages m JOIN conversations c ON c.id = m.conversation_id WHERE m.id = $1 FOR UPDATE OF c";

/// As for an accepted message: the sweep wakes it at once, unless somebody holds the conversation or it is parked.
pub(crate) const ENTER: &str = "-- queue: enter
UPDATE conversations
SET tail = tail + 1,
    wake_at = CASE WHEN head < tail THEN wake_at WHEN not_before > $2 THEN not_before ELSE $2 END
WHERE id = $1
RETURNING tail";

/// The next place at the end, for a message that comes back. The caller gives it to the message.
pub(crate) async fn enter(tx: &mut Tx<'_>, conversation: Uuid, now: i64) -> Result<i64, StoreError> {
    let (tail,) = ask!(tx, fetch_one, (i64,), ENTER, conversation, now)?;
    Ok(tail)
}

pub(crate) const LEFT: &str = "-- queue: what is left
SELECT c.tail, min(m.seq), max(m.seq)
FROM conversations c
LEFT JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head AND m.state IN ('received', 'processing')
WHERE c.id = $1
GROUP BY c.tail";

pub(crate) const REST: &str = "-- queue: nothing is left
UPDATE conversations SET head = tail, owner = NULL, lease_until = 0 WHERE id = $1";

pub(crate) const LAST: &str = "-- queue: the last one moves to the end
UPDATE messages SET seq = $3, first_seq = COALESCE(first_seq, seq) WHERE conversation_id = $1 AND seq = $2";

/// Whatever the conversation is parked for, it was parked for its first message.
pub(crate) const SETTLE: &str = "-- queue: settle
UPDATE conversations
SET tail = $2,
    not_before = CASE WHEN $3 AND not_before > $4 THEN $4 ELSE not_before END,
    wake_at = CASE WHEN $3 AND owner IS NULL AND wake_at > $4 THEN $4 ELSE wake_at END
WHERE id = $1";

/// What is left of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Work,
    /// Nothing is pending, and nobody holds the conversation.
    Nothing,
}

/// Makes the places true again after the caller, under the lock of the conversation, has taken messages out of the
/// queue by changing their states. `first` is the foremost place that became empty: when that was the front of the
/// queue, what comes next is due at once.
pub(crate) async fn leave(tx: &mut Tx<'_>, conversation: Uuid, first: i64, now: i64) -> Result<Left, StoreError> {
    type Row = (i64, Option<i64>, Option<i64>);
    let (tail, front, last) = ask!(tx, fetch_one, Row, LEFT, conversation)?;
    let (Some(front), Some(last)) = (front, last) else {
        change!(tx, REST, conversation)?;
        return Ok(Left::Nothing);
    };
    let end = if last < tail { tail + 1 } else { tail };
    if last < tail {
        change!(tx, LAST, conversation, last, end)?;
    }
    change!(tx, SETTLE, conversation, end, first < front, now)?;
    Ok(Left::Work)
}
