//! What can go wrong in the store, and whether it is worth trying again.

use std::{borrow::Cow, sync::Arc};

use broca_core::{ConversationId, MessageId, MessageState};

/// Why an operation of the store failed. Nothing of it was written, except where the connection broke during a
/// commit: then it may have been, and every operation can safely be repeated.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or it broke, or the database is starting, stopping or overloaded. Try again later.
    #[error("the database is not available ({0}): check that it runs and that the configured url reaches it")]
    Unavailable(Arc<sqlx::Error>),
    /// Another writer was in the way for longer than the store is willing to wait. Try again later.
    #[error("the database was busy with other writers ({0}): try again")]
    Contention(String),
    #[error("the database lacks the migrations {}: run `broca migrate`", missing.join(", "))]
    NotMigrated { missing: Vec<String> },
    #[error("cannot migrate the database: {0}")]
    Migration(Arc<sqlx::migrate::MigrateError>),
    #[error("'{url}' is no database url ({reason}): use sqlite:broca.db or postgres://user@host/database")]
    Url { url: String, reason: String },
    /// The move is not in the state machine of `broca_core::state`, or the row it names does not fit.
    #[error("refused: {0}")]
    Refused(String),
    /// The message is no longer the worker's: an operator took it out of the queue. The conversation may go on with the
    /// next one.
    #[error("message {0} was taken out of its queue")]
    LeftQueue(MessageId),
    /// The message waits in its queue and is not to be begun: since the page was read a hold was put on, or the end of one
    /// put others before it. Read it again.
    #[error("message {0} is on hold, or not the first pending one of its conversation any more")]
    KeptBack(MessageId),
    /// The messages are not the first pending ones of their conversation any more, or one of them is on hold: read the
    /// queue again.
    #[error("what waits in conversation {0} has changed")]
    QueueChanged(ConversationId),
    /// Somebody asked to have the message's turn stopped, and the end that was given does not say so.
    #[error("the turn of message {0} is to be stopped")]
    StopAsked(MessageId),
    /// The database refused the data. Repeating it does not help.
    #[error("the database refused the data: {0}")]
    Data(Arc<sqlx::Error>),
    /// A row says what this version does not know: a newer version wrote it, or a person did.
    #[error("cannot read a row ({0}): upgrade this process, or repair the row")]
    Unreadable(String),
}

impl StoreError {
    /// Whether the same call can succeed later without anybody changing anything but the database's health.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contention(_))
    }

    /// Why work on a message that is in `state` was refused, if that is because somebody took it away from there.
    pub(crate) fn left_queue(message: MessageId, state: &str) -> Option<Self> {
        let taken = [MessageState::Cancelled, MessageState::Held].map(MessageState::as_str);
        taken.contains(&state).then_some(Self::LeftQueue(message))
    }

    pub(crate) fn unreadable(error: impl std::fmt::Display) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        let kind: Kind = match &error {
            E::Database(database) => {
                let code = database.code().unwrap_or(Cow::Borrowed(""));
                match database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                    Some(postgres) => of_postgres(&code, postgres.constraint()),
                    None => of_sqlite(&code),
                }
            }
            E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => {
                Self::Unavailable
            }
            E::ColumnDecode { .. } | E::Decode(_) | E::ColumnNotFound(_) | E::TypeNotFound { .. } => {
                return Self::Unreadable(error.to_string());
            }
            _ => Self::Data,
        };
        kind(Arc::new(error))
    }
}

type Kind = fn(Arc<sqlx::Error>) -> StoreError;

fn contention(error: Arc<sqlx::Error>) -> StoreError {
    StoreError::Contention(error.to_string())
}

/// Appendix A of the PostgreSQL manual.
fn of_postgres(code: &str, constraint: Option<&str>) -> Kind {
    match code {
        // Two processes accepted the same event at once: the next look finds the winner's row.
        "23505" if constraint == Some("messages_event") => contention,
        // Serialization failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => contention,
        // Wrong password, role or database: a person mends it, and then it works.
        "28000" | "28P01" | "3D000" => StoreError::Unavailable,
        // Connection exceptions, insufficient resources (too many connections, disk full), operator
        // intervention (shutdown, crash recovery, cancelled by timeout), system errors.
        _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => StoreError::Unavailable,
        _ => StoreError::Data,
    }
}

/// <https://www.sqlite.org/rescode.html>; extended codes carry the primary one in their low byte.
fn of_sqlite(code: &str) -> Kind {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // BUSY (with 517, BUSY_SNAPSHOT) and LOCKED.
        Ok(5 | 6) => contention,
        // NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN.
        Ok(7..=10 | 13 | 14) => StoreError::Unavailable,
        _ => StoreError::Data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_transient() {
        let error = || Arc::new(sqlx::Error::PoolTimedOut);
        for code in ["40P01", "40001", "57P01", "57P03", "53300", "08006", "55P03"] {
            assert!(of_postgres(code, None)(error()).is_transient(), "{code}");
        }
        for code in ["5", "517", "261", "6", "10", "13"] {
            assert!(of_sqlite(code)(error()).is_transient(), "{code}");
        }
        assert!(of_postgres("23505", Some("messages_event"))(error()).is_transient());
        for (code, constraint) in [("23505", Some("turns_one_open")), ("23514", None), ("22021", None)] {
            assert!(!of_postgres(code, constraint)(error()).is_transient(), "{code}");
        }
        assert!(!of_sqlite("2067")(error()).is_transient());
        assert!(StoreError::from(sqlx::Error::PoolTimedOut).is_transient());
    }
}
