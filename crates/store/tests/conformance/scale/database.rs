//! A PostgreSQL with much in it, that writes down its plans.

use std::{
    env, fs,
    time::{Duration, Instant},
};

use broca_servers::Postgres;
use broca_store::{Store, StoreOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

use super::plan::Plan;

/// Enough that whatever reads all of something stands out.
const MESSAGES: u64 = 40_000;
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Database {
    server: Postgres,
    url: String,
    conn: tokio::sync::Mutex<PgConnection>,
    pub(super) messages: u64,
}

impl Database {
    pub(super) async fn filled() -> Self {
        let server = Postgres::start();
        let url = server.new_database();
        connect(&url).await.migrate().await.unwrap();
        let messages = env::var("BROCA_TEST_SCALE").ok().map_or(MESSAGES, |n| n.parse().expect("a number of messages"));
        let mut conn = PgConnection::connect(&url).await.unwrap();
        run(&mut conn, format!("SET fill.messages = {messages}")).await;
        run(&mut conn, include_str!("fill.sql").to_owned()).await;
        run(&mut conn, "VACUUM ANALYZE".to_owned()).await;
        for setting in [
            "session_preload_libraries = 'auto_explain'",
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_analyze = on",
            "auto_explain.log_timing = off",
            "auto_explain.log_format = json",
        ] {
            let name = url.rsplit('/').next().unwrap_or_default();
            run(&mut conn, format!("ALTER DATABASE {name} SET {setting}")).await;
        }
        Self { server, url, conn: tokio::sync::Mutex::new(conn), messages }
    }

    pub(super) async fn connect(&self) -> Store {
        connect(&self.url).await
    }

    pub(super) fn is_large(&self) -> bool {
        self.messages > MESSAGES
    }

    /// The one id that a query gives; it is not among the plans.
    pub(super) async fn id(&self, query: &str) -> Uuid {
        let mut conn = self.conn.lock().await;
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut *conn).await.unwrap()
    }

    /// Those of all statements so far. PostgreSQL writes a plan when it is done with the statement, which may be a
    /// moment after its rows are here.
    pub(super) async fn plans(&self, expected: &[&str]) -> Vec<Plan> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read(self.server.log_path()).unwrap();
            let plans = Plan::all_in(&String::from_utf8_lossy(&log));
            let missing: Vec<&&str> =
                expected.iter().filter(|label| plans.iter().all(|plan| plan.label != **label)).collect();
            if missing.is_empty() {
                return plans;
            }
            assert!(Instant::now() < deadline, "nothing in the log of {missing:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn connect(url: &str) -> Store {
    Store::connect(url, StoreOptions::default()).await.unwrap()
}

async fn run(conn: &mut PgConnection, statements: String) {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await.unwrap();
}
