//! One suite, run on a real SQLite file and on a real PostgreSQL.

mod audit;
mod audit_log;
mod cancel;
mod claim;
mod crowd;
mod dead_letters;
mod delivery;
mod duties;
mod finish;
mod holds;
mod holds_in_order;
mod home;
mod ingest;
mod journey;
mod outage;
mod pacing;
mod reading;
mod replay;
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
