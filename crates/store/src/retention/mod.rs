//! Retention: what is over for long enough is removed, with everything that hangs on it.
//!
//! A message goes when nothing more will happen to it by itself and nobody has a plan for it: it has ended, its answers
//! have, the broker has all that it was owed, no open replay plan names it, and the last of all that happened lies
//! behind the age of its kind ([`RetentionPolicy`]). People, their profiles and conversations stay: who writes again
//! goes on where they were. So the places of a queue, `head` and `tail`, need nothing: what is removed is in none.
//!
//! Messages are walked by their primary key, which is a time; no index exists for this, and messages' states have none
//! (their updates would leave their page). A batch is chosen by reading, and chosen again under the lock of its
//! rows before it is deleted ([`choose`]). What would be repeated by its platform yet leaves a mark ([`hanging`]).

mod choose;
mod events;
pub(crate) mod hanging;
mod records;

use std::time::Duration;

use broca_core::{MessageId, Timestamp, clock::micros};
use serde::{Deserialize, Serialize};
use sqlx::types::Uuid;

use crate::{Store, StoreError, reading::fetch};

pub use self::{choose::Chosen, events::EventsStep};

/// How long what has ended is kept. `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RetentionPolicy {
    /// Messages, since the last that happened to them.
    pub messages: Option<Duration>,
    /// Dead letters that somebody resolved or replayed, since then.
    pub dead_letters: Option<Duration>,
    /// Dead letters that nobody dealt with, since they failed.
    pub open_dead_letters: Option<Duration>,
    /// So many messages at most; beyond that the oldest go, whatever their age, but no open dead letters.
    pub max_messages: Option<u64>,
    /// The steps of messages that have ended; with `None`, they go with their message.
    pub events: Option<Duration>,
    /// Replay plans and holds that are over, and codes that nobody approved.
    pub records: Option<Duration>,
    /// What operators did.
    pub audit: Option<Duration>,
    /// How long an event is known again after its message was accepted, though that is removed.
    pub dedupe: Duration,
}

/// The times of a policy, as they are at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Cuts {
    now: i64,
    messages: i64,
    dead_letters: i64,
    open_dead_letters: i64,
    /// Older events of messages that have ended go.
    own_events: i64,
    /// Older events that belong to no message go.
    other_events: i64,
    records: i64,
    audit: i64,
    dedupe: Duration,
    /// Messages from this id on are too young.
    below: Uuid,
    /// Messages below this id are too many.
    trim: Uuid,
}

/// How many rows went, or would go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Removed {
    pub messages: u64,
    /// Of the messages.
    pub dead_letters: u64,
    pub turns: u64,
    pub responses: u64,
    pub deliveries: u64,
    pub events: u64,
    pub replays: u64,
    pub closings: u64,
    pub plan_items: u64,
    pub outbox: u64,
    pub plans: u64,
    pub holds: u64,
    /// Marks of messages that were removed before.
    pub marks: u64,
    /// Lines of the audit log.
    pub acts: u64,
    /// Codes that strangers were given and nobody approved.
    pub codes: u64,
    /// Counts of what people said who were silent since.
    pub counters: u64,
}

impl Removed {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Each kind with its number.
    pub fn kinds(&self) -> [(&'static str, u64); 16] {
        [
            ("messages", self.messages),
            ("dead_letters", self.dead_letters),
            ("turns", self.turns),
            ("responses", self.responses),
            ("deliveries", self.deliveries),
            ("events", self.events),
            ("replays", self.replays),
            ("closings", self.closings),
            ("plan_items", self.plan_items),
            ("outbox", self.outbox),
            ("plans", self.plans),
            ("holds", self.holds),
            ("marks", self.marks),
            ("acts", self.acts),
            ("codes", self.codes),
            ("counters", self.counters),
        ]
    }
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, more: Self) {
        self.messages += more.messages;
        self.dead_letters += more.dead_letters;
        self.turns += more.turns;
        self.responses += more.responses;
        self.deliveries += more.deliveries;
        self.events += more.events;
        self.replays += more.replays;
        self.closings += more.closings;
        self.plan_items += more.plan_items;
        self.outbox += more.outbox;
        self.plans += more.plans;
        self.holds += more.holds;
        self.marks += more.marks;
        self.acts += more.acts;
        self.codes += more.codes;
        self.counters += more.counters;
    }
}

/// The id from which on there are `max` messages. Reads so many entries of the primary key.
pub(crate) const NEWEST: &str = "-- retention: the newest messages
SELECT id FROM messages ORDER BY id DESC LIMIT 1 OFFSET $1";

pub(crate) const OLDEST: &str = "-- retention: the oldest message
SELECT received_at FROM messages ORDER BY id LIMIT 1";

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Kept {
    pub messages: i64,
    pub events: i64,
    /// Dead letters that nobody dealt with.
    pub open_dead_letters: i64,
    /// Removed messages whose events are still known.
    pub marks: i64,
    pub oldest_message: Option<Timestamp>,
}

/// Reads every message and every event: for people.
pub(crate) const KEPT: &str = "-- retention: kept
SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM events), (SELECT count(*) FROM past_messages)";

impl Store {
    pub async fn kept(&self) -> Result<Kept, StoreError> {
        let (messages, events, marks) = fetch!(self, fetch_one, (i64, i64, i64), KEPT)?;
        let workload = self.workload().await?;
        Ok(Kept {
            messages,
            events,
            open_dead_letters: workload.failed_turns + workload.failed_deliveries,
            marks,
            oldest_message: self.oldest_message().await?,
        })
    }

    /// What a policy means now.
    pub async fn retention_cuts(&self, policy: &RetentionPolicy) -> Result<Cuts, StoreError> {
        let now = self.now().await?.micros();
        let before = |age: Option<Duration>| age.map_or(i64::MIN, |age| now.saturating_sub(micros(age)));
        let ages = [policy.messages, policy.dead_letters, policy.open_dead_letters];
        let young = ages.into_iter().flatten().min().map(|age| now.saturating_sub(micros(age)));
        let trim = match policy.max_messages {
            // The oldest one that may stay.
            Some(max) => match max.checked_sub(1) {
                Some(others) => self.newest_but(others).await?,
                None => Some(Uuid::max()),
            },
            None => None,
        }
        .unwrap_or_default();
        // An id below the floor was made at least a millisecond before.
        let floor = young.map_or(Uuid::nil(), |at| MessageId::floor_of(Timestamp(at.saturating_add(1_000))).0);
        Ok(Cuts {
            now,
            messages: before(policy.messages),
            dead_letters: before(policy.dead_letters),
            open_dead_letters: before(policy.open_dead_letters),
            own_events: before(policy.events),
            other_events: before(policy.events.or(policy.messages)),
            records: before(policy.records),
            audit: before(policy.audit),
            dedupe: policy.dedupe,
            below: floor.max(trim),
            trim,
        })
    }

    async fn newest_but(&self, others: u64) -> Result<Option<Uuid>, StoreError> {
        let others = i64::try_from(others).unwrap_or(i64::MAX);
        Ok(fetch!(self, fetch_optional, (Uuid,), NEWEST, others)?.map(|(id,)| id))
    }

    /// When the oldest message that is still there was accepted.
    pub async fn oldest_message(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(fetch!(self, fetch_optional, (i64,), OLDEST)?.map(|(at,)| Timestamp(at)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{choose, events, hanging, records};
    use crate::{export, forget::steps};

    /// Those that are run for every batch of old messages, of a person's and of the archive, on PostgreSQL and on SQLite: their plans are read with the hot ones'.
    pub(crate) fn statements() -> [[&'static str; 2]; 27] {
        let same = |statement| [statement, statement];
        [
            [choose::VERDICT_PG, choose::VERDICT_LITE],
            same(choose::WALK),
            [choose::LOCK, choose::WALK],
            same(events::WALK),
            [events::DELETE_PG, events::DELETE_LITE],
            same(records::MARKS),
            same(records::ACTS),
            [hanging::MARK_PG, hanging::MARK_LITE],
            hanging::ANSWERS,
            hanging::DELIVERIES,
            hanging::CLOSINGS,
            hanging::REPLAYS,
            hanging::PLAN_ITEMS,
            hanging::EVENTS,
            hanging::RESPONSES,
            hanging::HEIRS,
            same(hanging::HAND_ON),
            hanging::STOPS,
            hanging::MEMBERS,
            hanging::TURNS,
            hanging::OUTBOX,
            hanging::MESSAGES,
            same(steps::WAITING),
            same(steps::NEXT),
            steps::THESE,
            [steps::LOCK, steps::NEXT],
            same(export::PAGE),
        ]
    }

    /// The outbox is short, and read once for a batch.
    pub(crate) fn may_scan(statement: &str, scan: &str) -> bool {
        (statement == choose::VERDICT_PG || statement == choose::VERDICT_LITE || hanging::OUTBOX.contains(&statement))
            && scan.contains("outbox")
            // SQLite calls the batch that it has just looked up a scan.
            || statement == events::WALK && scan == "SCAN e"
            || statement == choose::VERDICT_LITE && scan == "SCAN c"
            || statement == export::PAGE && scan == "SCAN m"
    }
}
