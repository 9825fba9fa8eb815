//! What the database says of itself, for whoever looks after it.

use broca_core::Timestamp;

use crate::{Backend, Store, StoreError, lite, reading::fetch};

/// A look at the database, also at one that was never migrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFacts {
    pub backend: Backend,
    /// The server's, or the library's.
    pub version: String,
    /// By the database's clock.
    pub now: Timestamp,
    pub bytes: i64,
    /// Connections that the server has, and allows; SQLite counts none.
    pub connections: Option<(i64, i64)>,
    /// Migrations that this build knows and the database lacks.
    pub missing: Vec<String>,
}

pub(crate) const FACTS_PG: &str = "-- facts
SELECT current_setting('server_version'), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    pg_database_size(current_database()), (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    current_setting('max_connections')::bigint";

pub(crate) const FACTS_LITE: &str = concat!(
    "-- facts
SELECT sqlite_version(), ",
    lite::now!(),
    ", (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size()), 0, 0"
);

impl Store {
    /// # Errors
    /// The database does not answer.
    pub async fn facts(&self) -> Result<DatabaseFacts, StoreError> {
        let backend = self.backend();
        let sql = match backend {
            Backend::Postgres => FACTS_PG,
            Backend::Sqlite => FACTS_LITE,
        };
        let (version, now, bytes, open, allowed) = fetch!(self, fetch_one, (String, i64, i64, i64, i64), sql)?;
        let connections = (backend == Backend::Postgres).then_some((open, allowed));
        let missing = self.db.missing().await?;
        Ok(DatabaseFacts { backend, version, now: Timestamp(now), bytes, connections, missing })
    }
}
