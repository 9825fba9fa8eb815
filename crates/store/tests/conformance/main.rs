//! One suite, run on a real SQLite file and on a real PostgreSQL.

mod access;
mod accounts;
mod audit;
mod audit_log;
mod backlog;
mod blocks;
mod bursts;
mod cancel;
mod claim;
mod crowd;
mod dead_letters;
mod delivery;
mod duties;
mod export;
mod files;
mod finish;
mod forget;
mod holds;
mod holds_in_order;
mod home;
mod ingest;
mod journey;
mod link;
mod listing;
mod live;
mod looking;
mod notices;
mod outage;
mod pacing;
mod pages;
mod people;
mod reading;
mod replay;
mod retention;
mod scale;
mod stops;
mod targets;
mod turns;
mod walk;

/// Runs each of the tests on both databases, every time on a fresh one.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::home::Home::postgres().await).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::home::Home::sqlite().await).await;
            })*
        }
    };
}
pub(crate) use on_both;
