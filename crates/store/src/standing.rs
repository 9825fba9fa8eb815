//! Where a message stands now: everything that decides what happens to it next, as it was at one moment.

use broca_core::{ConversationId, MessageId, ResponseId, ResponseKind, ResponseState, Timestamp};
use sqlx::types::Uuid;

use crate::{
    JourneyEvent, MessageRecord, Store, StoreError,
    decode::{count, parsed},
    holding::{active, digits, is_subject},
    journey,
    reading::message,
    tx::{Tx, ask, snapshot},
};

/// A message and all that happened to it.
#[derive(Clone, Debug)]
pub struct Journey {
    /// The database's time when it was read.
    pub now: Timestamp,
    pub message: MessageRecord,
    /// In order.
    pub events: Vec<JourneyEvent>,
}

/// A message, its journey, and what stands in its way.
#[derive(Clone, Debug)]
pub struct Standing {
    pub journey: Journey,
    pub queue: Queue,
    /// Oldest first.
    pub answers: Vec<AnswerStanding>,
    /// Publishes that are owed to the broker for it, oldest first.
    pub owed: Vec<OwedPublish>,
    /// What keeps it back, or its conversation, or what goes out through its instance; the one that took it out of its
    /// queue first.
    pub holds: Vec<HoldStanding>,
}

#[derive(Clone, Debug)]
pub struct HoldStanding {
    /// `conversation`, `agent`, `user`, `instance` or `route`.
    pub kind: String,
    pub actor: String,
    pub reason: String,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
}

/// The conversation of a message, and who works in it.
#[derive(Clone, Debug)]
pub struct Queue {
    pub conversation: ConversationId,
    /// Pending messages before this one.
    pub ahead: u32,
    /// The first pending message: the one that is, or will be, worked on.
    pub first: Option<FirstInLine>,
    /// It is in the open turn of the first one.
    pub in_turn: bool,
    pub lease: Option<LeaseStanding>,
    /// Nothing is attempted before then.
    pub not_before: Timestamp,
    /// Class and reason of the failure that it was last parked for.
    pub parked_for: Option<(String, String)>,
    /// When the sweep wakes it, unless it moves before.
    pub wake_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct FirstInLine {
    pub message: MessageId,
    /// The worker of its open turn, since when, and which attempt it is.
    pub turn: Option<(String, Timestamp, u32)>,
}

#[derive(Clone, Debug)]
pub struct LeaseStanding {
    pub worker: String,
    pub epoch: i64,
    pub until: Timestamp,
    /// When it was taken, and when it was last renewed; `None` when the event of that is not kept any more.
    pub taken: Option<Timestamp>,
    pub renewed: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct AnswerStanding {
    pub id: ResponseId,
    pub kind: ResponseKind,
    pub state: ResponseState,
    /// The plugin process that is delivering it, and until when it has to.
    pub host: Option<String>,
    pub lease_until: Timestamp,
    pub not_before: Timestamp,
    /// Open answers of its chat before it, and whose the first of them is.
    pub ahead: u32,
    pub behind: Option<MessageId>,
}

#[derive(Clone, Debug)]
pub struct OwedPublish {
    /// `wake`, `response` or `dead_letter`.
    pub kind: String,
    pub since: Timestamp,
}

pub(crate) const QUEUE: &str = "-- standing: conversation
SELECT c.id, c.owner, c.epoch, c.lease_until, c.not_before, c.wake_at,
       (SELECT count(*) FROM messages e
        WHERE e.conversation_id = c.id AND e.seq > c.head AND e.seq < m.seq AND e.state IN ('received', 'processing')) AS ahead
FROM messages m JOIN conversations c ON c.id = m.conversation_id WHERE m.id = $1";

pub(crate) const FIRST: &str = "-- standing: first in line
SELECT m.id, t.worker, t.started_at, t.attempt
FROM conversations c
JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head AND m.state IN ('received', 'processing')
LEFT JOIN turns t ON t.message_id = m.id AND t.state = 'started'
WHERE c.id = $1 ORDER BY m.seq LIMIT 1";

pub(crate) const IN_TURN: &str = "-- standing: in an open turn
SELECT count(*) FROM turn_messages s JOIN turns t ON t.id = s.turn_id WHERE s.message_id = $1 AND t.state = 'started'";

pub(crate) const TAKEN_PG: &str = "-- standing: lease
SELECT at, CAST(detail ->> 'ttl' AS bigint) FROM events
WHERE conversation_id = $1 AND epoch = $2 AND kind IN ('claimed', 'taken_over') ORDER BY at DESC LIMIT 1";

pub(crate) const TAKEN_LITE: &str = "-- standing: lease
SELECT at, detail ->> 'ttl' FROM events
WHERE conversation_id = $1 AND epoch = $2 AND kind IN ('claimed', 'taken_over') ORDER BY at DESC LIMIT 1";

pub(crate) const PARKED: &str = "-- standing: parked
SELECT detail ->> 'class', detail ->> 'reason' FROM events
WHERE conversation_id = $1 AND kind = 'parked' ORDER BY at DESC LIMIT 1";

pub(crate) const ANSWERS: &str = "-- standing: answers
SELECT r.id, r.kind, r.state, r.host, r.lease_until, r.not_before,
       (SELECT count(*) FROM responses e WHERE e.open AND e.lane = r.lane AND e.ord < r.ord) AS ahead,
       (SELECT e.message_id FROM responses e WHERE e.open AND e.lane = r.lane AND e.ord < r.ord
        ORDER BY e.ord LIMIT 1) AS behind
FROM responses r WHERE r.message_id = $1 ORDER BY r.created_at, r.ord";

/// The outbox is short, and has no index for this.
pub(crate) const OWED: &str = "-- standing: owed publishes
SELECT kind, created_at FROM outbox WHERE message_id = $1 ORDER BY created_at";

macro_rules! holds {
    ($db:ident) => {
        concat!(
            "-- standing: holds
SELECT h.kind, h.actor, h.reason, h.created_at, h.expires_at
FROM messages m
JOIN conversations c ON c.id = m.conversation_id
JOIN profiles p ON p.id = m.profile_id
JOIN holds h ON ",
            active!("$2"),
            " AND (h.id = m.held_by OR ",
            is_subject!($db, "p.user_id", "m"),
            " OR h.kind = 'agent' AND h.subject = c.agent OR h.kind = 'conversation' AND h.subject = ",
            digits!($db, "c.id"),
            ")
WHERE m.id = $1
ORDER BY CASE WHEN h.id = m.held_by THEN 0 ELSE 1 END, h.created_at"
        )
    };
}
pub(crate) const HOLDS_PG: &str = holds!(pg);
pub(crate) const HOLDS_LITE: &str = holds!(lite);

async fn read_holds(tx: &mut Tx<'_>, message: Uuid) -> Result<Vec<HoldStanding>, StoreError> {
    type Row = (String, String, String, i64, Option<i64>);
    let now = tx.now().await?;
    let sql = tx.either(HOLDS_PG, HOLDS_LITE);
    let rows = ask!(tx, fetch_all, Row, sql, message, now)?;
    let hold = |(kind, actor, reason, since, until): Row| HoldStanding {
        kind,
        actor,
        reason,
        since: Timestamp(since),
        until: until.map(Timestamp),
    };
    Ok(rows.into_iter().map(hold).collect())
}

#[derive(sqlx::FromRow)]
struct QueueRow {
    id: Uuid,
    owner: Option<String>,
    epoch: i64,
    lease_until: i64,
    not_before: i64,
    wake_at: i64,
    ahead: i64,
}

#[derive(sqlx::FromRow)]
struct FirstRow {
    id: Uuid,
    worker: Option<String>,
    started_at: Option<i64>,
    attempt: Option<i64>,
}

impl FirstRow {
    fn standing(self) -> Result<FirstInLine, StoreError> {
        let turn = match (self.worker, self.started_at, self.attempt) {
            (Some(worker), Some(since), Some(attempt)) => Some((worker, Timestamp(since), count(attempt)?)),
            _ => None,
        };
        Ok(FirstInLine { message: MessageId(self.id), turn })
    }
}

#[derive(sqlx::FromRow)]
struct AnswerRow {
    id: Uuid,
    kind: String,
    state: String,
    host: Option<String>,
    lease_until: i64,
    not_before: i64,
    ahead: i64,
    behind: Option<Uuid>,
}

impl AnswerRow {
    fn standing(self) -> Result<AnswerStanding, StoreError> {
        Ok(AnswerStanding {
            id: ResponseId(self.id),
            kind: parsed(&self.kind)?,
            state: parsed(&self.state)?,
            host: self.host,
            lease_until: Timestamp(self.lease_until),
            not_before: Timestamp(self.not_before),
            ahead: count(self.ahead)?,
            behind: self.behind.map(MessageId),
        })
    }
}

async fn read_journey(tx: &mut Tx<'_>, id: Uuid) -> Result<Option<Journey>, StoreError> {
    let (Some(message), Some(events)) = (message(tx, id).await?, journey::read(tx, id).await?) else {
        return Ok(None);
    };
    Ok(Some(Journey { now: Timestamp(tx.now().await?), message, events }))
}

async fn read(tx: &mut Tx<'_>, id: Uuid) -> Result<Option<Standing>, StoreError> {
    let Some(journey) = read_journey(tx, id).await? else { return Ok(None) };
    let queue = read_queue(tx, id).await?;
    let answers = ask!(tx, fetch_all, AnswerRow, ANSWERS, id)?.into_iter().map(AnswerRow::standing);
    let answers = answers.collect::<Result<_, _>>()?;
    let owed = ask!(tx, fetch_all, (String, i64), OWED, id)?;
    let owed = owed.into_iter().map(|(kind, since)| OwedPublish { kind, since: Timestamp(since) }).collect();
    let holds = read_holds(tx, id).await?;
    Ok(Some(Standing { journey, queue, answers, owed, holds }))
}

async fn read_queue(tx: &mut Tx<'_>, message: Uuid) -> Result<Queue, StoreError> {
    let row = ask!(tx, fetch_one, QueueRow, QUEUE, message)?;
    let first = ask!(tx, fetch_optional, FirstRow, FIRST, row.id)?;
    let (in_turn,) = ask!(tx, fetch_one, (i64,), IN_TURN, message)?;
    // A conversation that was never parked may have years of other events.
    let parked_for = match row.not_before {
        0 => None,
        _ => ask!(tx, fetch_optional, (String, String), PARKED, row.id)?,
    };
    Ok(Queue {
        conversation: ConversationId(row.id),
        ahead: count(row.ahead)?,
        first: first.map(FirstRow::standing).transpose()?,
        in_turn: in_turn > 0,
        lease: read_lease(tx, &row).await?,
        not_before: Timestamp(row.not_before),
        parked_for,
        wake_at: Timestamp(row.wake_at),
    })
}

async fn read_lease(tx: &mut Tx<'_>, row: &QueueRow) -> Result<Option<LeaseStanding>, StoreError> {
    let Some(worker) = row.owner.clone() else { return Ok(None) };
    let sql = tx.either(TAKEN_PG, TAKEN_LITE);
    let taken = ask!(tx, fetch_optional, (i64, Option<i64>), sql, row.id, row.epoch)?;
    let renewed = taken.and_then(|(_, ttl)| ttl).map(|ttl| Timestamp(row.lease_until.saturating_sub(ttl)));
    let (epoch, until) = (row.epoch, Timestamp(row.lease_until));
    Ok(Some(LeaseStanding { worker, epoch, until, taken: taken.map(|(at, _)| Timestamp(at)), renewed }))
}

impl Store {
    /// All that happened to a message, in order; `None` when there is no such message.
    pub async fn journey(&self, id: MessageId) -> Result<Option<Journey>, StoreError> {
        snapshot!(self, read_journey, id.0)
    }

    /// A message, its journey, and what stands in its way; `None` when there is no such message.
    pub async fn standing(&self, id: MessageId) -> Result<Option<Standing>, StoreError> {
        snapshot!(self, read, id.0)
    }
}
