use broca_core::MessageState;
use broca_store::{Store, StoreError, StoreOptions};

use crate::{
    home::{Home, says, worker},
    on_both,
};

on_both!(
    history_is_told_oldest_first,
    counts_tell_what_is_there,
    migrating_twice_applies_nothing,
    a_database_without_tables_says_what_to_do,
);

async fn history_is_told_oldest_first(home: Home) {
    for n in 0..4 {
        home.answer("alice", &n.to_string()).await;
    }
    home.accept(says("alice", "4")).await;
    home.accept(says("bob", "not hers")).await;
    let lines = home.store.history("cli", "alice", 3).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.text.as_str(), line.answer.as_deref())).collect();
    assert_eq!(told, [("2", Some("re: 2")), ("3", Some("re: 3")), ("4", None)]);
    assert_eq!(lines[2].state, MessageState::Received);
    assert!(home.store.history("cli", "carol", 3).await.unwrap().is_empty());
    assert!(home.store.message(broca_core::MessageId::new()).await.unwrap().is_none());
}

async fn counts_tell_what_is_there(home: Home) {
    assert!(home.store.counts().await.unwrap().oldest_open.is_none());
    home.answer("alice", "1").await;
    let (message, _) = home.accept(says("alice", "2")).await;
    home.accept(says("bob", "1")).await;
    home.hold(message, &worker("w")).await;
    let counts = home.store.counts().await.unwrap();
    assert_eq!((counts.messages["completed"], counts.messages["received"]), (1, 2));
    assert_eq!(counts.responses["pending"], 1);
    assert_eq!((counts.users, counts.conversations), (2, 2));
    assert_eq!((counts.pending_conversations, counts.leased_conversations, counts.outbox), (2, 1, 4));
    assert!(counts.oldest_open.is_some_and(|age| age.as_secs() < 60));
}

async fn migrating_twice_applies_nothing(home: Home) {
    home.store.check_migrated().await.unwrap();
    assert!(home.store.migrate().await.unwrap().is_empty());
    let version = home.store.ping().await.unwrap();
    let Some(version) = version.strip_prefix("SQLite ") else {
        assert!(version.starts_with("PostgreSQL 1"), "{version}");
        return;
    };
    // 3.51.3 mends a race of several connections that can corrupt a file in WAL mode.
    let numbers: Vec<u32> = version.split('.').map(|n| n.parse().unwrap()).collect();
    assert!(numbers >= vec![3, 51, 3], "SQLite {version} is too old");
    assert_eq!(home.number("PRAGMA synchronous").await, 2);
}

async fn a_database_without_tables_says_what_to_do(home: Home) {
    home.sql("DROP TABLE _sqlx_migrations").await;
    let error = home.store.check_migrated().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::NotMigrated { missing } if missing.starts_with(&["0001_initial".into(), "0002_replay".into()])),
        "{error}"
    );
    assert!(error.to_string().ends_with("run `broca migrate`"));
}

#[tokio::test]
async fn a_wrong_url_is_explained_without_its_password() {
    for url in ["mysql://me:secret@host/db", "secret"] {
        let error = Store::connect(url, StoreOptions::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::Url { .. }) && !error.is_transient());
        assert!(!error.to_string().contains("me:secret"), "{error}");
    }
    let refused = Store::connect("postgres://me:secret@127.0.0.1:1/db", StoreOptions::default()).await.unwrap_err();
    assert!(refused.is_transient() && !refused.to_string().contains("secret"), "{refused}");
}
