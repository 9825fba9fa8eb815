//! Delivery attempts of answers.

use std::{collections::HashMap, time::Duration};

use broca_core::{Instance, ResponseId, WorkerId, clock::micros};
use sqlx::{PgConnection, types::Uuid};

use crate::{
    Delivery, DeliveryFinished, Fenced, FinishDelivery, RecordParts, StoreError,
    decode::DeliveryRow,
    delivering::{ANNOUNCE_AFTER_MICROS, BeginDelivery, DeliveryEnding, parts_text, response_kind},
    holding::instance_hold,
    operation::{Each, column, in_order, index},
};

/// The look at the lane may miss that the answer before has just ended; then whoever ended it reads the lane after
/// that and brings this one.
pub(crate) const BEGIN: &str = concat!(
    "-- begin delivery
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
        WITH ORDINALITY AS i (response_id, instance, asking, ttl, n)
), locked AS MATERIALIZED (
    SELECT i.n, i.asking, i.ttl, r.*
    FROM input i JOIN responses r ON r.id = i.response_id AND r.instance = i.instance
    ORDER BY r.id
    FOR UPDATE OF r
), judged AS MATERIALIZED (
    SELECT l.*, held_until,
           CASE WHEN NOT l.open THEN 'over'
                WHEN row_number() OVER (PARTITION BY l.id ORDER BY l.n) > 1 THEN 'wait'
                WHEN l.state = 'delivering' AND l.lease_until > clock.now THEN 'wait'
                WHEN held_until IS NOT NULL THEN 'on_hold'
                WHEN l.state = 'delivering' THEN 'settle'
                WHEN EXISTS (SELECT FROM responses e WHERE e.open AND e.lane = l.lane AND e.ord < l.ord) THEN 'behind'
                WHEN l.not_before > clock.now THEN 'wait'
                ELSE 'go' END AS verdict
    FROM clock CROSS JOIN locked l CROSS JOIN LATERAL (SELECT ",
    instance_hold!("l.instance", "clock.now"),
    " AS held_until) hold
), taken AS (
    UPDATE responses r
    SET state = 'delivering', host = j.asking, lease_until = now + j.ttl,
        attempts = CASE j.verdict WHEN 'go' THEN j.attempts + 1 ELSE j.attempts END,
        started_at = CASE j.verdict WHEN 'go' THEN now ELSE j.started_at END
    FROM judged j, clock
    WHERE r.id = j.id AND j.verdict IN ('go', 'settle')
), journal AS (
    INSERT INTO events (at, kind, message_id, response_id, actor, detail)
    SELECT now, 'delivery_taken_over', message_id, id, asking, jsonb_build_object('from', host, 'attempt', attempts)
    FROM judged, clock
    WHERE verdict = 'settle'
)
SELECT j.n, j.verdict, j.state, COALESCE(j.held_until, GREATEST(j.lease_until, j.not_before)) AS until, now, j.id, ",
    response_kind!("j", "m"),
    ", j.message_id, j.text,
       CASE j.verdict WHEN 'go' THEN j.attempts + 1 ELSE j.attempts END AS attempts,
       j.attempts_before, j.parts, j.created_at, j.replayed_at, m.received_at, m.replayed_at AS asked_again_at,
       m.chat_id, m.attributes, m.trace,
       p.id AS profile_id, p.user_id, p.platform, p.platform_user_id, p.username, p.display_name, p.metadata,
       d.class AS refused_class, d.reason AS refused_reason, d.since AS refused_since
FROM clock CROSS JOIN judged j JOIN messages m ON m.id = j.message_id JOIN profiles p ON p.id = j.profile_id
LEFT JOIN dead_targets d ON d.lane = j.lane AND d.probe_at > now
    AND d.asked_at > COALESCE(j.replayed_at, m.replayed_at, m.received_at)"
);

pub(crate) async fn begin(conn: &mut PgConnection, items: &[BeginDelivery]) -> Result<Vec<Each<Delivery>>, StoreError> {
    let rows: Vec<DeliveryRow> = sqlx::query_as(BEGIN)
        .bind(column(items, |i| i.response.0))
        .bind(column(items, |i| i.instance.as_str()))
        .bind(column(items, |i| i.host.as_str()))
        .bind(column(items, |i| micros(i.ttl)))
        .fetch_all(conn)
        .await?;
    Ok(in_order(items.len(), rows.into_iter().map(|row| (row.n, row.delivery())), || Ok(Delivery::Unknown)))
}

pub(crate) const PARTS: &str = "-- record parts
WITH sent AS (
    UPDATE responses SET parts = $4::jsonb, attempts_before = attempts - 1
    WHERE id = $1 AND host = $2 AND attempts = $3 AND state = 'delivering'
    RETURNING id, message_id, attempts
)
INSERT INTO events (at, kind, message_id, response_id, actor, detail)
SELECT broca_now(), 'part_sent', message_id, id, $2,
       jsonb_build_object('attempt', attempts, 'part', jsonb_array_length($4::jsonb),
                          'receipt', jsonb_build_array($4::jsonb -> -1 -> 'platform_message_id'))
FROM sent";

pub(crate) async fn record_parts(conn: &mut PgConnection, item: &RecordParts) -> Result<Fenced<()>, StoreError> {
    let done = sqlx::query(PARTS)
        .bind(item.response.0)
        .bind(item.host.as_str())
        .bind(i64::from(item.attempt))
        .bind(parts_text(&item.parts)?)
        .execute(conn)
        .await?;
    Ok(if done.rows_affected() == 1 { Fenced::Done(()) } else { Fenced::LeaseLost })
}

pub(crate) const FINISH: &str = "-- finish delivery
WITH clock AS MATERIALIZED (SELECT broca_now() AS now),
input AS MATERIALIZED (
    SELECT DISTINCT ON (response_id) *
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
                $8::text[], $9::bigint[], $10::uuid[], $11::bigint[])
        WITH ORDINALITY AS i (response_id, host, attempt, new_state, outcome, new_class, new_reason, new_receipt,
                              delay, outbox_id, probe_after, n)
    ORDER BY response_id, n
), locked AS MATERIALIZED (
    SELECT i.*, r.kind, r.started_at, r.instance, r.message_id, r.conversation_id, r.profile_id, r.lane
    FROM input i
    JOIN responses r ON r.id = i.response_id AND r.host = i.host AND r.attempts = i.attempt AND r.state = 'delivering'
    ORDER BY r.id
    FOR UPDATE OF r
), ended AS (
    UPDATE responses r
    SET state = l.new_state, open = l.new_state IN ('pending', 'retry'), host = NULL, lease_until = 0,
        attempts = CASE l.outcome WHEN 'handed_back' THEN r.attempts - 1 ELSE r.attempts END,
        not_before = CASE l.outcome WHEN 'retry' THEN now + l.delay ELSE 0 END,
        class = l.new_class, reason = l.new_reason, receipt = l.new_receipt::jsonb,
        finished_at = CASE WHEN l.new_state NOT IN ('pending', 'retry') THEN now END
    FROM locked l, clock
    WHERE r.id = l.response_id
), recorded AS (
    INSERT INTO deliveries (response_id, attempt, host, outcome, class, reason, started_at, finished_at, not_before)
    SELECT response_id, attempt, host, outcome, new_class, new_reason, started_at, now,
           CASE outcome WHEN 'retry' THEN now + delay END
    FROM locked, clock
), owed AS (
    INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, detail, created_at)
    SELECT outbox_id, 'dead_letter', instance, message_id, conversation_id, response_id,
           jsonb_build_object('stage', 'delivery', 'class', new_class, 'reason', new_reason, 'attempts', attempt), now
    FROM locked, clock
    WHERE outbox_id IS NOT NULL AND kind = 'answer'
), buried AS (
    INSERT INTO dead_targets AS d
        (lane, instance, profile_id, chat_id, class, reason, since, asked_at, failures, probe_at)
    SELECT DISTINCT ON (lane) lane, l.instance, l.profile_id, m.chat_id, new_class, new_reason, started_at, started_at, 1,
           now + probe_after
    FROM clock CROSS JOIN locked l JOIN messages m ON m.id = l.message_id
    WHERE probe_after IS NOT NULL
    ORDER BY lane
    ON CONFLICT (lane) DO UPDATE
        SET class = EXCLUDED.class, reason = EXCLUDED.reason, asked_at = EXCLUDED.asked_at,
            failures = d.failures + 1, probe_at = EXCLUDED.probe_at
), revived AS (
    DELETE FROM dead_targets WHERE lane = ANY (ARRAY(SELECT lane FROM locked WHERE new_state = 'delivered'))
)
SELECT n, kind = 'answer' AS is_answer, CASE WHEN new_state NOT IN ('pending', 'retry') THEN lane END AS lane FROM locked";

/// A second statement: what was committed to the lane until the first one ended is seen by it.
pub(crate) const NEXT: &str = "-- next in lane
SELECT l.lane, r.id
FROM (SELECT DISTINCT lane FROM unnest($1::text[]) AS l (lane)) l
CROSS JOIN LATERAL (SELECT id FROM responses WHERE open AND lane = l.lane ORDER BY ord LIMIT 1) r";

pub(crate) async fn finish(
    conn: &mut PgConnection,
    items: &[FinishDelivery],
) -> Result<Vec<Each<Fenced<DeliveryFinished>>>, StoreError> {
    let endings = column(items, DeliveryEnding::of);
    let rows: Vec<(i64, bool, Option<String>)> = sqlx::query_as(FINISH)
        .bind(column(items, |i| i.response.0))
        .bind(column(items, |i| i.host.as_str()))
        .bind(column(items, |i| i64::from(i.attempt)))
        .bind(column(&endings, |e| e.state.as_str()))
        .bind(column(&endings, |e| e.outcome))
        .bind(column(&endings, DeliveryEnding::class))
        .bind(column(&endings, DeliveryEnding::reason))
        .bind(column(&endings, |e| e.receipt().map(|receipt| receipt.to_string())))
        .bind(column(&endings, |e| e.delay))
        .bind(column(&endings, |e| e.outbox.map(|outbox| outbox.0)))
        .bind(column(&endings, |e| e.probe_after))
        .fetch_all(&mut *conn)
        .await?;
    let lanes: Vec<&str> = rows.iter().filter_map(|(_, _, lane)| lane.as_deref()).collect();
    let next: HashMap<String, Uuid> = if lanes.is_empty() {
        HashMap::new()
    } else {
        sqlx::query_as(NEXT).bind(lanes).fetch_all(conn).await?.into_iter().collect()
    };
    let answer = |(n, is_answer, lane): (i64, bool, Option<String>)| {
        let ending = index(n).and_then(|n| endings.get(n)).filter(|_| is_answer);
        let next = lane.and_then(|lane| next.get(&lane)).copied().map(ResponseId);
        (n, Ok(Fenced::Done(DeliveryFinished { next, owed: ending.and_then(|ending| ending.outbox) })))
    };
    Ok(in_order(items.len(), rows.into_iter().map(answer), || Ok(Fenced::LeaseLost)))
}

pub(crate) const RENEW: &str = "-- renew deliveries
WITH wanted AS MATERIALIZED (SELECT * FROM unnest($1::uuid[]) AS w (id)),
locked AS MATERIALIZED (
    SELECT r.id FROM wanted w JOIN responses r ON r.id = w.id AND r.host = $2 AND r.state = 'delivering'
    ORDER BY r.id
    FOR UPDATE OF r
), kept AS (
    UPDATE responses r SET lease_until = broca_now() + $3 FROM locked l WHERE r.id = l.id
)
SELECT w.id FROM wanted w LEFT JOIN locked l ON l.id = w.id WHERE l.id IS NULL";

pub(crate) async fn renew(
    conn: &mut PgConnection,
    host: &WorkerId,
    responses: &[ResponseId],
    ttl: Duration,
) -> Result<Vec<ResponseId>, StoreError> {
    let lost: Vec<(Uuid,)> = sqlx::query_as(RENEW)
        .bind(column(responses, |response| response.0))
        .bind(host.as_str())
        .bind(micros(ttl))
        .fetch_all(conn)
        .await?;
    Ok(lost.into_iter().map(|(id,)| ResponseId(id)).collect())
}

pub(crate) const DUE: &str = concat!(
    "-- due deliveries
SELECT r.id
FROM responses r CROSS JOIN (SELECT broca_now() AS now) clock
WHERE r.open AND r.instance = $1
  AND CASE r.state WHEN 'retry' THEN r.not_before <= now
                   WHEN 'delivering' THEN r.lease_until <= now
                   ELSE r.created_at <= now - $2 END
  AND NOT EXISTS (SELECT FROM responses e WHERE e.open AND e.lane = r.lane AND e.ord < r.ord)
  AND ",
    instance_hold!("$1", "now"),
    " IS NULL
ORDER BY r.ord LIMIT $3"
);

pub(crate) async fn due(
    conn: &mut PgConnection,
    instance: &Instance,
    limit: i64,
) -> Result<Vec<ResponseId>, StoreError> {
    let rows: Vec<(Uuid,)> =
        sqlx::query_as(DUE).bind(instance.as_str()).bind(ANNOUNCE_AFTER_MICROS).bind(limit).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(id,)| ResponseId(id)).collect())
}
