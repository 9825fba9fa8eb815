//! The two databases: how they are reached, and how their connections are set up.

use std::{path::Path, str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Database, Executor, PgConnection, PgPool, SqliteConnection, SqlitePool,
    migrate::Migrator,
    pool::PoolOptions,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::Mutex;

use crate::StoreError;

static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");
pub(crate) static SQLITE: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// How long one waits for a connection before the database counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// An older connection is replaced by whoever takes it next: servers keep memory for each, and one behind a balancer
/// should come to a new server some time.
const CONNECTION_LIFE: Duration = Duration::from_secs(30 * 60);
/// SQLite's writers of other processes wait for each other this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The hot statements are long, join a small array to big tables by their keys, and run thousands of times a
/// second: plan them once, and never by what a still empty table suggested. The timeouts turn a
/// forgotten lock of somebody's console into a transient error.
pub(crate) const PG_SESSION: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
     SET enable_mergejoin = off; SET jit = off; SET lock_timeout = '5s'; SET statement_timeout = '30s'";

#[derive(Clone, Debug)]
pub(crate) enum Db {
    Pg(Pg),
    Lite(Lite),
}

#[derive(Clone, Debug)]
pub(crate) struct Pg {
    /// For everything that is not batched.
    pub(crate) pool: PgPool,
    /// One connection for each batched operation, so that none of them can starve the others.
    pub(crate) hot: PgPool,
}

/// One connection writes: SQLite has one writer at a time anyway, and so it is a fair queue instead of polling.
#[derive(Clone, Debug)]
pub(crate) struct Lite {
    pub(crate) writer: Arc<Mutex<SqliteConnection>>,
    pub(crate) reader: SqlitePool,
}

/// With `idle_timeout` and `max_lifetime` a pool of sqlx 0.9.0 has a task that looks at as many connections as are idle. It
/// counts one that comes back after others can take it already (`PoolInner::release`), so in between the number may be
/// 2^64 - 1, and the task that reads it then keeps a core busy for good. Without the two there is no such task.
fn pool<D: Database>(size: u32, life: Duration) -> PoolOptions<D> {
    PoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .before_acquire(move |_, connection| Box::pin(std::future::ready(Ok(connection.age < life))))
}

impl Pg {
    pub(crate) async fn connect(url: &str, connections: u32, operations: u32) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|error| bad_url("postgres://…", error))?;
        let options = options.application_name("broca").disable_statement_logging();
        let pool = |size: u32| {
            pool(size, CONNECTION_LIFE).after_connect(|conn: &mut PgConnection, _| {
                Box::pin(async move {
                    conn.execute(PG_SESSION).await?;
                    Ok(())
                })
            })
        };
        let cold = connections.saturating_sub(operations).max(2);
        let this = Self {
            pool: pool(cold).connect_lazy_with(options.clone()),
            hot: pool(operations).connect_lazy_with(options),
        };
        this.pool.acquire().await?;
        Ok(this)
    }
}

impl Lite {
    pub(crate) async fn connect(url: &str, readers: u32) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url).map_err(|error| bad_url(url, error))?;
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A message is confirmed to its platform on the strength of this commit: it has to survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .disable_statement_logging();
        let folder = options.get_filename().parent().filter(|folder| *folder != Path::new(""));
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(sqlx::Error::Io)?;
        }
        let writer = options.clone().connect().await?;
        let reader = pool(readers.max(1), CONNECTION_LIFE).connect_lazy_with(options.pragma("query_only", "1"));
        Ok(Self { writer: Arc::new(Mutex::new(writer)), reader })
    }
}

/// A PostgreSQL url may carry a password, so it is not repeated.
fn bad_url(url: &str, error: sqlx::Error) -> StoreError {
    StoreError::Url { url: url.to_owned(), reason: error.to_string() }
}

impl Db {
    fn migrator(&self) -> &'static Migrator {
        match self {
            Self::Pg(_) => &POSTGRES,
            Self::Lite(_) => &SQLITE,
        }
    }

    /// Applies what is missing, in order; names what it applied.
    pub(crate) async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let missing = self.missing().await?;
        let migrator = self.migrator();
        let result = match self {
            Self::Pg(pg) => {
                // Long statements are expected of a migration, and of waiting for another process that migrates.
                let mut conn = pg.pool.acquire().await?;
                conn.execute("SET lock_timeout = 0; SET statement_timeout = 0").await?;
                conn.close_on_drop();
                migrator.run_direct(None, &mut *conn, false).await
            }
            Self::Lite(lite) => migrator.run_direct(None, &mut *lite.writer.lock().await, false).await,
        };
        result.map_err(|error| StoreError::Migration(Arc::new(error)))?;
        Ok(missing)
    }

    /// The names of the migrations that this build knows and the database lacks, in order.
    pub(crate) async fn missing(&self) -> Result<Vec<String>, StoreError> {
        const TABLE_PG: &str = "SELECT count(*) FROM information_schema.tables \
                                WHERE table_name = '_sqlx_migrations' AND table_schema = ANY (current_schemas(false))";
        const TABLE_LITE: &str = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
        const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";
        let (tables,): (i64,) = match self {
            Self::Pg(pg) => sqlx::query_as(TABLE_PG).fetch_one(&pg.pool).await?,
            Self::Lite(lite) => sqlx::query_as(TABLE_LITE).fetch_one(&lite.reader).await?,
        };
        let applied: Vec<(i64,)> = match self {
            _ if tables == 0 => Vec::new(),
            Self::Pg(pg) => sqlx::query_as(APPLIED).fetch_all(&pg.pool).await?,
            Self::Lite(lite) => sqlx::query_as(APPLIED).fetch_all(&lite.reader).await?,
        };
        let unapplied = self.migrator().iter().filter(|migration| !applied.contains(&(migration.version,)));
        Ok(unapplied.map(|migration| format!("{:04}_{}", migration.version, migration.description)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_replaced_when_it_is_old() {
        for (life, stays) in [(CONNECTION_LIFE, true), (Duration::ZERO, false)] {
            let pool = pool::<sqlx::Sqlite>(1, life).connect_lazy("sqlite::memory:").unwrap();
            assert_eq!((pool.options().get_idle_timeout(), pool.options().get_max_lifetime()), (None, None));
            pool.execute("CREATE TEMP TABLE mark (id INTEGER)").await.unwrap();
            assert_eq!(pool.execute("SELECT * FROM mark").await.is_ok(), stays);
        }
    }

    #[test]
    fn both_databases_have_the_same_migrations() {
        let names = |migrator: &Migrator| -> Vec<_> {
            migrator.iter().map(|m| (m.version, m.description.clone(), m.migration_type)).collect()
        };
        assert_eq!(names(&POSTGRES), names(&SQLITE));
    }
}
