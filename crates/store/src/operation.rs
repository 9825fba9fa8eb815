//! What every write looks like: a batch of items, done on one connection, with one answer for each.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use broca_core::metric;
use sqlx::{Connection, PgConnection, PgPool, Postgres, SqliteConnection, pool::PoolConnection};
use tracing::debug;

use crate::{StoreError, db::Db};

/// The outcome of one item: what the caller of the single operation gets.
pub(crate) type Each<T> = Result<T, StoreError>;

/// One kind of write, on both databases. An `Err` of the whole means that nothing was written.
pub(crate) trait Operation: Send + Sync + 'static {
    type Item: Send + Sync + 'static;
    type Output: Send + 'static;
    /// For logs, and the first line of its SQL.
    const NAME: &'static str;

    fn pg(
        conn: &mut PgConnection,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Each<Self::Output>>, StoreError>> + Send;

    /// Runs inside a transaction that already has SQLite's write lock.
    fn lite(
        conn: &mut SqliteConnection,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Each<Self::Output>>, StoreError>> + Send;
}

/// How often a batch is repeated when other writers were in the way.
const ATTEMPTS: u32 = 6;

/// Where an operation runs, with the connection that it keeps for its next batch.
#[derive(Debug)]
pub(crate) struct Session {
    db: Db,
    pool: Option<PgPool>,
    kept: Option<PoolConnection<Postgres>>,
}

impl Session {
    /// `pool` overrides the pool that PostgreSQL connections come from.
    pub(crate) fn new(db: Db, pool: Option<PgPool>) -> Self {
        Self { db, pool, kept: None }
    }

    /// Gives the kept connection back to its pool.
    pub(crate) fn rest(&mut self) {
        self.kept = None;
    }

    /// Runs a batch. When the data of one item make it fail, each item is run by itself, so that the others succeed.
    pub(crate) async fn run<O: Operation>(&mut self, items: &[O::Item]) -> Vec<Each<O::Output>> {
        let started = Instant::now();
        let answers = self.run_unmeasured::<O>(items).await;
        measure::<O>(started, &answers);
        answers
    }

    async fn run_unmeasured<O: Operation>(&mut self, items: &[O::Item]) -> Vec<Each<O::Output>> {
        match self.persist::<O>(items).await {
            Ok(answers) => answers,
            Err(error) if error.is_transient() || items.len() == 1 => {
                items.iter().map(|_| Err(error.clone())).collect()
            }
            Err(error) => {
                debug!(operation = O::NAME, items = items.len(), %error, "a batch failed: running its items one by one");
                self.one_by_one::<O>(items).await
            }
        }
    }

    async fn one_by_one<O: Operation>(&mut self, items: &[O::Item]) -> Vec<Each<O::Output>> {
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            let answer = self.persist::<O>(std::slice::from_ref(item)).await;
            answers.push(answer.and_then(|mut one| one.pop().unwrap_or_else(|| Err(short::<O>(0, 1)))));
        }
        answers
    }

    /// Repeats the batch while other writers are in the way.
    async fn persist<O: Operation>(&mut self, items: &[O::Item]) -> Result<Vec<Each<O::Output>>, StoreError> {
        let mut attempt = 1;
        loop {
            match self.once::<O>(items).await {
                Ok(answers) if answers.len() == items.len() => return Ok(answers),
                Ok(answers) => return Err(short::<O>(answers.len(), items.len())),
                Err(StoreError::Contention(error)) if attempt < ATTEMPTS => {
                    debug!(operation = O::NAME, attempt, %error, "other writers were in the way");
                    tokio::time::sleep(Duration::from_millis(1 << attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn once<O: Operation>(&mut self, items: &[O::Item]) -> Result<Vec<Each<O::Output>>, StoreError> {
        match &self.db {
            Db::Pg(pg) => {
                let mut conn = match self.kept.take() {
                    Some(conn) => conn,
                    None => self.pool.as_ref().unwrap_or(&pg.pool).acquire().await?,
                };
                let result = O::pg(&mut conn, items).await;
                match &result {
                    // The connection may be dead: it is not used again.
                    Err(StoreError::Unavailable(_)) => conn.close_on_drop(),
                    _ => self.kept = Some(conn),
                }
                result
            }
            Db::Lite(lite) => {
                let mut conn = lite.writer.lock().await;
                let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
                let answers = O::lite(&mut tx, items).await?;
                tx.commit().await?;
                Ok(answers)
            }
        }
    }
}

/// Errors that never happened are zero, and not absent: an alert on a rise sees the first one, too.
pub(crate) fn begin_measuring<O: Operation>() {
    for kind in ["unavailable", "contention", "refused"] {
        metrics::counter!(metric::STORE_ERRORS.name, "operation" => O::NAME, "kind" => kind).increment(0);
    }
}

/// Once for each batch: what it costs is shared by its items.
fn measure<O: Operation>(started: Instant, answers: &[Each<O::Output>]) {
    metrics::histogram!(metric::BATCH.name, "operation" => O::NAME).record(answers.len() as f64);
    metrics::histogram!(metric::STORE.name, "operation" => O::NAME).record(started.elapsed());
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        let kind = match error {
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Contention(_) => "contention",
            _ => "refused",
        };
        metrics::counter!(metric::STORE_ERRORS.name, "operation" => O::NAME, "kind" => kind).increment(1);
    }
}

fn short<O: Operation>(answers: usize, items: usize) -> StoreError {
    StoreError::Unreadable(format!("{} answered {answers} of {items} items", O::NAME))
}

/// One column of a batch, as PostgreSQL's `unnest` takes it.
pub(crate) fn column<'a, I, T>(items: &'a [I], field: impl Fn(&'a I) -> T) -> Vec<T> {
    items.iter().map(field).collect()
}

/// Puts answers into the order of their items. `n` counts items from 1; an item without an answer gets `missing`, one
/// with several gets the last.
pub(crate) fn in_order<T>(
    items: usize,
    rows: impl IntoIterator<Item = (i64, Each<T>)>,
    missing: impl Fn() -> Each<T>,
) -> Vec<Each<T>> {
    let mut answers: Vec<Option<Each<T>>> = (0..items).map(|_| None).collect();
    for (n, answer) in rows {
        if let Some(place) = index(n).and_then(|n| answers.get_mut(n)) {
            *place = Some(answer);
        }
    }
    answers.into_iter().map(|answer| answer.unwrap_or_else(&missing)).collect()
}

/// From a count that starts at 1 to an index.
pub(crate) fn index(n: i64) -> Option<usize> {
    usize::try_from(n - 1).ok()
}
