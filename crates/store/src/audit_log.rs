//! The audit log: who did what, why, and what came of it.
//!
//! A row is written before anything is done, so that no act is without one, and is told its end afterwards. A row that
//! stayed `begun` says that its process died in between: look at what it was about.

use broca_core::{ActId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::{Json, Uuid};

use crate::{
    Store, StoreError,
    decode::parsed,
    export::ids_of,
    reading::fetch,
    tx::{Tx, change, operation},
};

/// The way an operator came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    Cli,
    Mcp,
    Http,
    /// A command in a chat.
    Chat,
}

impl Via {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Mcp => "mcp",
            Self::Http => "http",
            Self::Chat => "chat",
        }
    }
}

impl std::str::FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Cli, Self::Mcp, Self::Http, Self::Chat]
            .into_iter()
            .find(|via| via.as_str() == text)
            .ok_or_else(|| format!("'{text}' is no way to act: use cli, mcp, http or chat"))
    }
}

/// How an act stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActOutcome {
    /// Under way, or its process died in the middle of it.
    Begun,
    Done,
    /// It ended with an error; some of it may have been done.
    Failed,
    /// The caller may not do it, and nothing was done.
    Refused,
}

impl ActOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

impl std::str::FromStr for ActOutcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Begun, Self::Done, Self::Failed, Self::Refused]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| format!("'{text}' is no outcome: use begun, done, failed or refused"))
    }
}

/// What somebody is about to do. Texts and secrets must be gone from the request.
#[derive(Clone, Debug)]
pub struct NewAct {
    pub id: ActId,
    pub actor: String,
    pub via: Via,
    pub operation: String,
    pub request: Value,
    pub reason: Option<String>,
    /// `begun`, or `refused` with the error.
    pub outcome: ActOutcome,
    pub error: Option<String>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct ActEnd {
    pub id: ActId,
    pub outcome: ActOutcome,
    pub error: Option<String>,
    /// What it was about, as it was and as it is.
    pub before: Option<Value>,
    pub after: Option<Value>,
    /// Ids of what it was about.
    pub subjects: Vec<String>,
}

/// One line of the audit log.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Act {
    pub id: ActId,
    pub at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub actor: String,
    pub via: Via,
    pub operation: String,
    /// Without texts and secrets.
    pub request: Value,
    pub reason: Option<String>,
    pub outcome: ActOutcome,
    pub error: Option<String>,
    pub before: Option<Value>,
    pub after: Option<Value>,
    /// Ids of what it was about, the first hundred.
    pub subjects: Vec<String>,
}

/// Which acts. Whatever is set must hold.
#[derive(Clone, Debug, Default)]
pub struct ActFilter {
    pub actor: Option<String>,
    pub via: Option<Via>,
    pub operation: Option<String>,
    pub outcome: Option<ActOutcome>,
    /// The id of something that it was about.
    pub subject: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Subjects that are kept of one act.
const SUBJECTS: usize = 100;

pub(crate) const BEGIN: &str = "-- audit log: begin
INSERT INTO audit_log (id, at, ended_at, actor, via, operation, request, reason, outcome, error, subjects)
VALUES ($1, $2, CASE WHEN $8 = 'begun' THEN NULL ELSE $2 END, $3, $4, $5, $6, $7, $8, $9, ' ')
ON CONFLICT (id) DO NOTHING";

pub(crate) const END: &str = "-- audit log: end
UPDATE audit_log SET ended_at = $2, outcome = $3, error = $4, before = $5, after = $6, subjects = $7
WHERE id = $1 AND outcome = 'begun'";

/// Newest first. The id is made just before the row, so its order is that of the acts.
pub(crate) const LIST: &str = "-- audit log
SELECT id, at, ended_at, actor, via, operation, request, reason, outcome, error, before, after, subjects
FROM audit_log
WHERE id < $1 AND id >= $10
  AND ($2 IS NULL OR actor = $2) AND ($3 IS NULL OR via = $3) AND ($4 IS NULL OR operation = $4)
  AND ($5 IS NULL OR outcome = $5) AND ($6 IS NULL OR subjects LIKE '% ' || $6 || ' %')
  AND ($7 IS NULL OR at >= $7) AND ($8 IS NULL OR at < $8)
ORDER BY id DESC LIMIT $9";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    at: i64,
    ended_at: Option<i64>,
    actor: String,
    via: String,
    operation: String,
    request: Json<Value>,
    reason: Option<String>,
    outcome: String,
    error: Option<String>,
    before: Option<Json<Value>>,
    after: Option<Json<Value>>,
    subjects: String,
}

impl Row {
    fn act(self) -> Result<Act, StoreError> {
        Ok(Act {
            id: ActId(self.id),
            at: Timestamp(self.at),
            ended_at: self.ended_at.map(Timestamp),
            actor: self.actor,
            via: parsed(&self.via)?,
            operation: self.operation,
            request: self.request.0,
            reason: self.reason,
            outcome: parsed(&self.outcome)?,
            error: self.error,
            before: self.before.map(|value| value.0),
            after: self.after.map(|value| value.0),
            subjects: self.subjects.split_whitespace().map(str::to_owned).collect(),
        })
    }
}

/// As the column has them.
pub(crate) fn about(subjects: &[String]) -> String {
    let kept: Vec<&str> = subjects.iter().map(String::as_str).take(SUBJECTS).collect();
    format!(" {} ", kept.join(" "))
}

async fn begin(tx: &mut Tx<'_>, act: &NewAct) -> Result<(), StoreError> {
    let (id, now, outcome) = (act.id.0, tx.now().await?, act.outcome.as_str());
    let (actor, via, operation) = (act.actor.as_str(), act.via.as_str(), act.operation.as_str());
    let (request, reason, error) = (Json(&act.request), act.reason.as_deref(), act.error.as_deref());
    change!(tx, BEGIN, id, now, actor, via, operation, request, reason, outcome, error)?;
    Ok(())
}

async fn end(tx: &mut Tx<'_>, end: &ActEnd) -> Result<(), StoreError> {
    let (now, outcome, error) = (tx.now().await?, end.outcome.as_str(), end.error.as_deref());
    let (before, after) = (end.before.as_ref().map(Json), end.after.as_ref().map(Json));
    let subjects = about(&end.subjects);
    change!(tx, END, end.id.0, now, outcome, error, before, after, subjects.as_str())?;
    Ok(())
}

operation!(BeginAct: NewAct => (), "begin act", begin);
operation!(EndAct: ActEnd => (), "end act", end);

impl Store {
    /// Writes down what is about to be done, or was refused.
    pub async fn begin_act(&self, act: NewAct) -> Result<(), StoreError> {
        self.once::<BeginAct>(act).await
    }

    /// Writes down how it ended. One that has ended stays as it is.
    pub async fn end_act(&self, end: ActEnd) -> Result<(), StoreError> {
        self.once::<EndAct>(end).await
    }

    /// The newest first, those before `before`.
    pub async fn acts(&self, filter: &ActFilter, before: Option<ActId>, limit: u32) -> Result<Vec<Act>, StoreError> {
        let ActFilter { actor, via, operation, outcome, subject, since, until } = filter;
        let (first, below) = ids_of(*since, *until);
        let rows = fetch!(
            self,
            fetch_all,
            Row,
            LIST,
            before.map_or(below, |id| id.0.min(below)),
            actor.as_deref(),
            via.map(Via::as_str),
            operation.as_deref(),
            outcome.map(ActOutcome::as_str),
            subject.as_deref(),
            since.map(Timestamp::micros),
            until.map(Timestamp::micros),
            i64::from(limit),
            first
        )?;
        rows.into_iter().map(Row::act).collect()
    }
}
