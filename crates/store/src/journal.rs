//! Appending to the journal, the table `events`: what happened and is told by no row that stays as it is.
//!
//! A statement that overwrites or deletes a fact of a message's journey appends it, in the same transaction. A
//! fact that stands in a row of its own and stays there (a turn's start and end, a delivery attempt's, a replay) is
//! not written twice. [`broca_core::EventKind`] says of each kind where it lives.
//!
//! - A batch on PostgreSQL appends in its one statement, in a CTE called `journal` that takes its time from the clock
//!   of the statement and its rows from what the locks returned: `INSERT INTO events (at, kind, …) SELECT now, 'claimed', …`.
//! - A batch on SQLite hands all its [`Event`]s to [`append`], inside its transaction.
//! - What is written once for both databases ([`Tx`]) calls [`note`].
//!
//! Set `message` when it concerns one message, `conversation` when it concerns each of a conversation's (its
//! lease, its pauses); both when both are so. Each costs an index entry, so leave out what nobody would look for.

use broca_core::EventKind;
use serde_json::{Value, json};
use sqlx::{SqliteConnection, types::Uuid};

use crate::{
    StoreError, lite,
    tx::{Tx, change},
};

#[derive(Clone, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) kind: EventKind,
    /// By the database's clock.
    pub(crate) at: i64,
    pub(crate) message: Option<Uuid>,
    pub(crate) conversation: Option<Uuid>,
    pub(crate) response: Option<Uuid>,
    pub(crate) actor: Option<&'a str>,
    pub(crate) epoch: Option<i64>,
    pub(crate) detail: Option<Value>,
}

impl<'a> Event<'a> {
    pub(crate) fn new(kind: EventKind, at: i64) -> Self {
        Self { kind, at, message: None, conversation: None, response: None, actor: None, epoch: None, detail: None }
    }

    pub(crate) fn message(self, id: Uuid) -> Self {
        Self { message: Some(id), ..self }
    }

    pub(crate) fn conversation(self, id: Uuid) -> Self {
        Self { conversation: Some(id), ..self }
    }

    pub(crate) fn response(self, id: Uuid) -> Self {
        Self { response: Some(id), ..self }
    }

    pub(crate) fn actor(self, actor: &'a str) -> Self {
        Self { actor: Some(actor), ..self }
    }

    pub(crate) fn epoch(self, epoch: i64) -> Self {
        Self { epoch: Some(epoch), ..self }
    }

    pub(crate) fn detail(self, detail: Value) -> Self {
        Self { detail: Some(detail), ..self }
    }

    fn row(&self) -> Value {
        json!({
            "at": self.at, "kind": self.kind, "message": self.message.map(lite::hex),
            "conversation": self.conversation.map(lite::hex), "response": self.response.map(lite::hex),
            "actor": self.actor, "epoch": self.epoch, "detail": self.detail.as_ref().map(ToString::to_string),
        })
    }
}

const APPEND: &str = "-- journal
INSERT INTO events (at, kind, message_id, conversation_id, response_id, actor, epoch, detail)
SELECT value ->> 'at', value ->> 'kind', unhex(value ->> 'message'), unhex(value ->> 'conversation'),
       unhex(value ->> 'response'), value ->> 'actor', value ->> 'epoch', value ->> 'detail'
FROM json_each($1)";

/// Appends a batch on SQLite; an empty one costs nothing.
pub(crate) async fn append(conn: &mut SqliteConnection, events: &[Event<'_>]) -> Result<(), StoreError> {
    lite::write(conn, APPEND, events.iter().map(Event::row).collect()).await
}

const EACH_PG: &str = "-- journal
INSERT INTO events (at, kind, message_id, actor, detail)
SELECT $1, $2, m.id, $4, $5::jsonb FROM unnest($3::uuid[]) WITH ORDINALITY AS m (id, n) ORDER BY m.n";

/// Appends the same for each of several messages, on either database.
pub(crate) async fn note_each(tx: &mut Tx<'_>, event: &Event<'_>, messages: &[Uuid]) -> Result<(), StoreError> {
    match tx {
        Tx::Pg(conn) => {
            let detail = event.detail.as_ref().map(ToString::to_string);
            let query = sqlx::query(EACH_PG).bind(event.at).bind(event.kind.as_str()).bind(messages.to_vec());
            query.bind(event.actor).bind(detail).execute(&mut **conn).await?;
            Ok(())
        }
        Tx::Lite(conn) => {
            let events: Vec<Event<'_>> = messages.iter().map(|message| event.clone().message(*message)).collect();
            append(conn, &events).await
        }
    }
}

const NOTE_PG: &str = "-- journal
INSERT INTO events (at, kind, message_id, conversation_id, response_id, actor, epoch, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb)";

const NOTE_LITE: &str = "-- journal
INSERT INTO events (at, kind, message_id, conversation_id, response_id, actor, epoch, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// Appends one event on either database.
pub(crate) async fn note(tx: &mut Tx<'_>, event: &Event<'_>) -> Result<(), StoreError> {
    let sql = tx.either(NOTE_PG, NOTE_LITE);
    change!(
        tx,
        sql,
        event.at,
        event.kind.as_str(),
        event.message,
        event.conversation,
        event.response,
        event.actor,
        event.epoch,
        event.detail.as_ref().map(ToString::to_string),
    )?;
    Ok(())
}
