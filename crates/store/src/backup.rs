//! A copy of an embedded database, made while everything runs.

use std::path::Path;

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{Store, StoreError, db::Db};

impl Store {
    /// Writes the whole database, as it is at one moment, to a new file, and reads it once to see that it is sound.
    /// Writers go on meanwhile. [`StoreError::Refused`] on PostgreSQL, which has its own tools for this.
    pub async fn backup_to(&self, file: &Path) -> Result<(), StoreError> {
        let Db::Lite(lite) = &self.db else {
            return Err(StoreError::Refused("PostgreSQL is backed up with pg_dump or by its archive".to_owned()));
        };
        let path = file.to_str().ok_or_else(|| StoreError::Refused(format!("{file:?} is no plain path")))?;
        sqlx::query("VACUUM INTO $1").bind(path).execute(&mut *lite.writer.lock().await).await?;
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let mut copy = SqliteConnection::connect_with(&options).await?;
        let (verdict,): (String,) = sqlx::query_as("PRAGMA quick_check").fetch_one(&mut copy).await?;
        copy.close().await?;
        if verdict == "ok" { Ok(()) } else { Err(StoreError::Unreadable(format!("the copy is not sound: {verdict}"))) }
    }
}
