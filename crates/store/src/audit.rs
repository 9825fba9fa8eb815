//! The auditor's questions: which rows contradict each other, and what is overdue.
//!
//! Every accepted message is in one terminal state, or moves within its limit. Each question below looks for rows that
//! break that, in one statement and so in one snapshot; the steps on a message's way change all rows that belong
//! together in one transaction, so none of them is ever seen half done. The SQL is the same for both databases.
//!
//! Where conversations with work are joined with messages, that they have some is said twice: once as their index has it,
//! and once as PostgreSQL has statistics of it.
//!
//! What cannot be asked: whether an answer without a response row had text. Turns do not keep the text; the
//! response is written in the statement that ends the turn.

use std::time::Duration;

use broca_core::{MessageId, Timestamp, clock::micros};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{Store, StoreError, export::OTHER_CLOCKS, reading::fetch};

/// Ids that are given of each kind.
const FIRST: i64 = 10;
/// How long something may take before it counts as overdue.
#[derive(Clone, Copy, Debug)]
pub struct AuditLimits {
    /// For whatever should happen by itself: a sweep, a retry whose time has come, a publish.
    pub overdue: Duration,
    /// For a message from its acceptance to its end; `None` is no limit.
    pub max_age: Option<Duration>,
}

/// Rows of one kind that should not be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Irregular {
    pub kind: Irregularity,
    pub count: i64,
    /// The oldest ones.
    pub first: Vec<Uuid>,
}

macro_rules! questions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $sql:literal;)*) => {
        /// What can be wrong. The ids are those of messages, of conversations, of answers or of owed publishes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
        pub enum Irregularity { $($(#[$doc])* #[serde(rename = $name)] $variant),* }

        impl Irregularity {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// `now`, `late` and `old` are the database's time, and that time less the two limits; `first` is the id from
            /// which on messages are read, and `whole` whether that is the first of all.
            fn sql(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!(
                        "-- audit ", $name, "
WITH clock AS (SELECT CAST($1 AS bigint) AS now, CAST($2 AS bigint) AS late, CAST($3 AS bigint) AS old, $5 AS first,
                      CAST($6 AS boolean) AS whole),
found AS (", $sql, ")
SELECT id, (SELECT count(*) FROM found) AS total FROM found ORDER BY at, id LIMIT $4"
                    )),*
                }
            }
        }
    };
}

questions! {
    /// Messages that are not over, in a place that their conversation has left behind: nobody will look at them.
    PassedOver = "passed-over",
    "SELECT m.id, m.received_at AS at
     FROM clock CROSS JOIN messages m JOIN conversations c ON c.id = m.conversation_id
     WHERE m.id >= clock.first AND m.state IN ('received', 'processing') AND m.seq <= c.head";

    /// Messages that are worked on, by nobody: no turn is open and no worker holds the conversation.
    NoTurn = "no-turn",
    "SELECT m.id, m.received_at AS at
     FROM clock CROSS JOIN conversations c JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head
     WHERE c.head < c.tail AND (c.head < c.tail) IS TRUE AND m.state = 'processing' AND (c.owner IS NULL OR c.lease_until <= clock.now)
       AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.message_id = m.id AND t.state = 'started')
       AND NOT EXISTS (SELECT 1 FROM turn_messages s JOIN turns t ON t.id = s.turn_id
                       WHERE s.message_id = m.id AND t.state = 'started')";

    /// Conversations with work that are neither held nor parked, and that no sweep has woken for too long.
    Forgotten = "forgotten",
    "SELECT c.id, c.wake_at AS at
     FROM clock CROSS JOIN conversations c
     WHERE c.head < c.tail AND c.wake_at <= clock.late AND c.not_before <= clock.late
       AND (c.owner IS NULL OR c.lease_until <= clock.late)";

    /// Conversations that count work which is not there: they never come to rest, and never wake anybody.
    EmptyQueue = "empty-queue",
    "SELECT c.id, c.wake_at AS at
     FROM clock CROSS JOIN conversations c
     WHERE c.head < c.tail AND (c.head < c.tail) IS TRUE AND (c.owner IS NULL OR c.lease_until <= clock.now)
       AND NOT EXISTS (SELECT 1 FROM messages m
                       WHERE m.conversation_id = c.id AND m.seq > c.head AND m.state IN ('received', 'processing'))";

    /// Messages that are over, with a turn that is still open.
    OpenTurn = "open-turn",
    "SELECT m.id, t.started_at AS at
     FROM turns t JOIN messages m ON m.id = t.message_id
     WHERE t.state = 'started' AND m.state NOT IN ('received', 'processing', 'held')";

    /// Completed messages that no agent answered.
    Unanswered = "unanswered",
    "SELECT m.id, m.received_at AS at
     FROM clock CROSS JOIN messages m
     WHERE m.id >= clock.first AND m.state = 'completed'
       AND NOT (SELECT EXISTS (SELECT 1 FROM turns t WHERE t.message_id = m.id AND t.state = 'answered'))
       AND NOT (SELECT EXISTS (SELECT 1 FROM turn_messages s JOIN turns t ON t.id = s.turn_id
                               WHERE s.message_id = m.id AND t.state = 'answered'))";

    /// Messages that are over, in a turn of several that is still open: it was not ended as a whole.
    SplitTurn = "split-turn",
    "SELECT m.id, t.started_at AS at
     FROM turns t JOIN turn_messages s ON s.turn_id = t.id JOIN messages m ON m.id = s.message_id
     WHERE t.state = 'started' AND t.message_id <> m.id AND m.state <> 'processing'";

    /// Wishes to stop a turn of a message that no worker is at: nobody will ever heed them.
    LostStop = "lost-stop",
    "SELECT m.id, s.asked_at AS at
     FROM stops s JOIN messages m ON m.id = s.message_id WHERE m.state <> 'processing'";

    /// Conversations whose worker has been silent for too long, and that nobody took over.
    DeadLease = "dead-lease",
    "SELECT c.id, c.lease_until AS at
     FROM clock CROSS JOIN conversations c
     WHERE c.head < c.tail AND c.owner IS NOT NULL AND c.lease_until <= clock.late
     UNION ALL
     SELECT c.id, c.lease_until AS at
     FROM clock CROSS JOIN conversations c
     WHERE clock.whole AND c.head = c.tail AND c.owner IS NOT NULL AND c.lease_until <= clock.late";

    /// Messages that are held though their hold is over: nobody will bring them back. Or the two do not fit together.
    HoldLost = "hold-lost",
    "SELECT m.id, m.received_at AS at
     FROM messages m LEFT JOIN holds h ON h.id = m.held_by AND h.settled_at IS NULL
     WHERE m.held_by IS NOT NULL AND (h.id IS NULL OR m.state <> 'held')
     UNION ALL
     SELECT m.id, m.received_at AS at
     FROM clock CROSS JOIN messages m WHERE m.id >= clock.first AND m.state = 'held' AND m.held_by IS NULL";

    /// Holds that ended, and whose messages nobody has brought back for too long.
    HoldOverdue = "hold-overdue",
    "SELECT h.id, COALESCE(h.released_at, h.expires_at) AS at
     FROM clock CROSS JOIN holds h
     WHERE h.settled_at IS NULL AND COALESCE(h.released_at, h.expires_at, 9223372036854775807) <= (SELECT late FROM clock)";

    /// Answers that are first in their chat, are due, and that no plugin process has taken up.
    Undelivered = "undelivered",
    "SELECT r.id, r.created_at AS at
     FROM clock CROSS JOIN responses r
     WHERE r.open AND COALESCE(r.replayed_at, r.created_at) <= clock.late AND r.not_before <= clock.late AND r.lease_until <= clock.late
       AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.kind = 'instance' AND h.subject = r.instance
                         AND COALESCE(h.released_at, h.expires_at, 9223372036854775807) > clock.late)
       AND NOT EXISTS (SELECT 1 FROM responses e WHERE e.open AND e.lane = r.lane AND e.ord < r.ord)";

    /// Publishes that the broker has not confirmed for too long.
    Unpublished = "unpublished",
    "SELECT o.id, o.created_at AS at FROM clock CROSS JOIN outbox o WHERE o.created_at <= clock.late";

    /// Messages that are not over and older than the limit, though nothing else is wrong with them.
    TooOld = "too-old",
    "SELECT m.id, m.received_at AS at
     FROM clock CROSS JOIN conversations c JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head
     WHERE c.head < c.tail AND (c.head < c.tail) IS TRUE AND m.state IN ('received', 'processing') AND COALESCE(m.replayed_at, m.received_at) <= clock.old";
}

impl Store {
    /// Asks all of it, in the order of [`Irregularity::ALL`]; kinds of which there are none are left out. Reads
    /// every message: for people, and now and then.
    pub async fn audit(&self, limits: &AuditLimits) -> Result<Vec<Irregular>, StoreError> {
        self.audit_from(limits, |_| Uuid::nil()).await
    }

    /// The same, but what would have to read every message reads those alone that were accepted `within` that time.
    pub async fn audit_recent(&self, limits: &AuditLimits, within: Duration) -> Result<Vec<Irregular>, StoreError> {
        // The ids are made by the clocks of the plugin processes.
        let within = micros(within.saturating_add(OTHER_CLOCKS));
        self.audit_from(limits, |now| MessageId::floor_of(Timestamp(now.saturating_sub(within))).0).await
    }

    async fn audit_from(
        &self,
        limits: &AuditLimits,
        first: impl Fn(i64) -> Uuid,
    ) -> Result<Vec<Irregular>, StoreError> {
        let now = self.now().await?.micros();
        let late = now.saturating_sub(micros(limits.overdue));
        let old = limits.max_age.map_or(i64::MIN, |age| now.saturating_sub(micros(age)));
        let first = first(now);
        let whole = first.is_nil();
        let mut irregular = Vec::new();
        for kind in Irregularity::ALL.iter().copied() {
            let rows = fetch!(self, fetch_all, (Uuid, i64), kind.sql(), now, late, old, FIRST, first, whole)?;
            if let Some((_, count)) = rows.first().copied() {
                irregular.push(Irregular { kind, count, first: rows.into_iter().map(|(id, _)| id).collect() });
            }
        }
        Ok(irregular)
    }
}
