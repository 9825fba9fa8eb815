//! Questions that people and operators ask. The SQL is the same for both databases.

use broca_core::{
    ConversationId, Instance, MessageId, Part, Receipt, ResponseId, Timestamp, TraceParent, TurnId, UserId,
    agent::FailureClass,
};
use sqlx::types::{Json, Uuid};

use crate::{
    Counts, HistoryLine, MessageRecord, ResponseRecord, Store, StoreError, TurnRecord,
    db::Db,
    decode::{budget, count, elapsed, files, parsed, trace},
    replay::replays_of,
    tx::{Tx, ask, snapshot},
};

/// Runs one query on either database.
macro_rules! fetch {
    ($store:expr, $method:ident, $row:ty, $sql:expr $(, $argument:expr)*) => {
        match &$store.db {
            crate::db::Db::Pg(pg) => sqlx::query_as::<_, $row>($sql)$(.bind($argument))*.$method(&pg.pool).await,
            crate::db::Db::Lite(lite) => sqlx::query_as::<_, $row>($sql)$(.bind($argument))*.$method(&lite.reader).await,
        }
    };
}
pub(crate) use fetch;

pub(crate) const MESSAGE: &str = "-- message
SELECT m.id, m.state, m.instance, m.platform, p.platform_user_id, p.user_id, m.conversation_id, m.seq, m.route, m.chat_id, m.is_group,
       c.agent, m.text, m.attempts, m.budget, m.trace, m.class, m.reason, m.received_at, m.finished_at, m.files
FROM messages m JOIN profiles p ON p.id = m.profile_id JOIN conversations c ON c.id = m.conversation_id
WHERE m.id = $1";

pub(crate) const OF_EVENT: &str = "-- message of an event
SELECT id FROM messages WHERE instance = $1 AND event_id = $2";

pub(crate) const BETWEEN: &str = "-- messages between
SELECT id FROM messages WHERE id >= $1 AND id <= $2 ORDER BY id LIMIT $3";

pub(crate) const TURNS: &str = "-- turns of a message
SELECT id, state, attempt, messages, worker, run, class, reason, started_at, finished_at
FROM turns WHERE message_id = $1
UNION ALL
SELECT t.id, t.state, s.attempt, t.messages, t.worker, t.run, t.class, t.reason, t.started_at, t.finished_at
FROM turn_messages s JOIN turns t ON t.id = s.turn_id AND t.message_id <> s.message_id WHERE s.message_id = $1
ORDER BY attempt";

/// Of joint turns too.
pub(crate) const ENDED_AS: &str = "-- an attempt that ended so
SELECT EXISTS (
    SELECT 1 FROM turns WHERE message_id = $1 AND attempt > $2 AND class = $3
    UNION ALL
    SELECT 1 FROM turn_messages s JOIN turns t ON t.id = s.turn_id
    WHERE s.message_id = $1 AND s.attempt > $2 AND t.class = $3)";

pub(crate) const ANSWERED_WITH: &str = "-- message that has the answer
SELECT r.message_id
FROM turn_messages s JOIN responses r ON r.turn_id = s.turn_id
WHERE s.message_id = $1 AND r.message_id <> s.message_id
ORDER BY r.created_at DESC LIMIT 1";

pub(crate) const RESPONSES: &str = "-- responses of a message
SELECT id, kind, state, attempts, text, receipt, parts, class, reason, created_at, finished_at
FROM responses WHERE message_id = $1 ORDER BY ord";

/// The latest ones; an unanswered message has one line.
pub(crate) const HISTORY: &str = "-- history
SELECT m.id, m.text, m.state, r.text AS answer, m.received_at
FROM (SELECT id, text, state, received_at, seq FROM messages
      WHERE profile_id = (SELECT id FROM profiles WHERE platform = $1 AND platform_user_id = $2)
      ORDER BY received_at DESC, seq DESC LIMIT $3) m
LEFT JOIN responses r ON r.message_id = m.id AND r.kind = 'answer'
ORDER BY m.received_at DESC, m.seq DESC, r.ord DESC LIMIT $3";

pub(crate) const MESSAGE_STATES: &str = "-- counts: messages
SELECT state, count(*) FROM messages GROUP BY state";
pub(crate) const RESPONSE_STATES: &str = "-- counts: answers
SELECT kind, state, count(*) FROM responses GROUP BY kind, state";
pub(crate) const TOTALS_PG: &str = "-- counts
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM conversations),
    (SELECT count(*) FROM conversations WHERE head < tail),
    (SELECT count(*) FROM conversations WHERE head < tail AND owner IS NOT NULL AND lease_until > broca_now()),
    (SELECT count(*) FROM outbox),
    (SELECT count(*) FROM holds h WHERE h.settled_at IS NULL AND h.released_at IS NULL AND h.kind = 'conversation' AND h.actor = 'broca'),
    (SELECT broca_now() - min(m.received_at) FROM conversations c
     JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head AND m.state IN ('received', 'processing')
     WHERE c.head < c.tail)";
pub(crate) const TOTALS_LITE: &str = concat!(
    "-- counts
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM conversations),
    (SELECT count(*) FROM conversations WHERE head < tail),
    (SELECT count(*) FROM conversations WHERE head < tail AND owner IS NOT NULL AND lease_until > ",
    crate::lite::now!(),
    "), (SELECT count(*) FROM outbox),
    (SELECT count(*) FROM holds h WHERE h.settled_at IS NULL AND h.released_at IS NULL AND h.kind = 'conversation' AND h.actor = 'broca'),
    (SELECT ",
    crate::lite::now!(),
    " - min(m.received_at) FROM conversations c
     JOIN messages m ON m.conversation_id = c.id AND m.seq > c.head AND m.state IN ('received', 'processing')
     WHERE c.head < c.tail)"
);

#[derive(sqlx::FromRow)]
struct Message {
    id: Uuid,
    state: String,
    instance: String,
    platform: String,
    platform_user_id: String,
    user_id: Uuid,
    conversation_id: Uuid,
    seq: i64,
    route: String,
    chat_id: Option<String>,
    is_group: bool,
    agent: String,
    text: String,
    attempts: i64,
    budget: Option<Json<serde_json::Value>>,
    trace: Option<String>,
    class: Option<String>,
    reason: Option<String>,
    received_at: i64,
    finished_at: Option<i64>,
    files: Option<Json<serde_json::Value>>,
}

#[derive(sqlx::FromRow)]
struct Turn {
    id: Uuid,
    state: String,
    attempt: i64,
    messages: i64,
    worker: String,
    run: Option<String>,
    class: Option<String>,
    reason: Option<String>,
    started_at: i64,
    finished_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Answer {
    id: Uuid,
    kind: String,
    state: String,
    attempts: i64,
    text: String,
    receipt: Option<Json<Receipt>>,
    parts: Option<Json<Vec<Part>>>,
    class: Option<String>,
    reason: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
}

impl Turn {
    fn record(self) -> Result<TurnRecord, StoreError> {
        Ok(TurnRecord {
            id: TurnId(self.id),
            state: parsed(&self.state)?,
            attempt: count(self.attempt)?,
            messages: count(self.messages)?,
            worker: self.worker,
            run: self.run,
            class: self.class,
            reason: self.reason,
            started_at: Timestamp(self.started_at),
            finished_at: self.finished_at.map(Timestamp),
        })
    }
}

impl Answer {
    fn record(self) -> Result<ResponseRecord, StoreError> {
        Ok(ResponseRecord {
            id: ResponseId(self.id),
            kind: parsed(&self.kind)?,
            state: parsed(&self.state)?,
            attempts: count(self.attempts)?,
            text: self.text,
            receipt: self.receipt.map(|receipt| receipt.0),
            parts: self.parts.map(|parts| parts.0).unwrap_or_default(),
            class: self.class,
            reason: self.reason,
            created_at: Timestamp(self.created_at),
            finished_at: self.finished_at.map(Timestamp),
        })
    }
}

impl Message {
    fn record(self, turns: Vec<TurnRecord>, responses: Vec<ResponseRecord>) -> Result<MessageRecord, StoreError> {
        Ok(MessageRecord {
            id: MessageId(self.id),
            state: parsed(&self.state)?,
            instance: parsed(&self.instance)?,
            platform: self.platform,
            platform_user_id: self.platform_user_id,
            user_id: UserId(self.user_id),
            conversation_id: ConversationId(self.conversation_id),
            seq: self.seq,
            route: self.route,
            chat_id: self.chat_id,
            is_group: self.is_group,
            agent: self.agent,
            text: self.text,
            files: self.files.map(files).unwrap_or_default(),
            attempts: count(self.attempts)?,
            budget: self.budget.and_then(budget),
            trace_id: trace(self.trace.as_deref()).map(TraceParent::trace_id),
            class: self.class,
            reason: self.reason,
            received_at: Timestamp(self.received_at),
            finished_at: self.finished_at.map(Timestamp),
            turns,
            responses,
            answered_with: None,
            replays: Vec::new(),
        })
    }
}

/// Reads it inside a snapshot.
pub(crate) async fn message(tx: &mut Tx<'_>, id: Uuid) -> Result<Option<MessageRecord>, StoreError> {
    let Some(message) = ask!(tx, fetch_optional, Message, MESSAGE, id)? else { return Ok(None) };
    let turns = ask!(tx, fetch_all, Turn, TURNS, id)?;
    let responses = ask!(tx, fetch_all, Answer, RESPONSES, id)?;
    let turns = turns.into_iter().map(Turn::record).collect::<Result<_, _>>()?;
    let responses = responses.into_iter().map(Answer::record).collect::<Result<Vec<_>, _>>()?;
    let replays = replays_of(tx, id).await?;
    let answered_with = match message.state.as_str() {
        "completed" if responses.is_empty() => ask!(tx, fetch_optional, (Uuid,), ANSWERED_WITH, id)?,
        _ => None,
    };
    let answered_with = answered_with.map(|(message,)| MessageId(message));
    Ok(Some(MessageRecord { replays, answered_with, ..message.record(turns, responses)? }))
}

impl Store {
    /// Whether an attempt of the message after that number ended with this class.
    pub async fn ended_as(&self, message: MessageId, after: u32, class: FailureClass) -> Result<bool, StoreError> {
        let (after, class) = (i64::from(after), class.as_str());
        Ok(fetch!(self, fetch_one, (bool,), ENDED_AS, message.0, after, class)?.0)
    }

    /// One message with all that happened to it; `None` when there is no such message.
    pub async fn message(&self, id: MessageId) -> Result<Option<MessageRecord>, StoreError> {
        snapshot!(self, message, id.0)
    }

    /// The message that was accepted as this event of this instance.
    pub async fn message_of_event(&self, instance: &Instance, event: &str) -> Result<Option<MessageId>, StoreError> {
        let row = fetch!(self, fetch_optional, (Uuid,), OF_EVENT, instance.as_str(), event)?;
        Ok(row.map(|(id,)| MessageId(id)))
    }

    /// The first messages whose ids lie in this range, at most `limit`.
    pub async fn messages_between(
        &self,
        first: MessageId,
        last: MessageId,
        limit: u32,
    ) -> Result<Vec<MessageId>, StoreError> {
        let rows = fetch!(self, fetch_all, (Uuid,), BETWEEN, first.0, last.0, i64::from(limit))?;
        Ok(rows.into_iter().map(|(id,)| MessageId(id)).collect())
    }

    /// The latest `limit` messages of a person on one platform, oldest first.
    pub async fn history(
        &self,
        platform: &str,
        platform_user_id: &str,
        limit: u32,
    ) -> Result<Vec<HistoryLine>, StoreError> {
        type Row = (Uuid, String, String, Option<String>, i64);
        let rows = fetch!(self, fetch_all, Row, HISTORY, platform, platform_user_id, i64::from(limit))?;
        let line = |(message, text, state, answer, received_at): Row| {
            Ok(HistoryLine {
                message: MessageId(message),
                text,
                state: parsed(&state)?,
                answer,
                received_at: Timestamp(received_at),
            })
        };
        rows.into_iter().rev().map(line).collect()
    }

    /// How much there is of everything. Reads every message: for people, not for every second.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        type Totals = (i64, i64, i64, i64, i64, i64, Option<i64>);
        let totals = match self.db {
            Db::Pg(_) => TOTALS_PG,
            Db::Lite(_) => TOTALS_LITE,
        };
        let answers = fetch!(self, fetch_all, (String, String, i64), RESPONSE_STATES)?;
        let (answers, notices): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(kind, ..)| kind == "answer");
        let of = |rows: Vec<(String, String, i64)>| rows.into_iter().map(|(_, state, n)| (state, n)).collect();
        let (users, conversations, pending_conversations, leased_conversations, outbox, quarantined, oldest) =
            fetch!(self, fetch_one, Totals, totals)?;
        Ok(Counts {
            messages: fetch!(self, fetch_all, (String, i64), MESSAGE_STATES)?.into_iter().collect(),
            responses: of(answers),
            notices: of(notices),
            users,
            conversations,
            pending_conversations,
            leased_conversations,
            quarantined_conversations: quarantined,
            outbox,
            oldest_open: oldest.map(elapsed),
        })
    }

    /// The workers that have a turn under way, by their lease names.
    pub async fn workers_in_turn(&self) -> Result<Vec<String>, StoreError> {
        const IN_TURN: &str = "-- workers in a turn\nSELECT DISTINCT worker FROM turns WHERE state = 'started'";
        let rows = fetch!(self, fetch_all, (String,), IN_TURN)?;
        Ok(rows.into_iter().map(|(worker,)| worker).collect())
    }

    /// How many turns are started and not ended.
    pub async fn turns_under_way(&self) -> Result<i64, StoreError> {
        const UNDER_WAY: &str = "-- turns under way\nSELECT count(*) FROM turns WHERE state = 'started'";
        let (count,) = fetch!(self, fetch_one, (i64,), UNDER_WAY)?;
        Ok(count)
    }

    /// The database's own name and version; an error when it does not answer.
    pub async fn ping(&self) -> Result<String, StoreError> {
        const VERSION_PG: &str = "SELECT 'PostgreSQL ' || current_setting('server_version')";
        const VERSION_LITE: &str = "SELECT 'SQLite ' || sqlite_version()";
        let sql = match self.db {
            Db::Pg(_) => VERSION_PG,
            Db::Lite(_) => VERSION_LITE,
        };
        let (version,) = fetch!(self, fetch_one, (String,), sql)?;
        Ok(version)
    }
}
