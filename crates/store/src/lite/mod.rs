//! The writes on SQLite: each batch reads, decides in Rust and writes, inside one transaction that holds the write
//! lock from its start, so that nothing it read can change before it writes. A batch crosses as one JSON text per
//! statement, because a statement costs a hop to SQLite's own thread.

use serde_json::Value;
use sqlx::{SqliteConnection, types::Uuid};

use crate::StoreError;

pub(crate) mod claim;
pub(crate) mod delivery;
pub(crate) mod finish;
pub(crate) mod ingest;
pub(crate) mod lease;
pub(crate) mod outbox;
pub(crate) mod parking;
pub(crate) mod turn;

/// The database's clock. SQLite's has milliseconds.
macro_rules! now {
    () => {
        "(CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000)"
    };
}
pub(crate) use now;

pub(crate) async fn now_micros(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    const NOW: &str = concat!("SELECT ", now!());
    let (now,): (i64,) = sqlx::query_as(NOW).fetch_one(conn).await?;
    Ok(now)
}

/// JSON has no bytes: an id crosses as hex digits, and `unhex` makes the 16 bytes of them again.
pub(crate) fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

/// Where answers keep their order: the chat, or else the person.
pub(crate) fn lane(instance: &str, chat: Option<&str>, profile: Uuid) -> String {
    chat.map_or_else(|| format!("{instance}/{profile}"), |chat| format!("{instance}/{chat}"))
}

/// One array for `json_each`; its `key` counts from 0.
pub(crate) fn batch<I>(items: impl IntoIterator<Item = I>, row: impl FnMut(I) -> Value) -> String {
    Value::Array(items.into_iter().map(row).collect()).to_string()
}

/// Runs a statement whose only argument is a batch, unless the batch is empty.
pub(crate) async fn write(
    conn: &mut SqliteConnection,
    statement: &'static str,
    rows: Vec<Value>,
) -> Result<(), StoreError> {
    if !rows.is_empty() {
        sqlx::query(statement).bind(Value::Array(rows).to_string()).execute(conn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection, Row};

    use super::*;
    use crate::{
        access, accounts, catch_up, end_turn, holds, joint, limits, pairing, queue, retention, search, set_aside,
        settle, stops, talk,
    };

    /// Reads the plan of every hot statement on tables that were never analysed, which is how SQLite plans them.
    #[tokio::test]
    async fn hot_statements_look_rows_up_by_key() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        crate::db::SQLITE.run_direct(None, &mut conn, false).await.unwrap();
        let statements = [
            accounts::HOLDER,
            accounts::RENEW,
            ingest::SEEN,
            ingest::PROFILES,
            limits::OPEN_LITE,
            limits::KEEP_LITE,
            access::VERSION,
            access::REPLACE,
            pairing::GIVEN,
            pairing::BY_CODE,
            claim::LOOK,
            claim::TAKE,
            claim::PENDING,
            turn::LOOK_START,
            turn::COUNT,
            turn::LOOK_RESUME,
            turn::RESUMED,
            turn::RESUME,
            turn::LOOK_RUN,
            turn::RUN_KNOWN,
            turn::RUN,
            finish::LOOK,
            finish::MESSAGE,
            finish::TURN,
            finish::ADVANCE,
            lease::OWNER,
            lease::HOLDER,
            lease::SET_AGENT_CONVERSATION,
            lease::SET_TURN_CONVERSATION,
            lease::RELEASE,
            lease::FIRST,
            lease::HAND_OVER,
            lease::KEPT,
            lease::RENEW,
            lease::PROGRESS,
            lease::DUE,
            lease::PUSH,
            outbox::PUBLISHED,
            parking::LOOK,
            parking::PARK,
            parking::TELL,
            parking::CHOOSE,
            parking::UNPARK,
            outbox::DONE,
            delivery::LOOK,
            delivery::TAKEN_OVER,
            delivery::TAKE,
            delivery::HELD,
            delivery::END,
            delivery::REVIVE,
            delivery::NEXT,
            delivery::KEPT,
            delivery::RENEW,
            catch_up::WAITS,
            catch_up::JOIN,
            joint::HELD,
            joint::FIRST_LITE,
            joint::COUNT,
            joint::MEMBERS,
            end_turn::TURN,
            end_turn::MESSAGE,
            end_turn::END,
            end_turn::ADVANCE,
            stops::BEHIND,
            stops::MARK,
            stops::FORGET,
            queue::LEFT,
            set_aside::CONVERSATION_LITE,
            set_aside::KEEPERS_LITE,
            set_aside::SET_ASIDE_LITE,
            settle::WAKE_ONE,
            holds::COUNT,
            holds::FORGIVE,
            settle::NEXT_LITE,
            settle::HEIRS_LITE,
            settle::HAND_ON_LITE,
            settle::RETURNING_LITE,
            settle::RETURN_LITE,
            settle::ENDED,
            search::LAST_OF_ALL,
            talk::LINES,
            talk::FIRST,
        ];
        let of_retention = retention::tests::statements().map(|[_, lite]| lite);
        for statement in statements.into_iter().chain(of_retention) {
            let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
            let steps: Vec<String> =
                plan.fetch_all(&mut conn).await.unwrap().iter().map(|row| row.get("detail")).collect();
            // Only the batch itself and what a subquery made of it may be read from end to end.
            let scans = |step: &&String| {
                step.starts_with("SCAN")
                    && !step.contains("VIRTUAL TABLE")
                    && !step.contains("SUBQUERY")
                    && !step.contains("(subquery")
                    && !step.contains("CONSTANT ROW")
                    && !retention::tests::may_scan(statement, step)
            };
            assert_eq!(steps.iter().find(scans), None, "{statement}\n{steps:#?}");
        }
    }
}
