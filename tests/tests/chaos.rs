//! A short run of `tests/chaos` from a fixed seed.

use std::time::Duration;

use broca_tests::{
    Database,
    chaos::{ChaosOptions, run, table},
};
use tokio::sync::Mutex;

/// Two runs at once would measure each other's load.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

async fn nothing_is_lost(database: Database) {
    let _turn = ONE_AT_A_TIME.lock().await;
    let report = run(ChaosOptions { database, seed: 2, length: Duration::from_secs(20) }).await;
    assert!(report.is_good(), "{}\n{}", report.details(), table(&[report]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn on_sqlite() {
    nothing_is_lost(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn on_postgres() {
    nothing_is_lost(Database::Postgres).await;
}
