//! When a hold keeps something back, as SQL for both databases.
//!
//! A hold is *active* until somebody releases it or its time has come, and *open* until all that it took out of the
//! queues is back in them (`settled_at`). In between it has ended and still keeps a message back where older messages
//! of the same hold wait to go back: otherwise a message that was accepted meanwhile would overtake them.
//!
//! `EXISTS` is written as `(SELECT EXISTS (…))` here and wherever these conditions are used: SQLite 3.51 makes a join of an
//! `EXISTS` that stands in a `WHERE` by itself, and of two of them inside each other with an `OR` it misses rows.
//!
//! The statements that give work out ask first whether any hold is open at all, once for a whole batch: that is one
//! look into an empty index, and with no hold it is the whole price.

/// The digits of an id, as `holds.subject` has them.
macro_rules! digits {
    (pg, $id:expr) => {
        concat!("encode(uuid_send(", $id, "), 'hex')")
    };
    (lite, $id:expr) => {
        concat!("lower(hex(", $id, "))")
    };
}
pub(crate) use digits;

/// `$then`, or `$otherwise` at once when no hold is open.
macro_rules! if_any_hold {
    ($then:expr, $otherwise:expr) => {
        concat!(
            "CASE WHEN (SELECT EXISTS (SELECT 1 FROM holds WHERE settled_at IS NULL
                          AND kind IN ('conversation', 'agent', 'user', 'instance', 'route')))
             THEN ",
            $then,
            " ELSE ",
            $otherwise,
            " END"
        )
    };
}
pub(crate) use if_any_hold;

/// Whether the hold `h` is active.
macro_rules! active {
    ($now:expr) => {
        concat!(
            "h.settled_at IS NULL AND h.released_at IS NULL AND COALESCE(h.expires_at, 9223372036854775807) > ",
            $now
        )
    };
}
pub(crate) use active;

/// Until when the whole conversation is on hold; NULL when it is not. `9223372036854775807` is until further notice.
macro_rules! conversation_hold {
    ($db:ident, $id:expr, $agent:expr, $now:expr) => {
        concat!(
            "(SELECT max(COALESCE(h.expires_at, 9223372036854775807)) FROM holds h
               WHERE ",
            crate::holding::active!($now),
            " AND (h.kind = 'conversation' AND h.subject = ",
            crate::holding::digits!($db, $id),
            " OR h.kind = 'agent' AND h.subject = ",
            $agent,
            "))"
        )
    };
}
pub(crate) use conversation_hold;

/// `$what` of the hold because of which a conversation with work is not to be woken; NULL when it is to be. While a
/// turn of it is open it is: what was begun goes to its end.
macro_rules! sleeps_by {
    ($what:expr, $db:ident, $id:expr, $head:expr, $agent:expr, $now:expr) => {
        crate::holding::if_any_hold!(
            concat!(
                "(SELECT ",
                $what,
                " FROM holds h
                   WHERE ",
                crate::holding::active!($now),
                " AND (h.kind = 'conversation' AND h.subject = ",
                crate::holding::digits!($db, $id),
                " OR h.kind = 'agent' AND h.subject = ",
                $agent,
                ")
                     AND NOT EXISTS (SELECT 1 FROM messages b WHERE b.conversation_id = ",
                $id,
                " AND b.seq > ",
                $head,
                " AND b.state = 'processing')
                   ORDER BY COALESCE(h.expires_at, 9223372036854775807) DESC LIMIT 1)"
            ),
            "NULL"
        )
    };
}
pub(crate) use sleeps_by;

/// A conversation on hold is looked at again after this long, whatever happened to the wake at the hold's end.
pub(crate) const SLEEP_MICROS: i64 = 60_000_000;

/// Until when nothing goes out through an instance; NULL when it may.
macro_rules! instance_hold {
    ($instance:expr, $now:expr) => {
        crate::holding::if_any_hold!(
            concat!(
                "(SELECT max(COALESCE(h.expires_at, 9223372036854775807)) FROM holds h
                   WHERE ",
                crate::holding::active!($now),
                " AND h.kind = 'instance' AND h.subject = ",
                $instance,
                ")"
            ),
            "NULL"
        )
    };
}
pub(crate) use instance_hold;

/// Whether the subject of the hold `h` is the user, the instance or the route of a message.
macro_rules! is_subject {
    ($db:ident, $user:expr, $message:expr) => {
        concat!(
            "(h.kind = 'user' AND h.subject = ",
            crate::holding::digits!($db, $user),
            " OR h.kind = 'instance' AND h.subject = ",
            $message,
            ".instance OR h.kind = 'route' AND h.subject = ",
            $message,
            ".route)"
        )
    };
}
pub(crate) use is_subject;

/// Whether the open hold `h` keeps messages of a conversation back: it is active, or has ended and has not given back
/// what it took from there.
macro_rules! keeps_in {
    ($conversation:expr, $now:expr) => {
        concat!(
            "h.settled_at IS NULL AND (h.released_at IS NULL AND COALESCE(h.expires_at, 9223372036854775807) > ",
            $now,
            " OR (SELECT EXISTS (SELECT 1 FROM messages o WHERE o.held_by = h.id AND o.conversation_id = ",
            $conversation,
            ")))"
        )
    };
}
pub(crate) use keeps_in;

/// Whether a message is not to be begun: its conversation is on hold, or it is kept back for its user, its instance or
/// its route. One that an agent has heard of is never kept back: what was begun goes to its end.
macro_rules! kept_back {
    ($db:ident, $message:expr, $user:expr, $agent:expr, $now:expr) => {
        concat!(
            "(",
            $message,
            ".state = 'received' AND (",
            crate::holding::conversation_hold!($db, concat!($message, ".conversation_id"), $agent, $now),
            " IS NOT NULL OR (SELECT EXISTS (SELECT 1 FROM holds h WHERE ",
            crate::holding::is_subject!($db, $user, $message),
            " AND ",
            crate::holding::keeps_in!(concat!($message, ".conversation_id"), $now),
            "))))"
        )
    };
}
pub(crate) use kept_back;
