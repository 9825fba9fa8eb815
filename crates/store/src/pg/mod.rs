//! The writes on PostgreSQL: one statement, one round trip for a batch, wherever that is possible.
//!
//! Four habits keep them right under `read committed`, where a statement's snapshot can be older than its locks, and fast:
//!
//! - The rows that decide are locked first, in id order, and every decision uses what the lock returned (`locked`),
//!   which is the newest version. A condition on the row of an `UPDATE` itself would be tried on the
//!   snapshot's version, and a row that fails it there is skipped without waiting.
//! - A fence compares the epoch (or host and attempt) that an earlier, committed statement of the caller wrote: every
//!   later snapshot has it, unless somebody took over, and then the fence must fail anyway.
//! - A row that is named by its key is looked up by its key: `IS NOT DISTINCT FROM` keeps the planner from a partial or
//!   wider index that other conditions would fit, and that it reads from end to end when it looked small at plan time.
//! - What others may have added meanwhile (pending messages, the next answer of a lane) is read by a second statement.

pub(crate) mod claim;
pub(crate) mod delivery;
pub(crate) mod finish;
pub(crate) mod ingest;
pub(crate) mod lease;
pub(crate) mod outbox;
pub(crate) mod parking;
pub(crate) mod turn;

#[cfg(test)]
mod tests {
    use broca_servers::Postgres;
    use serde_json::Value;
    use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

    use super::*;
    use crate::{
        access, catch_up,
        db::{Db, PG_SESSION, Pg},
        end_turn, flow, holds, joint, limits, pairing, queue, retention, search, set_aside, settle, stops, talk,
    };

    const HOT: [&str; 17] = [
        ingest::USERS,
        ingest::INGEST,
        claim::CLAIM,
        claim::PENDING,
        turn::START,
        turn::RESUME,
        turn::RUN,
        finish::FINISH,
        finish::REFUSED,
        lease::SET_AGENT_CONVERSATION,
        lease::RELEASE,
        lease::HAND_OVER,
        lease::RENEW,
        parking::PARK,
        outbox::DONE,
        delivery::FINISH,
        delivery::RENEW,
    ];

    /// Not on every message's way, but on those of a backlog.
    const OF_HOLDS: [&str; 15] = [
        lease::SLEEP,
        queue::LEFT,
        set_aside::CONVERSATION_PG,
        set_aside::KEEPERS_PG,
        set_aside::SET_ASIDE_PG,
        settle::WAKE_ONE,
        holds::COUNT,
        holds::FORGIVE,
        settle::NEXT_PG,
        settle::HEIRS_PG,
        settle::HAND_ON_PG,
        settle::RETURNING_PG,
        settle::RETURN_PG,
        settle::REST,
        settle::ENDED,
    ];

    /// Of turns that say several messages, or are stopped.
    const OF_BURSTS: [&str; 14] = [
        catch_up::WAITS,
        catch_up::JOIN,
        joint::HELD,
        joint::FIRST_PG,
        joint::COUNT,
        joint::MEMBERS,
        end_turn::TURN,
        end_turn::MESSAGE,
        end_turn::END,
        end_turn::END_TURN_PG,
        end_turn::ADVANCE,
        stops::BEHIND,
        stops::MARK,
        stops::FORGET,
    ];
    /// On the way of messages that are counted, and of strangers.
    const OF_ACCESS: [&str; 6] =
        [ingest::SEEN, limits::OPEN_PG, limits::KEEP_PG, access::REPLACE, pairing::GIVEN, pairing::BY_CODE];

    /// On empty tables, because that is when a connection makes its plans, to keep them.
    #[tokio::test]
    async fn hot_statements_look_rows_up_by_key() {
        let server = Postgres::start();
        let url = server.new_database();
        Db::Pg(Pg::connect(&url, 1, 1).await.unwrap()).migrate().await.unwrap();
        let mut conn = PgConnection::connect(&url).await.unwrap();
        conn.execute(PG_SESSION).await.unwrap();
        let others = [delivery::BEGIN, delivery::NEXT, lease::WAKE_DUE, parking::UNPARK, crate::workers::PARKED];
        let of_retention = retention::tests::statements().map(|[pg, _]| pg);
        let looking = [
            flow::CAME_IN,
            flow::WENT_OUT,
            flow::FAILED,
            flow::ANSWERED_IN,
            search::LAST_OF_ALL,
            talk::LINES,
            talk::FIRST,
        ];
        let more = OF_HOLDS.iter().chain(&looking).chain(&OF_BURSTS).chain(&OF_ACCESS).chain(&of_retention);
        for statement in HOT.iter().chain(&others).chain(more) {
            let arguments = (1..).take_while(|n| statement.contains(&format!("${n}"))).map(|_| "NULL");
            let arguments = match arguments.collect::<Vec<_>>() {
                none if none.is_empty() => String::new(),
                some => format!("({})", some.join(", ")),
            };
            conn.execute(AssertSqlSafe(format!("PREPARE hot AS {statement}"))).await.unwrap();
            let explain = AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) EXECUTE hot{arguments}"));
            let (plan,): (Value,) = sqlx::query_as(explain).fetch_one(&mut conn).await.unwrap();
            conn.execute("DEALLOCATE hot").await.unwrap();
            let scan = scan_of(&plan[0]["Plan"]).filter(|scan| !retention::tests::may_scan(statement, scan));
            assert_eq!(scan, None, "{statement}\n{plan:#}");
        }
    }

    /// A node that reads a table or an index from end to end.
    fn scan_of(node: &Value) -> Option<String> {
        let reads_rows = node["Relation Name"].is_string() && node["Node Type"] != "ModifyTable";
        if reads_rows && node["Index Cond"].is_null() && node["Recheck Cond"].is_null() {
            return Some(node.to_string());
        }
        node["Plans"].as_array()?.iter().find_map(scan_of)
    }
}
