//! The end of work on a message: the turn, the message, the answer, the lease and the owed publish in one transaction.

use std::collections::HashSet;

use broca_core::{EventKind, HoldId, MessageState};
use serde_json::{Value, json};
use sqlx::{SqliteConnection, types::Uuid};

use super::{batch, hex, lane, now_micros, write};
use crate::{
    Fenced, Finish, Finished, StoreError,
    ending::Ending,
    holds::BROCA,
    journal::{Event, append},
    operation::{Each, in_order, index},
};

pub(crate) const LOOK: &str = "-- finish: look
SELECT j.key + 1 AS n, c.owner, c.tail, c.failures, m.state AS was, m.seq, m.instance, m.profile_id, m.chat_id, m.attempts, t.id AS open,
       COALESCE(m.stopping, FALSE) AS stopping, m.seq > c.head AND NOT m.stopping AND m.state IN ('received', 'processing') AND NOT EXISTS (
           SELECT 1 FROM messages e
           WHERE e.conversation_id = c.id AND e.seq > c.head AND e.seq < m.seq
             AND e.state IN ('received', 'processing')) AS first
FROM json_each($1) j
JOIN conversations c
    ON c.id = unhex(j.value ->> 'conversation') AND c.epoch = j.value ->> 'epoch' AND c.owner IS NOT NULL
LEFT JOIN messages m ON m.id = unhex(j.value ->> 'message') AND m.conversation_id = c.id
LEFT JOIN turns t ON t.message_id = m.id AND t.state = 'started'";

pub(crate) const MESSAGE: &str = "-- finish: messages
UPDATE messages SET state = j.value ->> 'message_state', class = j.value ->> 'class', reason = j.value ->> 'reason',
    finished_at = CASE WHEN j.value ->> 'retry' THEN NULL ELSE j.value ->> 'now' END
FROM json_each($1) j WHERE messages.id = unhex(j.value ->> 'message')";

pub(crate) const TURN: &str = "-- finish: turns
UPDATE turns SET state = j.value ->> 'turn_state', class = j.value ->> 'class', reason = j.value ->> 'reason',
    usage = j.value ->> 'usage', finished_at = j.value ->> 'now'
FROM json_each($1) j WHERE turns.id = unhex(j.value ->> 'turn')";

pub(crate) const ADVANCE: &str = "-- finish: conversations
UPDATE conversations
SET head = CASE WHEN j.value ->> 'retry' THEN head ELSE j.value ->> 'seq' END,
    owner = CASE WHEN j.value ->> 'released' THEN NULL ELSE owner END,
    lease_until = CASE WHEN j.value ->> 'released' THEN 0 ELSE lease_until END,
    not_before = CASE WHEN j.value ->> 'retry' THEN j.value ->> 'until' ELSE not_before END,
    wake_at = CASE WHEN j.value ->> 'retry' THEN j.value ->> 'until' ELSE wake_at END,
    failures = j.value ->> 'failures'
FROM json_each($1) j WHERE conversations.id = unhex(j.value ->> 'conversation')";

pub(crate) const ANSWER: &str = "-- finish: responses
INSERT INTO responses (id, kind, message_id, turn_id, conversation_id, profile_id, instance, lane, text, state, created_at)
SELECT unhex(value ->> 'response'), CASE WHEN value ->> 'failed' THEN 'notice' ELSE 'answer' END,
       unhex(value ->> 'message'), CASE WHEN NOT value ->> 'failed' THEN unhex(value ->> 'turn') END,
       unhex(value ->> 'conversation'), unhex(value ->> 'profile'), value ->> 'instance', value ->> 'lane',
       value ->> 'text', 'pending', value ->> 'now'
FROM json_each($1)";

pub(crate) const OWE: &str = "-- finish: outbox
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, detail, created_at)
SELECT unhex(value ->> 'outbox'), CASE WHEN value ->> 'failed' THEN 'dead_letter' ELSE 'response' END,
       value ->> 'instance', unhex(value ->> 'message'), unhex(value ->> 'conversation'),
       CASE WHEN NOT value ->> 'failed' THEN unhex(value ->> 'response') END, value ->> 'detail', value ->> 'now'
FROM json_each($1)";

pub(crate) const OWE_NOTICE: &str = "-- finish: outbox of notices
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, created_at)
SELECT unhex(value ->> 'response'), 'response', value ->> 'instance', unhex(value ->> 'message'),
       unhex(value ->> 'conversation'), unhex(value ->> 'response'), value ->> 'now'
FROM json_each($1)";

pub(crate) const QUARANTINE: &str = "-- finish: quarantine
INSERT INTO holds (id, kind, subject, reason, actor, created_at)
SELECT unhex(value ->> 'hold'), 'conversation', value ->> 'conversation',
       'quarantined after ' || (value ->> 'failures') || ' failures in a row: ' || (value ->> 'class'), 'broca',
       value ->> 'now'
FROM json_each($1) WHERE TRUE
ON CONFLICT (kind, subject) WHERE settled_at IS NULL DO NOTHING
RETURNING id, subject, reason";

#[derive(sqlx::FromRow)]
struct Look {
    n: i64,
    owner: String,
    tail: i64,
    failures: i64,
    was: Option<String>,
    seq: Option<i64>,
    instance: Option<String>,
    profile_id: Option<Uuid>,
    chat_id: Option<String>,
    attempts: Option<i64>,
    open: Option<Uuid>,
    stopping: bool,
    first: Option<bool>,
}

impl Look {
    fn released(&self, ending: &Ending<'_>) -> bool {
        ending.message_state == MessageState::Received || self.seq == Some(self.tail)
    }

    /// What the next attempt overwrites in the conversation.
    fn parked(&self, ending: &Ending<'_>, now: i64) -> Option<Event<'_>> {
        let Finish { conversation, message, epoch, .. } = ending.finish;
        let detail = json!({"until": now.saturating_add(ending.delay), "class": ending.class(),
                            "reason": ending.reason()});
        let event = Event::new(EventKind::Parked, now).message(message.0).conversation(conversation.0);
        (ending.message_state == MessageState::Received).then(|| event.actor(&self.owner).epoch(*epoch).detail(detail))
    }

    fn row(&self, ending: &Ending<'_>, now: i64) -> Value {
        let finish = ending.finish;
        let instance = self.instance.as_deref().unwrap_or_default();
        let profile = self.profile_id.unwrap_or_default();
        let detail = json!({"stage": "turn", "class": ending.class(), "reason": ending.reason(),
                            "attempts": self.attempts});
        json!({
            "conversation": hex(finish.conversation.0), "message": hex(finish.message.0),
            "turn": finish.turn.map(|turn| hex(turn.0)), "message_state": ending.message_state.as_str(),
            "turn_state": ending.turn_state.as_str(), "class": ending.class(), "reason": ending.reason(),
            "usage": ending.usage.as_ref().map(ToString::to_string), "seq": self.seq,
            "retry": ending.message_state == MessageState::Received, "released": self.released(ending),
            "until": now.saturating_add(ending.delay), "now": now, "instance": instance,
            "profile": hex(profile), "response": ending.response.map(|response| hex(response.id.0)),
            "lane": lane(instance, self.chat_id.as_deref(), profile),
            "text": ending.response.map(|response| response.text.as_str()),
            "outbox": ending.outbox.map(|outbox| hex(outbox.0)),
            "detail": ending.is_failure().then(|| detail.to_string()), "failed": ending.is_failure(),
            "failures": self.failures_after(ending), "hold": self.hold(ending).map(|hold| hex(hold.0)),
        })
    }

    fn failures_after(&self, ending: &Ending<'_>) -> i64 {
        match ending.message_state {
            MessageState::Completed => 0,
            _ => self.failures + i64::from(ending.quarantine.is_some()),
        }
    }

    fn hold(&self, ending: &Ending<'_>) -> Option<HoldId> {
        ending.quarantine.filter(|(after, _)| self.failures_after(ending) >= *after).map(|(_, hold)| hold)
    }
}

pub(crate) async fn run(
    conn: &mut SqliteConnection,
    items: &[Finish],
) -> Result<Vec<Each<Fenced<Finished>>>, StoreError> {
    let now = now_micros(conn).await?;
    let endings: Vec<Ending<'_>> = items.iter().map(Ending::of).collect();
    let keys =
        batch(items, |i| json!({"conversation": hex(i.conversation.0), "epoch": i.epoch, "message": hex(i.message.0)}));
    let looks: Vec<Look> = sqlx::query_as(LOOK).bind(keys).fetch_all(&mut *conn).await?;
    let mut rows = Vec::new();
    let mut answers = Vec::new();
    let mut ended = Vec::new();
    let mut parked = Vec::new();
    let mut touched = HashSet::new();
    for look in &looks {
        let Some(ending) = index(look.n).and_then(|n| endings.get(n)) else { continue };
        let fits = look.first == Some(true) && look.open == ending.finish.turn.map(|turn| turn.0);
        if fits && touched.insert(ending.finish.conversation) {
            rows.push(look.row(ending, now));
            parked.extend(look.parked(ending, now));
            ended.push((look.n, ending, look.released(ending)));
        } else {
            answers.push((look.n, Err(ending.refusal(look.was.as_deref(), look.open, look.stopping))));
        }
    }
    let only = |field: &str| rows.iter().filter(|row| !row[field].is_null()).cloned().collect::<Vec<_>>();
    let (turns, responses, owed, holds) = (only("turn"), only("response"), only("outbox"), only("hold"));
    let notices = responses.iter().filter(|row| row["failed"] == true).cloned().collect();
    write(conn, MESSAGE, rows.clone()).await?;
    write(conn, ADVANCE, rows).await?;
    write(conn, TURN, turns).await?;
    write(conn, ANSWER, responses).await?;
    write(conn, OWE, owed).await?;
    write(conn, OWE_NOTICE, notices).await?;
    append(conn, &parked).await?;
    let quarantined = quarantine(conn, holds, now).await?;
    answers.extend(ended.into_iter().map(|(n, ending, released)| {
        let on_hold = ending.quarantine.is_some_and(|(_, hold)| quarantined.contains(&hold.0));
        (n, Ok(ending.done(released, on_hold, now)))
    }));
    Ok(in_order(items.len(), answers, || Ok(Fenced::LeaseLost)))
}

/// Puts conversations on hold that failed too often; those that an operator holds already stay as they are.
async fn quarantine(conn: &mut SqliteConnection, rows: Vec<Value>, now: i64) -> Result<Vec<Uuid>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    type Row = (Uuid, String, String);
    let rows = Value::Array(rows).to_string();
    let holds: Vec<Row> = sqlx::query_as(QUARANTINE).bind(rows).fetch_all(&mut *conn).await?;
    let told = |(id, conversation, reason): &Row| {
        let conversation = conversation.parse().map_err(StoreError::unreadable)?;
        let event = Event::new(EventKind::Quarantined, now).conversation(conversation).actor(BROCA);
        Ok(event.detail(json!({"hold": id, "reason": reason})))
    };
    append(conn, &holds.iter().map(told).collect::<Result<Vec<_>, StoreError>>()?).await?;
    Ok(holds.into_iter().map(|(id, _, _)| id).collect())
}
