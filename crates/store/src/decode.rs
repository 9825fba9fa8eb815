//! From rows to the vocabulary. The rows are alike in both databases.

use std::{collections::HashMap, str::FromStr, time::Duration};

use broca_core::{
    ConversationId, Instance, KeptFile, MessageId, OutboxId, Part, Profile, ProfileId, Response, ResponseId, Timestamp,
    TraceParent, TurnId, UserId,
    agent::{Failure, FailureClass},
    retry::Budget,
};
use sqlx::types::{Json, Uuid};

use crate::{Claimed, Delivery, Dispatch, Lease, Owed, OwedKind, PendingMessage, Refused, StartedTurn, StoreError};

pub(crate) fn count(n: i64) -> Result<u32, StoreError> {
    u32::try_from(n).map_err(StoreError::unreadable)
}

pub(crate) fn elapsed(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

pub(crate) fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(StoreError::unreadable)
}

/// A trace is a help, not a fact: one that cannot be read is left out.
pub(crate) fn trace(text: Option<&str>) -> Option<TraceParent> {
    text.and_then(|text| text.parse().ok())
}

/// What a newer version knows of budgets must not keep an older one from answering.
pub(crate) fn budget(Json(written): Json<serde_json::Value>) -> Option<Budget> {
    serde_json::from_value(written).ok()
}

/// What a newer version knows of files must not keep an older one from answering: the text tells of them all.
pub(crate) fn files(Json(written): Json<serde_json::Value>) -> Vec<KeptFile> {
    serde_json::from_value(written).unwrap_or_default()
}

/// A pending message, its sender, and its open turn if it has one.
#[derive(sqlx::FromRow)]
pub(crate) struct PendingRow {
    conversation_id: Uuid,
    id: Uuid,
    seq: i64,
    attempts: i64,
    attempts_before: i64,
    instance: String,
    route: String,
    chat_id: Option<String>,
    is_group: bool,
    text: String,
    received_at: i64,
    replayed_at: Option<i64>,
    now: i64,
    trace: Option<String>,
    budget: Option<Json<serde_json::Value>>,
    urgent: bool,
    heard: bool,
    interrupted: i64,
    files: Option<Json<serde_json::Value>>,
    to_join: bool,
    profile_id: Uuid,
    user_id: Uuid,
    platform: String,
    platform_user_id: String,
    username: Option<String>,
    display_name: Option<String>,
    metadata: Json<serde_json::Value>,
    instructions: Option<String>,
    turn_id: Option<Uuid>,
    turn_messages: Option<i64>,
    turn_attempt: Option<i64>,
    run: Option<String>,
    run_seq: Option<i64>,
    turn_conversation: Option<String>,
    started_at: Option<i64>,
    kept_back: bool,
}

impl PendingRow {
    pub(crate) fn open_turn(&self) -> Result<Option<StartedTurn>, StoreError> {
        let (Some(id), Some(started_at)) = (self.turn_id, self.started_at) else { return Ok(None) };
        Ok(Some(StartedTurn {
            id: TurnId(id),
            message: MessageId(self.id),
            messages: count(self.turn_messages.unwrap_or(1))?,
            attempt: count(self.turn_attempt.unwrap_or(0))?,
            run: self.run.clone(),
            run_seq: self.run_seq.unwrap_or(0),
            agent_conversation: self.turn_conversation.clone(),
            started_at: Timestamp(started_at),
            age: elapsed(self.now - started_at),
        }))
    }

    pub(crate) fn message(self) -> Result<PendingMessage, StoreError> {
        Ok(PendingMessage {
            id: MessageId(self.id),
            seq: self.seq,
            attempts: count(self.attempts)?,
            attempts_before: count(self.attempts_before)?,
            instance: parsed::<Instance>(&self.instance)?,
            route: self.route,
            chat_id: self.chat_id,
            is_group: self.is_group,
            text: self.text,
            profile: Profile {
                id: ProfileId(self.profile_id),
                user_id: UserId(self.user_id),
                platform: self.platform,
                platform_user_id: self.platform_user_id,
                username: self.username,
                display_name: self.display_name,
                metadata: self.metadata.0,
            },
            instructions: self.instructions,
            received_at: Timestamp(self.received_at),
            age: elapsed(self.now - self.replayed_at.unwrap_or(self.received_at)),
            read_at: std::time::Instant::now(),
            trace: trace(self.trace.as_deref()),
            budget: self.budget.and_then(budget),
            urgent: self.urgent,
            replayed: self.replayed_at.is_some(),
            to_join: self.to_join,
            heard: self.heard,
            interrupted: count(self.interrupted)?,
            files: self.files.map(files).unwrap_or_default(),
        })
    }
}

/// The pending messages of several conversations, each in its order.
#[derive(Default)]
pub(crate) struct Pages(HashMap<Uuid, Vec<PendingRow>>);

impl Pages {
    pub(crate) fn of(rows: Vec<PendingRow>) -> Self {
        let mut pages = Self::default();
        for row in rows {
            pages.0.entry(row.conversation_id).or_default().push(row);
        }
        pages
    }

    /// The conversations of which something is kept back by a hold.
    pub(crate) fn kept_back(&self) -> Vec<Uuid> {
        let any = |rows: &Vec<PendingRow>| rows.iter().any(|row| row.kept_back);
        self.0.iter().filter(|(_, rows)| any(rows)).map(|(conversation, _)| *conversation).collect()
    }

    /// A page ends before the first message that is kept back: whatever is behind it has to wait until that one is out
    /// of the way.
    pub(crate) fn cut(&mut self) {
        for rows in self.0.values_mut() {
            if let Some(end) = rows.iter().position(|row| row.kept_back) {
                rows.truncate(end);
            }
        }
    }

    /// Fills in what a claimed conversation has pending.
    pub(crate) fn fill(&mut self, mut lease: Lease) -> Result<Claimed, StoreError> {
        let first = self.0.get(&lease.conversation.0).and_then(|rows| rows.first());
        lease.open_turn = first.map(PendingRow::open_turn).transpose()?.flatten();
        lease.pending = self.take(lease.conversation.0)?;
        Ok(Claimed::Held(Box::new(lease)))
    }

    /// What a conversation has pending, in order.
    pub(crate) fn take(&mut self, conversation: Uuid) -> Result<Vec<PendingMessage>, StoreError> {
        self.0.remove(&conversation).unwrap_or_default().into_iter().map(PendingRow::message).collect()
    }
}

/// What an outbox row says of a dead letter.
#[derive(serde::Deserialize)]
struct Detail {
    stage: String,
    class: String,
    reason: String,
    attempts: u32,
}

/// An owed publish, joined with what it is about.
#[derive(sqlx::FromRow)]
pub(crate) struct OwedRow {
    id: Uuid,
    kind: String,
    instance: String,
    message_id: Uuid,
    conversation_id: Uuid,
    response_id: Option<Uuid>,
    detail: Option<Json<serde_json::Value>>,
    created_at: i64,
    text: String,
    trace: Option<String>,
}

impl OwedRow {
    pub(crate) fn owed(self) -> Result<Owed, StoreError> {
        let what = match (self.kind.as_str(), self.response_id, self.detail) {
            ("wake", _, _) => OwedKind::Wake,
            ("response", Some(response), _) => OwedKind::Response(ResponseId(response)),
            ("dead_letter", _, Some(Json(detail))) => {
                let Detail { stage, class, reason, attempts } =
                    serde_json::from_value(detail).map_err(StoreError::unreadable)?;
                OwedKind::DeadLetter { stage, class, reason, attempts }
            }
            (kind, _, _) => return Err(StoreError::Unreadable(format!("outbox row {} of kind '{kind}'", self.id))),
        };
        Ok(Owed {
            id: OutboxId(self.id),
            what,
            instance: parsed(&self.instance)?,
            message: MessageId(self.message_id),
            conversation: ConversationId(self.conversation_id),
            text: self.text,
            trace: trace(self.trace.as_deref()),
            at: Timestamp(self.created_at),
        })
    }
}

/// A response that somebody wants to deliver, with the verdict on that.
#[derive(sqlx::FromRow)]
pub(crate) struct DeliveryRow {
    pub(crate) n: i64,
    verdict: String,
    state: String,
    until: i64,
    now: i64,
    id: Uuid,
    kind: String,
    message_id: Uuid,
    text: String,
    attempts: i64,
    attempts_before: i64,
    parts: Option<Json<Vec<Part>>>,
    created_at: i64,
    replayed_at: Option<i64>,
    received_at: i64,
    asked_again_at: Option<i64>,
    chat_id: Option<String>,
    attributes: Json<serde_json::Value>,
    trace: Option<String>,
    profile_id: Uuid,
    user_id: Uuid,
    platform: String,
    platform_user_id: String,
    username: Option<String>,
    display_name: Option<String>,
    metadata: Json<serde_json::Value>,
    refused_class: Option<String>,
    refused_reason: Option<String>,
    refused_since: Option<i64>,
}

impl DeliveryRow {
    /// `attempts` is the number of the attempt that a `go` starts or a `settle` continues.
    pub(crate) fn delivery(self) -> Result<Delivery, StoreError> {
        Ok(match self.verdict.as_str() {
            "over" => Delivery::Over(parsed(&self.state)?),
            "behind" => Delivery::Behind,
            "wait" => Delivery::Wait { until: Timestamp(self.until) },
            "on_hold" => Delivery::OnHold { until: Some(self.until).filter(|until| *until < i64::MAX).map(Timestamp) },
            "go" => Delivery::Go(Box::new(self.dispatch()?)),
            "settle" => Delivery::Settle(Box::new(self.dispatch()?)),
            other => return Err(StoreError::Unreadable(format!("verdict '{other}' on response {}", self.id))),
        })
    }

    fn refused(&self) -> Option<Refused> {
        let (class, reason) = (self.refused_class.as_deref()?, self.refused_reason.clone()?);
        // Only a newer version's class is none of these; the target is as dead.
        let class = FailureClass::ALL.iter().copied().find(|known| known.as_str() == class);
        let failure = Failure::new(class.unwrap_or(FailureClass::Rejected), reason);
        Some(Refused { failure, since: Timestamp(self.refused_since?) })
    }

    fn dispatch(self) -> Result<Dispatch, StoreError> {
        let asked_at = [self.asked_again_at, self.replayed_at].into_iter().flatten().fold(self.received_at, i64::max);
        Ok(Dispatch {
            refused: self.refused(),
            response: Response {
                id: ResponseId(self.id),
                kind: parsed(&self.kind)?,
                text: self.text,
                chat_id: self.chat_id,
                attributes: self.attributes.0,
                attempt: count(self.attempts)?,
                parts: self.parts.map(|parts| parts.0).unwrap_or_default(),
                trace: trace(self.trace.as_deref()),
            },
            profile: Profile {
                id: ProfileId(self.profile_id),
                user_id: UserId(self.user_id),
                platform: self.platform,
                platform_user_id: self.platform_user_id,
                username: self.username,
                display_name: self.display_name,
                metadata: self.metadata.0,
            },
            message: MessageId(self.message_id),
            attempts_before: count(self.attempts_before)?,
            age: elapsed(self.now - self.replayed_at.unwrap_or(self.created_at)),
            waited: elapsed(self.now - asked_at),
            read_at: std::time::Instant::now(),
        })
    }
}
