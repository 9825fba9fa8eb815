//! Delivery attempts of answers.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use broca_core::{EventKind, Instance, ResponseId, ResponseState, WorkerId, clock::micros};
use serde_json::{Value, json};
use sqlx::{SqliteConnection, SqlitePool, types::Uuid};

use super::{batch, hex, now, now_micros, write};
use crate::{
    Delivery, DeliveryFinished, Fenced, FinishDelivery, RecordParts, StoreError,
    decode::DeliveryRow,
    delivering::{ANNOUNCE_AFTER_MICROS, BeginDelivery, DeliveryEnding, parts_text, response_kind},
    holding::instance_hold,
    journal::{Event, append},
    operation::{Each, in_order, index},
};

/// `$2` is now: the verdict and the write that follows it go by the same time.
pub(crate) const LOOK: &str = concat!(
    "-- begin delivery: look
SELECT *, COALESCE(held_until, not_before) AS until, attempts_so_far + (verdict = 'go') AS attempts
FROM (
    SELECT j.key + 1 AS n, r.state, max(r.lease_until, r.not_before) AS not_before, $2 AS now, r.id, ",
    response_kind!("r", "m"),
    ", r.message_id, r.text,
           r.attempts AS attempts_so_far, r.attempts_before, r.parts, r.created_at, r.replayed_at,
           m.received_at, m.replayed_at AS asked_again_at, m.chat_id, m.attributes, m.trace,
           p.id AS profile_id, p.user_id, p.platform, p.platform_user_id, p.username, p.display_name, p.metadata,
           d.class AS refused_class, d.reason AS refused_reason, d.since AS refused_since, held_until,
           CASE WHEN NOT r.open THEN 'over'
                WHEN row_number() OVER (PARTITION BY r.id ORDER BY j.key) > 1 THEN 'wait'
                WHEN r.state = 'delivering' AND r.lease_until > $2 THEN 'wait'
                WHEN held_until IS NOT NULL THEN 'on_hold'
                WHEN r.state = 'delivering' THEN 'settle'
                WHEN EXISTS (SELECT 1 FROM responses e WHERE e.open AND e.lane = r.lane AND e.ord < r.ord) THEN 'behind'
                WHEN r.not_before > $2 THEN 'wait'
                ELSE 'go' END AS verdict
    FROM (SELECT key, value, ",
    instance_hold!("value ->> 'instance'", "$2"),
    " AS held_until FROM json_each($1)) j
    JOIN responses r ON r.id = unhex(j.value ->> 'response') AND r.instance = j.value ->> 'instance'
    JOIN messages m ON m.id = r.message_id
    JOIN profiles p ON p.id = r.profile_id
    LEFT JOIN dead_targets d ON d.lane = r.lane AND d.probe_at > $2
        AND d.asked_at > COALESCE(r.replayed_at, m.replayed_at, m.received_at)
)"
);

/// Before the next one overwrites it.
pub(crate) const TAKEN_OVER: &str = "-- begin delivery: journal
INSERT INTO events (at, kind, message_id, response_id, actor, detail)
SELECT j.value ->> 'now', 'delivery_taken_over', r.message_id, r.id, j.value ->> 'host',
       json_object('from', r.host, 'attempt', r.attempts)
FROM json_each($1) j CROSS JOIN responses r ON r.id = unhex(j.value ->> 'response')";

pub(crate) const TAKE: &str = "-- begin delivery: take
UPDATE responses
SET state = 'delivering', host = j.value ->> 'host', lease_until = j.value ->> 'until',
    attempts = attempts + (state <> 'delivering'),
    started_at = CASE WHEN state <> 'delivering' THEN j.value ->> 'now' ELSE started_at END
FROM json_each($1) j WHERE responses.id = unhex(j.value ->> 'response')";

pub(crate) async fn begin(
    conn: &mut SqliteConnection,
    items: &[BeginDelivery],
) -> Result<Vec<Each<Delivery>>, StoreError> {
    let now = now_micros(conn).await?;
    let wishes = batch(items, |i| json!({"response": hex(i.response.0), "instance": i.instance.as_str()}));
    let rows: Vec<DeliveryRow> = sqlx::query_as(LOOK).bind(wishes).bind(now).fetch_all(&mut *conn).await?;
    let (mut takes, mut settles) = (Vec::new(), Vec::new());
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows {
        let n = row.n;
        let delivery = row.delivery();
        let item = index(n).and_then(|n| items.get(n));
        if let (Ok(Delivery::Go(_) | Delivery::Settle(_)), Some(item)) = (&delivery, item) {
            let take = json!({"response": hex(item.response.0), "host": item.host.as_str(), "now": now,
                              "until": now.saturating_add(micros(item.ttl))});
            if matches!(delivery, Ok(Delivery::Settle(_))) {
                settles.push(take.clone());
            }
            takes.push(take);
        }
        answers.push((n, delivery));
    }
    write(conn, TAKEN_OVER, settles).await?;
    write(conn, TAKE, takes).await?;
    Ok(in_order(items.len(), answers, || Ok(Delivery::Unknown)))
}

pub(crate) const PARTS: &str = "-- record parts
UPDATE responses SET parts = $4, attempts_before = attempts - 1
WHERE id = $1 AND host = $2 AND attempts = $3 AND state = 'delivering'";

pub(crate) const OF: &str = "-- record parts: message
SELECT message_id FROM responses WHERE id = $1";

pub(crate) async fn record_parts(conn: &mut SqliteConnection, item: &RecordParts) -> Result<Fenced<()>, StoreError> {
    let done = sqlx::query(PARTS)
        .bind(item.response.0)
        .bind(item.host.as_str())
        .bind(i64::from(item.attempt))
        .bind(parts_text(&item.parts)?)
        .execute(&mut *conn)
        .await?;
    if done.rows_affected() != 1 {
        return Ok(Fenced::LeaseLost);
    }
    let (message,): (Uuid,) = sqlx::query_as(OF).bind(item.response.0).fetch_one(&mut *conn).await?;
    let sent = Event::new(EventKind::PartSent, now_micros(conn).await?).message(message).response(item.response.0);
    let receipt: Vec<&str> = item.parts.last().map(|part| part.platform_message_id.as_str()).into_iter().collect();
    let detail = json!({"attempt": item.attempt, "part": item.parts.len(), "receipt": receipt});
    append(conn, &[sent.actor(item.host.as_str()).detail(detail)]).await?;
    Ok(Fenced::Done(()))
}

pub(crate) const HELD: &str = "-- finish delivery: look
SELECT j.key + 1 AS n, r.id, r.kind = 'answer' AS is_answer, r.started_at, r.instance, r.message_id, r.conversation_id, r.profile_id, r.lane, m.chat_id,
       EXISTS (SELECT 1 FROM dead_targets d WHERE d.lane = r.lane) AS is_dead
FROM json_each($1) j
JOIN responses r ON r.id = unhex(j.value ->> 'response') AND r.host = j.value ->> 'host'
    AND r.attempts = j.value ->> 'attempt' AND r.state = 'delivering'
JOIN messages m ON m.id = r.message_id";

pub(crate) const END: &str = "-- finish delivery
UPDATE responses
SET state = j.value ->> 'state', open = j.value ->> 'open', host = NULL, lease_until = 0,
    attempts = attempts - (j.value ->> 'outcome' = 'handed_back'), not_before = j.value ->> 'not_before',
    class = j.value ->> 'class', reason = j.value ->> 'reason', receipt = j.value ->> 'receipt',
    finished_at = CASE WHEN j.value ->> 'open' THEN NULL ELSE j.value ->> 'now' END
FROM json_each($1) j WHERE responses.id = unhex(j.value ->> 'response')";

pub(crate) const RECORD: &str = "-- finish delivery: history
INSERT INTO deliveries (response_id, attempt, host, outcome, class, reason, started_at, finished_at, not_before)
SELECT unhex(value ->> 'response'), value ->> 'attempt', value ->> 'host', value ->> 'outcome', value ->> 'class',
       value ->> 'reason', value ->> 'started_at', value ->> 'now',
       CASE value ->> 'outcome' WHEN 'retry' THEN value ->> 'not_before' END
FROM json_each($1)";

pub(crate) const OWE: &str = "-- finish delivery: outbox
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, detail, created_at)
SELECT unhex(value ->> 'outbox'), 'dead_letter', value ->> 'instance', unhex(value ->> 'message'),
       unhex(value ->> 'conversation'), unhex(value ->> 'response'), value ->> 'detail', value ->> 'now'
FROM json_each($1)";

pub(crate) const BURY: &str = "-- finish delivery: dead targets
INSERT INTO dead_targets (lane, instance, profile_id, chat_id, class, reason, since, asked_at, failures, probe_at)
SELECT value ->> 'lane', value ->> 'instance', unhex(value ->> 'profile'), value ->> 'chat', value ->> 'class',
       value ->> 'reason', value ->> 'started_at', value ->> 'started_at', 1, value ->> 'probe_at'
FROM json_each($1) WHERE true
ON CONFLICT (lane) DO UPDATE
    SET class = excluded.class, reason = excluded.reason, asked_at = excluded.asked_at, failures = failures + 1,
        probe_at = excluded.probe_at";

pub(crate) const REVIVE: &str = "-- dead targets that live
DELETE FROM dead_targets WHERE lane IN (SELECT value FROM json_each($1))";

pub(crate) const NEXT: &str = "-- next in lane
SELECT j.value, (SELECT r.id FROM responses r WHERE r.open AND r.lane = j.value ORDER BY r.ord LIMIT 1)
FROM json_each($1) j";

#[derive(sqlx::FromRow)]
struct Held {
    n: i64,
    id: Uuid,
    is_answer: bool,
    started_at: i64,
    instance: String,
    message_id: Uuid,
    conversation_id: Uuid,
    profile_id: Uuid,
    lane: String,
    chat_id: Option<String>,
    is_dead: bool,
}

impl Held {
    fn row(&self, item: &FinishDelivery, ending: &DeliveryEnding<'_>, now: i64) -> Value {
        let detail = json!({"stage": "delivery", "class": ending.class(), "reason": ending.reason(),
                            "attempts": item.attempt});
        json!({
            "response": hex(self.id), "state": ending.state.as_str(), "open": !ending.state.is_terminal(),
            "outcome": ending.outcome, "attempt": item.attempt, "host": item.host.as_str(),
            "not_before": if ending.outcome == "retry" { now.saturating_add(ending.delay) } else { 0 },
            "class": ending.class(), "reason": ending.reason(),
            "receipt": ending.receipt().map(|receipt| receipt.to_string()), "started_at": self.started_at, "now": now,
            "outbox": ending.outbox.filter(|_| self.is_answer).map(|outbox| hex(outbox.0)), "instance": self.instance,
            "message": hex(self.message_id), "conversation": hex(self.conversation_id), "detail": detail.to_string(),
            "profile": hex(self.profile_id), "chat": self.chat_id, "lane": self.lane,
            "probe_at": ending.probe_after.map(|after| now.saturating_add(after)),
        })
    }
}

pub(crate) async fn finish(
    conn: &mut SqliteConnection,
    items: &[FinishDelivery],
) -> Result<Vec<Each<Fenced<DeliveryFinished>>>, StoreError> {
    let now = now_micros(conn).await?;
    let keys = batch(items, |i| json!({"response": hex(i.response.0), "host": i.host.as_str(), "attempt": i.attempt}));
    let held: Vec<Held> = sqlx::query_as(HELD).bind(keys).fetch_all(&mut *conn).await?;
    let mut rows = Vec::with_capacity(held.len());
    let mut ended = Vec::with_capacity(held.len());
    let mut revived = Vec::new();
    let mut touched = HashSet::new();
    for held in held {
        let Some(item) = index(held.n).and_then(|n| items.get(n)) else { continue };
        if touched.insert(held.id) {
            let ending = DeliveryEnding::of(item);
            rows.push(held.row(item, &ending, now));
            if held.is_dead && ending.state == ResponseState::Delivered {
                revived.push(json!(held.lane));
            }
            let owed = ending.outbox.filter(|_| held.is_answer);
            ended.push((held.n, ending.state.is_terminal().then_some(held.lane), owed));
        }
    }
    let only = |field: &str| rows.iter().filter(|row| !row[field].is_null()).cloned().collect();
    let (owed, buried) = (only("outbox"), only("probe_at"));
    write(conn, END, rows.clone()).await?;
    write(conn, RECORD, rows).await?;
    write(conn, OWE, owed).await?;
    write(conn, BURY, buried).await?;
    write(conn, REVIVE, revived).await?;
    let next = next_in(conn, ended.iter().filter_map(|(_, lane, _)| lane.as_deref()).collect()).await?;
    let answer = |(n, lane, owed): (i64, Option<String>, _)| {
        let next = lane.and_then(|lane| next.get(&lane).copied());
        (n, Ok(Fenced::Done(DeliveryFinished { next, owed })))
    };
    Ok(in_order(items.len(), ended.into_iter().map(answer), || Ok(Fenced::LeaseLost)))
}

async fn next_in(conn: &mut SqliteConnection, lanes: HashSet<&str>) -> Result<HashMap<String, ResponseId>, StoreError> {
    if lanes.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, Option<Uuid>)> =
        sqlx::query_as(NEXT).bind(batch(lanes, |lane| json!(lane))).fetch_all(conn).await?;
    Ok(rows.into_iter().filter_map(|(lane, id)| Some((lane, ResponseId(id?)))).collect())
}

pub(crate) const KEPT: &str = "-- renew deliveries: look
SELECT r.id FROM json_each($1) j
JOIN responses r ON r.id = unhex(j.value) AND r.host = $2 AND r.state = 'delivering'";

pub(crate) const RENEW: &str = "-- renew deliveries
UPDATE responses SET lease_until = j.value ->> 'until'
FROM json_each($1) j WHERE responses.id = unhex(j.value ->> 'id')";

pub(crate) async fn renew(
    conn: &mut SqliteConnection,
    host: &WorkerId,
    responses: &[ResponseId],
    ttl: Duration,
) -> Result<Vec<ResponseId>, StoreError> {
    let until = now_micros(conn).await?.saturating_add(micros(ttl));
    let ids = batch(responses, |id| json!(hex(id.0)));
    let kept: Vec<(Uuid,)> = sqlx::query_as(KEPT).bind(ids).bind(host.as_str()).fetch_all(&mut *conn).await?;
    let kept: HashSet<Uuid> = kept.into_iter().map(|(id,)| id).collect();
    write(conn, RENEW, kept.iter().map(|id| json!({"id": hex(*id), "until": until})).collect()).await?;
    Ok(responses.iter().copied().filter(|id| !kept.contains(&id.0)).collect())
}

pub(crate) const DUE: &str = concat!(
    "-- due deliveries
SELECT r.id
FROM responses r
WHERE r.open AND r.instance = $1
  AND CASE r.state WHEN 'retry' THEN r.not_before <= ",
    now!(),
    "              WHEN 'delivering' THEN r.lease_until <= ",
    now!(),
    "              ELSE r.created_at <= ",
    now!(),
    " - $2 END
  AND NOT EXISTS (SELECT 1 FROM responses e WHERE e.open AND e.lane = r.lane AND e.ord < r.ord)
  AND ",
    instance_hold!("$1", now!()),
    " IS NULL
ORDER BY r.ord LIMIT $3"
);

pub(crate) async fn due(pool: &SqlitePool, instance: &Instance, limit: i64) -> Result<Vec<ResponseId>, StoreError> {
    let rows: Vec<(Uuid,)> =
        sqlx::query_as(DUE).bind(instance.as_str()).bind(ANNOUNCE_AFTER_MICROS).bind(limit).fetch_all(pool).await?;
    Ok(rows.into_iter().map(|(id,)| ResponseId(id)).collect())
}
