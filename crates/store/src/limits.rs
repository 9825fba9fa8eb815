//! Counting what one person says, in the transaction that stores it. Only messages whose rules have a limit come here.
//!
//! On PostgreSQL the counters are locked first, in their order, and before it is looked up which events were accepted
//! before: an event that two processes report at once takes from the allowance once.

use std::collections::BTreeMap;

use broca_core::access::{Allowance, Counter, Suppression};
use serde_json::json;

use crate::{Admission, StoreError, accept::Entry, lite::batch, operation::column, tx::Tx};

/// An instance and a person of its platform.
type Key = (String, String);

/// Of the people in a batch who have a limit; `None` is somebody new.
pub(crate) struct Counters(BTreeMap<Key, Option<Counter>>);

/// A row that is new says so by its tokens.
pub(crate) const OPEN_PG: &str = "-- limits: open
INSERT INTO access_counters AS c (instance, platform_user_id, tokens, at, day, count)
SELECT instance, person, -1, 0, 0, 0 FROM unnest($1::text[], $2::text[]) AS i (instance, person)
ORDER BY instance, person
ON CONFLICT (instance, platform_user_id) DO UPDATE SET at = c.at
RETURNING instance, platform_user_id, tokens, at, day, count";

pub(crate) const OPEN_LITE: &str = "-- limits: open
SELECT c.instance, c.platform_user_id, c.tokens, c.at, c.day, c.count
FROM json_each($1) j
JOIN access_counters c ON c.instance = j.value ->> 0 AND c.platform_user_id = j.value ->> 1";

pub(crate) const KEEP_PG: &str = "-- limits: keep
UPDATE access_counters c SET tokens = i.tokens, at = i.at, day = i.day, count = i.count
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    AS i (instance, person, tokens, at, day, count)
WHERE c.instance = i.instance AND c.platform_user_id = i.person";

pub(crate) const KEEP_LITE: &str = "-- limits: keep
INSERT INTO access_counters (instance, platform_user_id, tokens, at, day, count)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each($1) WHERE true
ON CONFLICT (instance, platform_user_id) DO UPDATE
    SET tokens = excluded.tokens, at = excluded.at, day = excluded.day, count = excluded.count";

fn limit(entry: &Entry<'_>) -> Option<(Key, Allowance)> {
    let allowance = match entry.message.admission {
        Admission::Within { allowance, .. } => allowance,
        Admission::Command { allowance } => allowance?,
        Admission::Open | Admission::Suppressed { .. } | Admission::AskPairing { .. } => return None,
    };
    let person = entry.message.incoming.sender.platform_user_id.clone();
    Some(((entry.message.instance.to_string(), person), allowance))
}

/// Reads the counters of everybody who has a limit, and keeps others from them until the end of the transaction.
pub(crate) async fn open(tx: &mut Tx<'_>, entries: &[Entry<'_>]) -> Result<Counters, StoreError> {
    let mut counters: BTreeMap<Key, Option<Counter>> =
        entries.iter().filter_map(limit).map(|(key, _)| (key, None)).collect();
    if counters.is_empty() {
        return Ok(Counters(counters));
    }
    type Row = (String, String, i64, i64, i64, i64);
    let keys: Vec<&Key> = counters.keys().collect();
    let rows: Vec<Row> = match tx {
        Tx::Pg(conn) => {
            let (instances, people) = (column(&keys, |key| key.0.as_str()), column(&keys, |key| key.1.as_str()));
            sqlx::query_as(OPEN_PG).bind(instances).bind(people).fetch_all(&mut **conn).await?
        }
        Tx::Lite(conn) => {
            let keys = batch(&keys, |key| json!([key.0, key.1]));
            sqlx::query_as(OPEN_LITE).bind(keys).fetch_all(&mut **conn).await?
        }
    };
    for (instance, person, tokens, at, day, count) in rows.into_iter().filter(|row| row.2 >= 0) {
        counters.insert((instance, person), Some(Counter { tokens, at, day, count }));
    }
    Ok(Counters(counters))
}

/// Lets in as much as everybody may say, in the order in which it came, and suppresses the rest. What was accepted before
/// costs nothing.
pub(crate) async fn take(
    tx: &mut Tx<'_>,
    counters: Counters,
    entries: &mut [Entry<'_>],
    seen: impl Fn(i64) -> bool,
    now: i64,
) -> Result<(), StoreError> {
    let Counters(mut counters) = counters;
    for (n, entry) in (1..).zip(entries) {
        let Some((key, allowance)) = limit(entry).filter(|_| !seen(n)) else { continue };
        let counter = counters.entry(key).or_default().get_or_insert_with(|| Counter::fresh(allowance, now));
        if let Err(reason) = counter.take(allowance, now) {
            entry.suppressed = Some(Suppression { reason, why: allowance.why(reason) });
        }
    }
    let kept: Vec<(&Key, Counter)> = counters.iter().filter_map(|(key, counter)| Some((key, (*counter)?))).collect();
    if !kept.is_empty() {
        keep(tx, &kept).await?;
    }
    Ok(())
}

async fn keep(tx: &mut Tx<'_>, kept: &[(&Key, Counter)]) -> Result<(), StoreError> {
    match tx {
        Tx::Pg(conn) => {
            sqlx::query(KEEP_PG)
                .bind(column(kept, |(key, _)| key.0.as_str()))
                .bind(column(kept, |(key, _)| key.1.as_str()))
                .bind(column(kept, |(_, counter)| counter.tokens))
                .bind(column(kept, |(_, counter)| counter.at))
                .bind(column(kept, |(_, counter)| counter.day))
                .bind(column(kept, |(_, counter)| counter.count))
                .execute(&mut **conn)
                .await?;
        }
        Tx::Lite(conn) => {
            let rows = batch(kept, |(key, c)| json!([key.0, key.1, c.tokens, c.at, c.day, c.count]));
            sqlx::query(KEEP_LITE).bind(rows).execute(&mut **conn).await?;
        }
    }
    Ok(())
}
