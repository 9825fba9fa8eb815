//! Live settings, as far as SQL has to do with them: the record of their changes, and which of them are in force where.
//! The values themselves are in the broker's bucket.

use std::{fmt, str::FromStr, time::Duration};

use broca_core::{ChangeId, ConversationId, EventKind, MessageId, Timestamp, WorkerId, clock::micros};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::types::{Json, Uuid};

use crate::{
    Store, StoreError,
    decode::parsed,
    journal::{Event, note},
    reading::fetch,
    tx::{Tx, ask, change, operation},
};

/// Whoever gave no sign for so long is gone.
const SILENCE: Duration = Duration::from_secs(120);

/// What somebody is about to change.
#[derive(Clone, Debug)]
pub struct NewLiveChange {
    pub id: ChangeId,
    /// The bucket's key.
    pub key: String,
    pub actor: String,
    /// What from what to what, as it may be shown.
    pub changes: Value,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was cut off; the bucket tells whether it came that far.
    Proposed,
    Written,
    /// The bucket did not take it.
    Refused,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Written => "written",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Proposed, Self::Written, Self::Refused];
        all.into_iter().find(|outcome| outcome.as_str() == text).ok_or_else(|| format!("'{text}' is no outcome"))
    }
}

/// One change of the record.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct LiveChange {
    pub id: ChangeId,
    pub key: String,
    pub at: Timestamp,
    pub actor: String,
    pub changes: Value,
    pub outcome: Outcome,
    pub revision: Option<u64>,
}

/// What a process has in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Applied {
    pub process: String,
    /// 0 is none.
    pub revision: u64,
    /// The newest that it knows, whether it is in force or not.
    pub newest: u64,
    /// Why a newer revision is not in force.
    pub problem: Option<String>,
    pub seen_at: Timestamp,
}

/// A message is about to be handled in a mode that is not the configured one.
#[derive(Clone, Debug)]
pub struct SetMode {
    pub message: MessageId,
    pub conversation: ConversationId,
    pub epoch: i64,
    pub worker: WorkerId,
    /// Of the turn that is about to begin, if one is.
    pub attempt: u32,
    pub mode: &'static str,
    /// What it was set for.
    pub of: String,
}

pub(crate) const PROPOSE: &str = "-- settings: propose
INSERT INTO settings_changes (id, key, at, actor, changes, outcome) VALUES ($1, $2, $3, $4, $5, 'proposed')";

pub(crate) const END: &str = "-- settings: end
UPDATE settings_changes SET outcome = $2, revision = $3 WHERE id = $1 AND outcome = 'proposed'";

pub(crate) const CHANGES: &str = "-- settings: changes
SELECT id, key, at, actor, changes, outcome, revision FROM settings_changes
WHERE key = $1 ORDER BY at DESC LIMIT $2";

pub(crate) const APPLY: &str = "-- settings: applied
INSERT INTO settings_applied (key, process, revision, newest, problem, seen_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (key, process) DO UPDATE
SET revision = EXCLUDED.revision, newest = EXCLUDED.newest, problem = EXCLUDED.problem, seen_at = EXCLUDED.seen_at";

pub(crate) const GONE: &str = "-- settings: gone
DELETE FROM settings_applied WHERE key = $1 AND (process = $2 OR seen_at < $3)";

pub(crate) const APPLIED: &str = "-- settings: in force
SELECT process, revision, newest, problem, seen_at FROM settings_applied
WHERE key = $1 AND seen_at >= $2 ORDER BY process";

pub(crate) const KEEP: &str = "-- settings: keep
INSERT INTO settings_good AS g (key, revision, value) VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET revision = EXCLUDED.revision, value = EXCLUDED.value";

pub(crate) const GOOD: &str = "-- settings: good
SELECT revision, value FROM settings_good WHERE key = $1";

pub(crate) const HOLDS: &str = "-- set mode: look
SELECT 1 FROM conversations WHERE id = $1 AND epoch = $2 AND owner IS NOT NULL";

#[derive(sqlx::FromRow)]
struct ChangeRow {
    id: Uuid,
    key: String,
    at: i64,
    actor: String,
    changes: Json<Value>,
    outcome: String,
    revision: Option<i64>,
}

impl ChangeRow {
    fn change(self) -> Result<LiveChange, StoreError> {
        Ok(LiveChange {
            id: ChangeId(self.id),
            key: self.key,
            at: Timestamp(self.at),
            actor: self.actor,
            changes: self.changes.0,
            outcome: parsed(&self.outcome)?,
            revision: self.revision.map(number).transpose()?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct AppliedRow {
    process: String,
    revision: i64,
    newest: i64,
    problem: Option<String>,
    seen_at: i64,
}

fn number(revision: i64) -> Result<u64, StoreError> {
    u64::try_from(revision).map_err(|_| StoreError::Unreadable(format!("{revision} is no revision")))
}

fn column(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

async fn propose(tx: &mut Tx<'_>, new: &NewLiveChange) -> Result<Timestamp, StoreError> {
    let now = tx.now().await?;
    change!(tx, PROPOSE, new.id.0, new.key.as_str(), now, new.actor.as_str(), Json(&new.changes))?;
    Ok(Timestamp(now))
}

type Ended = (ChangeId, Outcome, Option<u64>);

async fn end(tx: &mut Tx<'_>, (id, outcome, revision): &Ended) -> Result<(), StoreError> {
    change!(tx, END, id.0, outcome.as_str(), revision.map(column))?;
    Ok(())
}

#[derive(Clone, Debug)]
pub(crate) struct Sign {
    key: String,
    process: String,
    /// `None` takes leave.
    applied: Option<(u64, u64, Option<String>)>,
}

async fn sign(tx: &mut Tx<'_>, sign: &Sign) -> Result<(), StoreError> {
    let now = tx.now().await?;
    let (key, process) = (sign.key.as_str(), sign.process.as_str());
    change!(tx, GONE, key, process, now.saturating_sub(micros(SILENCE)))?;
    if let Some((revision, newest, problem)) = &sign.applied {
        change!(tx, APPLY, key, process, column(*revision), column(*newest), problem.as_deref(), now)?;
    }
    Ok(())
}

async fn in_force(tx: &mut Tx<'_>, key: &str) -> Result<Vec<Applied>, StoreError> {
    let since = tx.now().await?.saturating_sub(micros(SILENCE));
    let rows = ask!(tx, fetch_all, AppliedRow, APPLIED, key, since)?;
    let applied = |row: AppliedRow| {
        let (process, problem, seen_at) = (row.process, row.problem, Timestamp(row.seen_at));
        let (revision, newest) = (number(row.revision)?, number(row.newest)?);
        Ok(Applied { process, revision, newest, problem, seen_at })
    };
    rows.into_iter().map(applied).collect()
}

type Good = (String, u64, Value);

async fn keep(tx: &mut Tx<'_>, (key, revision, value): &Good) -> Result<(), StoreError> {
    change!(tx, KEEP, key.as_str(), column(*revision), Json(value))?;
    Ok(())
}

async fn set_mode(tx: &mut Tx<'_>, set: &SetMode) -> Result<bool, StoreError> {
    let held = ask!(tx, fetch_optional, (i32,), HOLDS, set.conversation.0, set.epoch)?.is_some();
    if held {
        let event = Event::new(EventKind::ModeSet, tx.now().await?).message(set.message.0);
        let detail = json!({"mode": set.mode, "of": set.of, "attempt": set.attempt});
        note(tx, &event.actor(set.worker.as_str()).epoch(set.epoch).detail(detail)).await?;
    }
    Ok(held)
}

operation!(ProposeChange: NewLiveChange => Timestamp, "settings: propose", propose);
operation!(EndChange: Ended => (), "settings: end", end);
operation!(GiveSign: Sign => (), "settings: applied", sign);
operation!(InForce: String => Vec<Applied>, "settings: in force", in_force);
operation!(KeepGood: Good => (), "settings: keep", keep);
operation!(NoteMode: SetMode => bool, "set mode", set_mode);

impl Store {
    /// Records a change before the bucket is written; says when that was. [`Self::end_change`] says what became of it.
    pub async fn propose_change(&self, change: NewLiveChange) -> Result<Timestamp, StoreError> {
        self.once::<ProposeChange>(change).await
    }

    /// What became of a change; once.
    pub async fn end_change(&self, id: ChangeId, outcome: Outcome, revision: Option<u64>) -> Result<(), StoreError> {
        self.once::<EndChange>((id, outcome, revision)).await
    }

    /// The changes of a key of the bucket, newest first.
    pub async fn live_changes(&self, key: &str, limit: u32) -> Result<Vec<LiveChange>, StoreError> {
        let rows = fetch!(self, fetch_all, ChangeRow, CHANGES, key, i64::from(limit))?;
        rows.into_iter().map(ChangeRow::change).collect()
    }

    /// A process says which revision it has in force and which is the newest that it knows, and that it is there.
    pub async fn live_applied(
        &self,
        key: &str,
        process: &WorkerId,
        (revision, newest): (u64, u64),
        problem: Option<&str>,
    ) -> Result<(), StoreError> {
        let applied = Some((revision, newest, problem.map(str::to_owned)));
        self.once::<GiveSign>(Sign { key: key.to_owned(), process: process.as_str().to_owned(), applied }).await
    }

    /// A process is no more.
    pub async fn live_gone(&self, key: &str, process: &WorkerId) -> Result<(), StoreError> {
        self.once::<GiveSign>(Sign { key: key.to_owned(), process: process.as_str().to_owned(), applied: None }).await
    }

    /// What the processes that gave a sign of late have in force.
    pub async fn live_in_force(&self, key: &str) -> Result<Vec<Applied>, StoreError> {
        self.once::<InForce>(key.to_owned()).await
    }

    /// Keeps settings that a process has in force, for when newer ones do not do. References in place of secrets only.
    pub async fn keep_good(&self, key: &str, revision: u64, value: Value) -> Result<(), StoreError> {
        self.once::<KeepGood>((key.to_owned(), revision, value)).await
    }

    /// The last that were kept.
    pub async fn last_good(&self, key: &str) -> Result<Option<(u64, Value)>, StoreError> {
        let row = fetch!(self, fetch_optional, (i64, Json<Value>), GOOD, key)?;
        row.map(|(revision, Json(value))| Ok((number(revision)?, value))).transpose()
    }

    /// The mode in which an attempt at a message was begun, if it was not the configured one.
    pub async fn mode_of_attempt(&self, message: MessageId, attempt: u32) -> Result<Option<String>, StoreError> {
        const PG: &str = "-- mode of an attempt
SELECT detail ->> 'mode' FROM events
WHERE message_id = $1 AND kind = 'mode_set' AND (detail ->> 'attempt')::bigint = $2 ORDER BY id DESC LIMIT 1";
        const LITE: &str = "-- mode of an attempt
SELECT detail ->> 'mode' FROM events
WHERE message_id = $1 AND kind = 'mode_set' AND detail ->> 'attempt' = $2 ORDER BY id DESC LIMIT 1";
        let sql = if matches!(self.db, crate::db::Db::Pg(_)) { PG } else { LITE };
        let row = fetch!(self, fetch_optional, (String,), sql, message.0, i64::from(attempt))?;
        Ok(row.map(|(mode,)| mode))
    }

    /// Notes in a message's journey that it is handled in a mode that is not the configured one; `false` when the lease
    /// is lost.
    pub async fn note_mode(&self, set: SetMode) -> Result<bool, StoreError> {
        self.once::<NoteMode>(set).await
    }
}
