//! What flows: what came in, what went out and what failed lately, by time, plugin instance and agent.
//!
//! A look costs the same however much there is: it reads the newest rows of each kind by their keys, [`MOST`] of them
//! at most and none that is older than the window and some slack. Where that is less than the window, the answer says
//! since when it is whole.

use std::{collections::BTreeMap, time::Duration};

use broca_core::{MessageId, ResponseId, Timestamp, clock::micros};
use serde::Serialize;

use crate::{
    Store, StoreError,
    tx::{Tx, ask, snapshot},
};

/// Rows that a look reads of each kind, as the statements have it.
const MOST: i64 = 20_000;
/// Ids are made by the clocks of the plugin processes, and rows a moment before they are committed.
const OTHER_CLOCKS: Duration = Duration::from_secs(60);
/// An answer that was written longer ago and is delivered now is left out.
const LATE_ANSWERS: Duration = Duration::from_secs(600);

/// What came in, went out and failed in a while, through one plugin instance and with one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct FlowPoint {
    /// When the while begins.
    pub at: Timestamp,
    pub instance: String,
    pub agent: String,
    /// Messages accepted.
    pub came_in: i64,
    /// Answers delivered.
    pub went_out: i64,
    /// Messages that failed, and answers that could not be delivered or may not have been.
    pub failed: i64,
}

/// Turns under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct InTurn {
    pub instance: String,
    pub agent: String,
    pub turns: i64,
}

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Flow {
    /// The database's time.
    pub now: Timestamp,
    pub since: Timestamp,
    /// How long each while is.
    pub bucket_s: u64,
    /// What came before was too much to be counted, when this is later than `since`.
    pub whole_since: Timestamp,
    /// In order of time; a while in which nothing happened has none.
    pub points: Vec<FlowPoint>,
    pub in_turn: Vec<InTurn>,
    /// From the message to its answer's delivery, of the latest answers in the window: half of them were faster.
    pub answered_in_ms_p50: Option<i64>,
    /// 95 of 100 were faster.
    pub answered_in_ms_p95: Option<i64>,
}

pub(crate) const CAME_IN: &str = "-- flow: came in
SELECT m.received_at / $1 * $1 AS at, m.instance,
       (SELECT c.agent FROM conversations c WHERE c.id = m.conversation_id) AS agent, count(*)
FROM (SELECT received_at, instance, conversation_id FROM messages WHERE id >= $2 ORDER BY id DESC LIMIT 20000) m
GROUP BY 1, 2, 3";

pub(crate) const WENT_OUT: &str = "-- flow: went out
SELECT r.finished_at / $1 * $1 AS at, r.instance,
       (SELECT c.agent FROM conversations c WHERE c.id = r.conversation_id) AS agent,
       count(CASE WHEN r.kind = 'answer' AND r.state = 'delivered' THEN 1 END), count(*), min(r.created_at)
FROM (SELECT finished_at, created_at, instance, conversation_id, kind, state FROM responses
      WHERE id >= $2 ORDER BY id DESC LIMIT 20000) r
GROUP BY 1, 2, 3";

pub(crate) const FAILED: &str = "-- flow: failed
SELECT f.failed_at / $1 * $1 AS at, f.instance,
       (SELECT c.agent FROM conversations c WHERE c.id = f.conversation_id) AS agent, count(*)
FROM (SELECT failed_at, instance, conversation_id
      FROM (SELECT failed_at, instance, conversation_id FROM messages
            WHERE failed_at >= $2 ORDER BY failed_at DESC LIMIT 20000) m
      UNION ALL
      SELECT failed_at, instance, conversation_id
      FROM (SELECT failed_at, instance, conversation_id FROM responses
            WHERE failed_at >= $2 ORDER BY failed_at DESC LIMIT 20000) r) f
GROUP BY 1, 2, 3";

pub(crate) const IN_TURN: &str = "-- flow: in turn
SELECT t.instance, t.agent, count(*)
FROM (SELECT (SELECT m.instance FROM messages m WHERE m.id = o.message_id) AS instance,
             (SELECT c.agent FROM conversations c WHERE c.id = o.conversation_id) AS agent
      FROM turns o WHERE o.state = 'started') t
WHERE t.instance IS NOT NULL AND t.agent IS NOT NULL
GROUP BY 1, 2 ORDER BY 1, 2";

pub(crate) const ANSWERED_IN: &str = "-- flow: answered in
SELECT r.finished_at - (SELECT COALESCE(m.replayed_at, m.received_at) FROM messages m WHERE m.id = r.message_id)
FROM (SELECT finished_at, message_id, kind, state FROM responses WHERE id >= $1 ORDER BY id DESC LIMIT 1000) r
WHERE r.kind = 'answer' AND r.state = 'delivered' AND r.finished_at >= $2";

/// Which while, by its beginning, and whose.
type Key = (i64, String, String);

#[derive(Default)]
struct Points(BTreeMap<Key, FlowPoint>);

impl Points {
    fn of(&mut self, at: i64, instance: String, agent: Option<String>) -> &mut FlowPoint {
        let key = (at, instance, agent.unwrap_or_default());
        let point =
            FlowPoint { at: Timestamp(at), instance: key.1.clone(), agent: key.2.clone(), ..FlowPoint::default() };
        self.0.entry(key).or_insert(point)
    }
}

async fn read(tx: &mut Tx<'_>, window: Duration, bucket: Duration) -> Result<Flow, StoreError> {
    let (now, bucket) = (tx.now().await?, micros(bucket).max(1));
    let since = now.saturating_sub(micros(window)) / bucket * bucket;
    let (mut points, mut whole) = (Points::default(), since);

    let first = MessageId::floor_of(Timestamp(since.saturating_sub(micros(OTHER_CLOCKS)))).0;
    let rows = ask!(tx, fetch_all, (i64, String, Option<String>, i64), CAME_IN, bucket, first)?;
    if rows.iter().map(|row| row.3).sum::<i64>() >= MOST {
        // The oldest while may be cut in the middle.
        whole = whole.max(rows.iter().map(|row| row.0).min().unwrap_or(since).saturating_add(bucket));
    }
    for (at, instance, agent, count) in rows.into_iter().filter(|row| row.0 >= since) {
        points.of(at, instance, agent).came_in += count;
    }

    type Out = (Option<i64>, String, Option<String>, i64, i64, i64);
    let slack = micros(LATE_ANSWERS);
    let first = ResponseId::floor_of(Timestamp(since.saturating_sub(slack))).0;
    let rows = ask!(tx, fetch_all, Out, WENT_OUT, bucket, first)?;
    if rows.iter().map(|row| row.4).sum::<i64>() >= MOST {
        whole = whole.max(rows.iter().map(|row| row.5).min().unwrap_or(since) / bucket * bucket + bucket);
    }
    for (at, instance, agent, count, ..) in rows {
        if let Some(at) = at.filter(|at| *at >= since && count > 0) {
            points.of(at, instance, agent).went_out += count;
        }
    }

    for (at, instance, agent, count) in ask!(tx, fetch_all, (i64, String, Option<String>, i64), FAILED, bucket, since)?
    {
        points.of(at, instance, agent).failed += count;
    }

    let in_turn = ask!(tx, fetch_all, (String, String, i64), IN_TURN)?;
    let in_turn = in_turn.into_iter().map(|(instance, agent, turns)| InTurn { instance, agent, turns }).collect();
    let mut took: Vec<i64> = ask!(tx, fetch_all, (Option<i64>,), ANSWERED_IN, first, since)?
        .into_iter()
        .filter_map(|(took,)| took.map(|took| took / 1_000))
        .collect();
    took.sort_unstable();
    Ok(Flow {
        now: Timestamp(now),
        since: Timestamp(since),
        bucket_s: u64::try_from(bucket / 1_000_000).unwrap_or(0),
        whole_since: Timestamp(whole),
        points: points.0.into_values().collect(),
        in_turn,
        answered_in_ms_p50: share(&took, 50),
        answered_in_ms_p95: share(&took, 95),
    })
}

/// The value that so many of a hundred do not pass.
fn share(sorted: &[i64], of_hundred: usize) -> Option<i64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((sorted.len() * of_hundred / 100).min(last)).copied()
}

impl Store {
    /// What flowed in the last `window`, in pieces of `bucket`. Cheap enough to be asked every second.
    pub async fn flow(&self, window: Duration, bucket: Duration) -> Result<Flow, StoreError> {
        snapshot!(self, read, window, bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_read_as_much_as_the_answer_says() {
        for statement in [CAME_IN, WENT_OUT, FAILED] {
            assert!(statement.contains(&format!("LIMIT {MOST}")), "{statement}");
        }
    }

    #[test]
    fn a_share_is_one_of_them() {
        assert_eq!(share(&[], 50), None);
        assert_eq!(share(&[7], 95), Some(7));
        let hundred: Vec<i64> = (0..100).collect();
        assert_eq!((share(&hundred, 50), share(&hundred, 95)), (Some(50), Some(95)));
    }
}
