//! What the database alone can do, for `broca bench`: the same durable steps on one bare table, in batches, without
//! leases, ledger, journey or order.

use sqlx::{AssertSqlSafe, types::Uuid};

use crate::{Store, StoreError, db::Db};

const CREATE: &str = "CREATE TABLE bench_bare (id UUID_TYPE PRIMARY KEY, instance TEXT NOT NULL, text TEXT NOT NULL, \
                      answer TEXT, state TEXT NOT NULL)";
const DROP: &str = "DROP TABLE IF EXISTS bench_bare";

const INSERT_PG: &str = "-- yardstick insert
INSERT INTO bench_bare (id, instance, text, state) SELECT id, 'bench', $2, 'received' FROM unnest($1::uuid[]) AS i (id)";
const COMPLETE_PG: &str = "-- yardstick complete
UPDATE bench_bare SET state = 'completed', answer = $2 WHERE id = ANY ($1::uuid[])";
const DELIVERED_PG: &str = "-- yardstick delivered
UPDATE bench_bare SET state = 'delivered' WHERE id = ANY ($1::uuid[])";

// SQLite has no arrays: the ids come as the hex digits of a JSON list.
const INSERT_LITE: &str = "-- yardstick insert
INSERT INTO bench_bare (id, instance, text, state) SELECT unhex(value), 'bench', $2, 'received' FROM json_each($1)";
const COMPLETE_LITE: &str = "-- yardstick complete
UPDATE bench_bare SET state = 'completed', answer = $2 WHERE id IN (SELECT unhex(value) FROM json_each($1))";
const DELIVERED_LITE: &str = "-- yardstick delivered
UPDATE bench_bare SET state = 'delivered' WHERE id IN (SELECT unhex(value) FROM json_each($1))";

/// One bare table, dropped by [`Yardstick::end`]. Each call is one statement and one commit.
#[derive(Clone, Debug)]
pub struct Yardstick {
    db: Db,
}

impl Store {
    /// Makes the bare table anew.
    pub async fn yardstick(&self) -> Result<Yardstick, StoreError> {
        let yardstick = Yardstick { db: self.db.clone() };
        yardstick.schema(DROP.to_owned()).await?;
        let id = if matches!(self.db, Db::Pg(_)) { "uuid" } else { "BLOB" };
        yardstick.schema(CREATE.replace("UUID_TYPE", id)).await?;
        Ok(yardstick)
    }
}

impl Yardstick {
    /// A message arrives.
    pub async fn insert(&self, ids: &[Uuid], text: &str) -> Result<(), StoreError> {
        self.run([INSERT_PG, INSERT_LITE], ids, Some(text)).await
    }

    /// Its answer is there.
    pub async fn complete(&self, ids: &[Uuid], answer: &str) -> Result<(), StoreError> {
        self.run([COMPLETE_PG, COMPLETE_LITE], ids, Some(answer)).await
    }

    /// Its answer is delivered.
    pub async fn delivered(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        self.run([DELIVERED_PG, DELIVERED_LITE], ids, None).await
    }

    pub async fn end(self) -> Result<(), StoreError> {
        self.schema(DROP.to_owned()).await
    }

    async fn run(&self, [pg, lite]: [&'static str; 2], ids: &[Uuid], text: Option<&str>) -> Result<(), StoreError> {
        match &self.db {
            Db::Pg(db) => {
                let query = sqlx::query(pg).bind(ids);
                let query = if let Some(text) = text { query.bind(text) } else { query };
                query.execute(&db.hot).await?;
            }
            Db::Lite(db) => {
                let hex: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
                let list = serde_json::to_string(&hex).map_err(StoreError::unreadable)?;
                let query = sqlx::query(lite).bind(list);
                let query = if let Some(text) = text { query.bind(text) } else { query };
                query.execute(&mut *db.writer.lock().await).await?;
            }
        }
        Ok(())
    }

    async fn schema(&self, sql: String) -> Result<(), StoreError> {
        match &self.db {
            Db::Pg(db) => sqlx::query(AssertSqlSafe(sql)).execute(&db.pool).await.map(drop)?,
            Db::Lite(db) => sqlx::query(AssertSqlSafe(sql)).execute(&mut *db.writer.lock().await).await.map(drop)?,
        }
        Ok(())
    }
}
