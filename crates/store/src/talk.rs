//! Conversations as people look at them: what was said in one, those with work, and the turns under way.

use std::collections::HashMap;

use broca_core::{
    ConversationId, Instance, MessageId, MessageState, ResponseId, ResponseKind, ResponseState, Timestamp, TurnId,
};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    decode::{count, parsed},
    lite::{batch, hex},
    operation::column,
    tx::{Tx, ask, snapshot},
};

/// A conversation, and who has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Conversation {
    pub id: ConversationId,
    pub agent: String,
    pub scope: String,
    /// The agent's own id of it.
    pub agent_conversation: Option<String>,
    /// The worker that holds it, and until when.
    pub owner: Option<String>,
    pub lease_until: Option<Timestamp>,
    pub epoch: i64,
    /// Nothing is attempted before then.
    pub not_before: Option<Timestamp>,
    /// What it was parked for: `endpoint`, `slot`, `agent`.
    pub parked: Option<String>,
    /// Places from the first pending message to the last: how many wait, at most.
    pub waiting: i64,
    pub created_at: Timestamp,
}

/// A conversation with work, and the first message that waits in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct BusyConversation {
    #[serde(flatten)]
    pub conversation: Conversation,
    pub first: Option<FirstWaiting>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct FirstWaiting {
    pub message_id: MessageId,
    pub instance: Instance,
    pub state: MessageState,
    /// Accepted, or last replayed.
    pub since: Timestamp,
}

/// A message of a conversation, with what was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TalkLine {
    pub message_id: MessageId,
    /// Its place.
    pub seq: i64,
    pub instance: Instance,
    pub platform: String,
    pub platform_user_id: String,
    pub display_name: Option<String>,
    pub state: MessageState,
    pub text: String,
    pub attempts: u32,
    pub class: Option<String>,
    pub reason: Option<String>,
    pub received_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// In the order of their delivery.
    pub answers: Vec<TalkAnswer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TalkAnswer {
    pub response_id: ResponseId,
    pub kind: ResponseKind,
    pub state: ResponseState,
    pub text: String,
    pub attempts: u32,
    pub class: Option<String>,
    pub reason: Option<String>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// A page of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talk {
    pub conversation: Conversation,
    /// The last places first.
    pub items: Vec<TalkLine>,
    /// Where the next page goes on; `None` when this is the last one.
    pub next: Option<i64>,
}

/// A turn that was begun and has not ended, and the lease that it runs under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TurnUnderWay {
    pub turn_id: TurnId,
    pub worker: String,
    pub agent: String,
    pub conversation_id: ConversationId,
    /// The first, where it says several.
    pub message_id: MessageId,
    pub attempt: u32,
    pub messages: u32,
    pub started_at: Timestamp,
    /// Who holds the conversation: another one, while a turn is taken over.
    pub owner: Option<String>,
    pub epoch: i64,
    pub lease_until: Timestamp,
}

macro_rules! conversations {
    ($name:literal, $rest:literal) => {
        concat!(
            $name,
            "\nSELECT c.id, c.agent, c.scope_key, c.agent_conversation, c.owner, c.lease_until, c.epoch, c.not_before, c.parked,
       c.tail - c.head AS waiting, c.created_at
FROM conversations c ",
            $rest
        )
    };
}

pub(crate) const ONE: &str = conversations!("-- conversation", "WHERE c.id = $1");

/// By the index of those with work.
pub(crate) const BUSY: &str =
    conversations!("-- conversations with work", "WHERE c.head < c.tail ORDER BY c.wake_at LIMIT $1");

pub(crate) const FIRST: &str = "-- conversation: first that waits
SELECT m.id, m.instance, m.state, COALESCE(m.replayed_at, m.received_at)
FROM conversations c JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head
WHERE c.id = $1 AND m.state IN ('received', 'processing') ORDER BY m.seq LIMIT 1";

pub(crate) const LINES: &str = "-- conversation: messages
SELECT m.id, m.seq, m.instance, m.platform, p.platform_user_id, p.display_name, m.state, m.text, m.attempts, m.class, m.reason,
       m.received_at, m.finished_at
FROM messages m JOIN profiles p ON p.id = m.profile_id
WHERE m.conversation_id = $1 AND m.seq < $2 ORDER BY m.seq DESC LIMIT $3";

macro_rules! answers {
    ($which:literal) => {
        concat!(
            "-- conversation: answers
SELECT message_id, id, kind, state, text, attempts, class, reason, created_at, finished_at
FROM responses WHERE message_id ",
            $which,
            " ORDER BY ord"
        )
    };
}

pub(crate) const ANSWERS_PG: &str = answers!("= ANY ($1)");
pub(crate) const ANSWERS_LITE: &str = answers!("IN (SELECT unhex(value) FROM json_each($1))");

pub(crate) const TURNS: &str = "-- turns under way
SELECT t.id, t.worker, c.agent, t.conversation_id, t.message_id, t.attempt, t.messages, t.started_at, c.owner, c.epoch, c.lease_until
FROM turns t JOIN conversations c ON c.id = t.conversation_id
WHERE t.state = 'started' ORDER BY t.started_at LIMIT $1";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    agent: String,
    scope_key: String,
    agent_conversation: Option<String>,
    owner: Option<String>,
    lease_until: i64,
    epoch: i64,
    not_before: i64,
    parked: Option<String>,
    waiting: i64,
    created_at: i64,
}

impl Row {
    fn conversation(self, now: i64) -> Conversation {
        let held = self.lease_until > now;
        Conversation {
            id: ConversationId(self.id),
            agent: self.agent,
            scope: self.scope_key,
            agent_conversation: self.agent_conversation,
            owner: self.owner.filter(|_| held),
            lease_until: held.then_some(Timestamp(self.lease_until)),
            epoch: self.epoch,
            not_before: Some(self.not_before).filter(|at| *at > now).map(Timestamp),
            parked: self.parked,
            waiting: self.waiting,
            created_at: Timestamp(self.created_at),
        }
    }
}

#[derive(sqlx::FromRow)]
struct LineRow {
    id: Uuid,
    seq: i64,
    instance: String,
    platform: String,
    platform_user_id: String,
    display_name: Option<String>,
    state: String,
    text: String,
    attempts: i64,
    class: Option<String>,
    reason: Option<String>,
    received_at: i64,
    finished_at: Option<i64>,
}

impl LineRow {
    fn line(self, answers: Vec<TalkAnswer>) -> Result<TalkLine, StoreError> {
        Ok(TalkLine {
            message_id: MessageId(self.id),
            seq: self.seq,
            instance: parsed(&self.instance)?,
            platform: self.platform,
            platform_user_id: self.platform_user_id,
            display_name: self.display_name,
            state: parsed(&self.state)?,
            text: self.text,
            attempts: count(self.attempts)?,
            class: self.class,
            reason: self.reason,
            received_at: Timestamp(self.received_at),
            finished_at: self.finished_at.map(Timestamp),
            answers,
        })
    }
}

#[derive(sqlx::FromRow)]
struct AnswerRow {
    message_id: Uuid,
    id: Uuid,
    kind: String,
    state: String,
    text: String,
    attempts: i64,
    class: Option<String>,
    reason: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
}

impl AnswerRow {
    fn answer(self) -> Result<TalkAnswer, StoreError> {
        Ok(TalkAnswer {
            response_id: ResponseId(self.id),
            kind: parsed(&self.kind)?,
            state: parsed(&self.state)?,
            text: self.text,
            attempts: count(self.attempts)?,
            class: self.class,
            reason: self.reason,
            created_at: Timestamp(self.created_at),
            finished_at: self.finished_at.map(Timestamp),
        })
    }
}

async fn answers(tx: &mut Tx<'_>, of: &[LineRow]) -> Result<HashMap<Uuid, Vec<TalkAnswer>>, StoreError> {
    let rows: Vec<AnswerRow> = match tx {
        Tx::Pg(conn) => sqlx::query_as(ANSWERS_PG).bind(column(of, |line| line.id)).fetch_all(&mut **conn).await?,
        Tx::Lite(conn) => {
            let ids = batch(of, |line| serde_json::json!(hex(line.id)));
            sqlx::query_as(ANSWERS_LITE).bind(ids).fetch_all(&mut **conn).await?
        }
    };
    let mut answers: HashMap<Uuid, Vec<TalkAnswer>> = HashMap::new();
    for row in rows {
        answers.entry(row.message_id).or_default().push(row.answer()?);
    }
    Ok(answers)
}

async fn talk(
    tx: &mut Tx<'_>,
    id: ConversationId,
    before: Option<i64>,
    limit: u32,
) -> Result<Option<Talk>, StoreError> {
    let now = tx.now().await?;
    let Some(row) = ask!(tx, fetch_optional, Row, ONE, id.0)? else { return Ok(None) };
    let before = before.unwrap_or(i64::MAX);
    let mut lines = ask!(tx, fetch_all, LineRow, LINES, id.0, before, i64::from(limit) + 1)?;
    let more = lines.len() > limit as usize;
    lines.truncate(limit as usize);
    let next = lines.last().filter(|_| more).map(|line| line.seq);
    let mut answers = answers(tx, &lines).await?;
    let line = |row: LineRow| {
        let answers = answers.remove(&row.id).unwrap_or_default();
        row.line(answers)
    };
    let items = lines.into_iter().map(line).collect::<Result<_, _>>()?;
    Ok(Some(Talk { conversation: row.conversation(now), items, next }))
}

async fn busy(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<BusyConversation>, StoreError> {
    let now = tx.now().await?;
    let rows = ask!(tx, fetch_all, Row, BUSY, i64::from(limit))?;
    let mut busy = Vec::with_capacity(rows.len());
    for row in rows {
        let first = ask!(tx, fetch_optional, (Uuid, String, String, i64), FIRST, row.id)?;
        let first = first.map(|(id, instance, state, since)| {
            let (instance, state) = (parsed(&instance)?, parsed(&state)?);
            Ok::<_, StoreError>(FirstWaiting { message_id: MessageId(id), instance, state, since: Timestamp(since) })
        });
        busy.push(BusyConversation { conversation: row.conversation(now), first: first.transpose()? });
    }
    Ok(busy)
}

async fn turns(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<TurnUnderWay>, StoreError> {
    type Row = (Uuid, String, String, Uuid, Uuid, i64, i64, i64, Option<String>, i64, i64);
    let turn = |(id, worker, agent, conversation, message, attempt, messages, started, owner, epoch, until): Row| {
        Ok(TurnUnderWay {
            turn_id: TurnId(id),
            worker,
            agent,
            conversation_id: ConversationId(conversation),
            message_id: MessageId(message),
            attempt: count(attempt)?,
            messages: count(messages)?,
            started_at: Timestamp(started),
            owner,
            epoch,
            lease_until: Timestamp(until),
        })
    };
    ask!(tx, fetch_all, Row, TURNS, i64::from(limit))?.into_iter().map(turn).collect()
}

impl Store {
    /// A conversation and the last of what was said in it, before the place `before`; `None` when there is none of that id.
    pub async fn talk(&self, id: ConversationId, before: Option<i64>, limit: u32) -> Result<Option<Talk>, StoreError> {
        snapshot!(self, talk, id, before, limit)
    }

    /// Conversations with work, at most `limit`, those first that are looked at first.
    pub async fn busy_conversations(&self, limit: u32) -> Result<Vec<BusyConversation>, StoreError> {
        snapshot!(self, busy, limit)
    }

    /// The turns under way, the oldest first, at most `limit`.
    pub async fn turns_now(&self, limit: u32) -> Result<Vec<TurnUnderWay>, StoreError> {
        snapshot!(self, turns, limit)
    }
}
