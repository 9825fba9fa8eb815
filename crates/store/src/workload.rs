//! How much there is to do, for a monitor: cheap enough to be asked a few times a minute, however much was done before.

use std::time::Duration;

use crate::{Store, StoreError, db::Db, decode::elapsed, lite, reading::fetch};

/// What waits, by its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Conversations with work that nobody does yet.
    pub waiting: i64,
    /// Conversations with work that a worker holds.
    pub in_hand: i64,
    /// Conversations with work that is tried again later.
    pub parked: i64,
    /// Conversations that are on hold because they kept failing.
    pub quarantined: i64,
    /// Age of the oldest message that is not over; `None` when all are.
    pub oldest_message: Option<Duration>,
    /// Answers that are neither delivered nor given up.
    pub answers: i64,
    pub oldest_answer: Option<Duration>,
    /// Publishes that are owed to the broker.
    pub owed: i64,
    pub oldest_owed: Option<Duration>,
    /// Dead letters that nobody resolved or replayed, by their stage.
    pub failed_turns: i64,
    pub failed_deliveries: i64,
}

/// Every part of it has an index that holds only what is open, or what failed.
macro_rules! workload {
    ($now:expr) => {
        concat!(
            "-- workload
WITH clock AS (SELECT ",
            $now,
            " AS now),
busy AS (
    SELECT c.id, c.head, CASE WHEN c.owner IS NOT NULL AND c.lease_until > clock.now THEN 'in hand'
                              WHEN c.not_before > clock.now THEN 'parked' ELSE 'waiting' END AS stand
    FROM clock CROSS JOIN conversations c
    WHERE c.head < c.tail
), unsent AS (
    SELECT COALESCE(r.replayed_at, r.created_at) AS at FROM responses r WHERE r.open
)
SELECT (SELECT count(*) FROM busy WHERE stand = 'waiting') AS waiting,
       (SELECT count(*) FROM busy WHERE stand = 'in hand') AS in_hand,
       (SELECT count(*) FROM busy WHERE stand = 'parked') AS parked,
       (SELECT count(*) FROM holds h
        WHERE h.settled_at IS NULL AND h.released_at IS NULL AND h.kind = 'conversation' AND h.actor = 'broca') AS quarantined,
       (SELECT clock.now - min(COALESCE(m.replayed_at, m.received_at))
        FROM busy b JOIN messages m ON m.conversation_id = b.id AND m.seq > b.head
        WHERE m.state IN ('received', 'processing')) AS oldest_message,
       (SELECT count(*) FROM unsent) AS answers,
       (SELECT clock.now - min(at) FROM unsent) AS oldest_answer,
       (SELECT count(*) FROM outbox) AS owed,
       (SELECT clock.now - min(created_at) FROM outbox) AS oldest_owed,
       (SELECT count(*) FROM messages m LEFT JOIN letters_closed x ON x.subject_id = m.id AND x.round = m.replays
        WHERE m.failed_at IS NOT NULL AND x.subject_id IS NULL) AS failed_turns,
       (SELECT count(*) FROM responses r LEFT JOIN letters_closed x ON x.subject_id = r.id AND x.round = r.replays
        WHERE r.failed_at IS NOT NULL AND x.subject_id IS NULL) AS failed_deliveries
FROM clock"
        )
    };
}

const WORKLOAD_PG: &str = workload!("broca_now()");
const WORKLOAD_LITE: &str = workload!(lite::now!());

#[derive(sqlx::FromRow)]
struct Row {
    waiting: i64,
    in_hand: i64,
    parked: i64,
    quarantined: i64,
    oldest_message: Option<i64>,
    answers: i64,
    oldest_answer: Option<i64>,
    owed: i64,
    oldest_owed: Option<i64>,
    failed_turns: i64,
    failed_deliveries: i64,
}

impl Store {
    /// What waits at this moment.
    pub async fn workload(&self) -> Result<Workload, StoreError> {
        let sql = match self.db {
            Db::Pg(_) => WORKLOAD_PG,
            Db::Lite(_) => WORKLOAD_LITE,
        };
        let row = fetch!(self, fetch_one, Row, sql)?;
        Ok(Workload {
            waiting: row.waiting,
            in_hand: row.in_hand,
            parked: row.parked,
            quarantined: row.quarantined,
            oldest_message: row.oldest_message.map(elapsed),
            answers: row.answers,
            oldest_answer: row.oldest_answer.map(elapsed),
            owed: row.owed,
            oldest_owed: row.oldest_owed.map(elapsed),
            failed_turns: row.failed_turns,
            failed_deliveries: row.failed_deliveries,
        })
    }
}
