//! PostgreSQL goes away and comes back, under a store that stays.

use std::time::{Duration, Instant};

use broca_servers::Postgres;
use broca_store::{Accepted, Claimed, Store, StoreOptions};

use crate::home::{says, wish, worker};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_a_transient_error_and_then_all_works_again() {
    let mut server = Postgres::start();
    let store = Store::connect(&server.new_database(), StoreOptions::default()).await.unwrap();
    store.migrate().await.unwrap();
    let kept = says("alice", "before");
    store.ingest(kept.clone()).await.unwrap();

    for kill in [false, true] {
        if kill {
            server.kill9()
        } else {
            server.stop()
        }
        let error = store.ingest(says("alice", "during")).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        let error = store.ping().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        server.restart();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match store.ingest(says("alice", "after")).await {
                Ok(_) => break,
                Err(error) => assert!(error.is_transient() && Instant::now() < deadline, "{error}"),
            }
        }
        // What was accepted before is still accepted.
        let again = store.ingest(kept.clone()).await.unwrap();
        assert!(matches!(again, Accepted::Duplicate { message } if message == kept.id));
    }
    let Claimed::Held(lease) = store.claim(wish(kept.id, &worker("w"))).await.unwrap() else { panic!("not held") };
    assert!(lease.pending.len() >= 3);
}
