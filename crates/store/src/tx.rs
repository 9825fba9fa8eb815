//! One transaction on either database, for work that operators ask for: rare, and the same statements for both.
//!
//! Under `read committed` the rows that decide are locked by a statement of their own, and read by the next one, which
//! then sees the newest version. SQLite's transaction has the one write lock from its start.

use sqlx::{PgConnection, SqliteConnection, types::Uuid};

use crate::{StoreError, lite};

pub(crate) enum Tx<'c> {
    Pg(&'c mut PgConnection),
    Lite(&'c mut SqliteConnection),
}

/// Runs one query in a [`Tx`].
macro_rules! ask {
    ($tx:expr, $method:ident, $row:ty, $sql:expr $(, $argument:expr)* $(,)?) => {{
        let sql = $sql;
        match $tx {
            crate::tx::Tx::Pg(conn) => sqlx::query_as::<_, $row>(sql)$(.bind($argument))*.$method(&mut **conn).await,
            crate::tx::Tx::Lite(conn) => sqlx::query_as::<_, $row>(sql)$(.bind($argument))*.$method(&mut **conn).await,
        }
    }};
}
pub(crate) use ask;

/// Runs one statement in a [`Tx`]; says how many rows it wrote.
macro_rules! change {
    ($tx:expr, $sql:expr $(, $argument:expr)* $(,)?) => {{
        let sql = $sql;
        match $tx {
            crate::tx::Tx::Pg(conn) => {
                sqlx::query(sql)$(.bind($argument))*.execute(&mut **conn).await.map(|done| done.rows_affected())
            }
            crate::tx::Tx::Lite(conn) => {
                sqlx::query(sql)$(.bind($argument))*.execute(&mut **conn).await.map(|done| done.rows_affected())
            }
        }
    }};
}
pub(crate) use change;

/// Reads several tables as they were at one moment.
macro_rules! snapshot {
    ($store:expr, $read:path $(, $argument:expr)*) => {
        match &$store.db {
            crate::db::Db::Pg(pg) => {
                let mut tx = pg.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                $read(&mut crate::tx::Tx::Pg(&mut tx)$(, $argument)*).await
            }
            crate::db::Db::Lite(lite) => {
                let mut tx = lite.reader.begin().await?;
                $read(&mut crate::tx::Tx::Lite(&mut tx)$(, $argument)*).await
            }
        }
    };
}
pub(crate) use snapshot;

impl Tx<'_> {
    /// Waits for the row that `sql` locks by its id, on PostgreSQL.
    pub(crate) async fn lock(&mut self, sql: &'static str, id: Uuid) -> Result<(), StoreError> {
        if let Self::Pg(conn) = self {
            sqlx::query(sql).bind(id).execute(&mut **conn).await?;
        }
        Ok(())
    }

    /// One of two statements that do the same.
    pub(crate) fn either(&self, pg: &'static str, lite: &'static str) -> &'static str {
        match self {
            Self::Pg(_) => pg,
            Self::Lite(_) => lite,
        }
    }

    /// The database's time, in microseconds.
    pub(crate) async fn now(&mut self) -> Result<i64, StoreError> {
        match self {
            Self::Pg(conn) => {
                let (now,): (i64,) = sqlx::query_as("SELECT broca_now()").fetch_one(&mut **conn).await?;
                Ok(now)
            }
            Self::Lite(conn) => lite::now_micros(conn).await,
        }
    }
}

/// An [`crate::operation::Operation`] on single items, written once for both databases.
macro_rules! operation {
    ($name:ident: $item:ty => $output:ty, $label:literal, $call:path) => {
        pub(crate) struct $name;

        impl crate::operation::Operation for $name {
            type Item = $item;
            type Output = $output;
            const NAME: &'static str = $label;

            async fn pg(
                conn: &mut sqlx::PgConnection,
                items: &[$item],
            ) -> Result<Vec<crate::operation::Each<$output>>, crate::StoreError> {
                let mut tx = sqlx::Connection::begin(conn).await?;
                let mut answers = Vec::with_capacity(items.len());
                for item in items {
                    answers.push(Ok($call(&mut crate::tx::Tx::Pg(&mut tx), item).await?));
                }
                tx.commit().await?;
                Ok(answers)
            }

            async fn lite(
                conn: &mut sqlx::SqliteConnection,
                items: &[$item],
            ) -> Result<Vec<crate::operation::Each<$output>>, crate::StoreError> {
                let mut answers = Vec::with_capacity(items.len());
                for item in items {
                    answers.push(Ok($call(&mut crate::tx::Tx::Lite(conn), item).await?));
                }
                Ok(answers)
            }
        }
    };
}
pub(crate) use operation;
