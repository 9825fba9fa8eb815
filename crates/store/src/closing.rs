//! The end of a dead letter: an operator resolved it or replayed it. What happened stays in its rows; what can be
//! thrown away is the copy in the dead-letter stream, and that it was is remembered here.

use std::time::Duration;

use broca_core::{MessageId, clock::micros, subject};
use sqlx::types::Uuid;

use crate::{
    Letter, Stage, Store, StoreError,
    decode::parsed,
    reading::fetch,
    tx::{Tx, change, operation},
};

/// The copy of a closed letter in the dead-letter stream.
#[derive(Clone, Debug)]
pub struct LetterCopy {
    subject_id: Uuid,
    round: i64,
    pub message: MessageId,
    /// Where the copy lies; `None` when a newer letter of the same message lies there by now.
    pub subject: Option<String>,
}

pub(crate) const COPIES: &str = "-- copies of closed letters
SELECT x.subject_id, x.round, x.stage, x.message_id, m.instance,
       CASE x.stage WHEN 'turn' THEN m.state = 'failed' AND m.replays > x.round
            ELSE EXISTS (SELECT 1 FROM responses r LEFT JOIN letters_closed y ON y.subject_id = r.id AND y.round = r.replays
                         WHERE r.message_id = x.message_id AND r.kind = 'answer' AND r.state = 'dead' AND y.subject_id IS NULL) END AS again
FROM letters_closed x JOIN messages m ON m.id = x.message_id
WHERE x.purged_at IS NULL AND x.closed_at <= $1
  AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.message_id = x.message_id AND o.kind = 'dead_letter')
ORDER BY x.closed_at, x.subject_id LIMIT $2";

/// The end of a letter.
#[derive(Clone, Debug)]
pub(crate) struct CloseLetter {
    pub(crate) subject: Uuid,
    pub(crate) round: i64,
    pub(crate) stage: Stage,
    pub(crate) message: MessageId,
    pub(crate) how: &'static str,
    pub(crate) actor: String,
    pub(crate) note: Option<String>,
}

pub(crate) const CLOSE: &str = "-- close letter
INSERT INTO letters_closed (subject_id, round, stage, message_id, how, actor, note, closed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING";

pub(crate) const PURGED: &str = "-- copy purged
UPDATE letters_closed SET purged_at = $3 WHERE subject_id = $1 AND round = $2 AND purged_at IS NULL";

/// Says whether it was open.
pub(crate) async fn close(tx: &mut Tx<'_>, letter: &CloseLetter) -> Result<bool, StoreError> {
    let now = tx.now().await?;
    let written = change!(
        tx,
        CLOSE,
        letter.subject,
        letter.round,
        letter.stage.as_str(),
        letter.message.0,
        letter.how,
        letter.actor.as_str(),
        letter.note.as_deref(),
        now,
    )?;
    Ok(written > 0)
}

async fn mark_purged(tx: &mut Tx<'_>, copy: &LetterCopy) -> Result<bool, StoreError> {
    let now = tx.now().await?;
    Ok(change!(tx, PURGED, copy.subject_id, copy.round, now)? > 0)
}

operation!(Close: CloseLetter => bool, "close letter", close);
operation!(MarkPurged: LetterCopy => bool, "copy purged", mark_purged);

impl Store {
    /// An operator says that an open letter needs nothing more. Says whether it was open until now.
    pub async fn resolve_letter(&self, letter: &Letter, actor: &str, note: Option<&str>) -> Result<bool, StoreError> {
        self.once::<Close>(CloseLetter {
            subject: letter.subject(),
            round: letter.replays,
            stage: letter.stage,
            message: letter.message_id,
            how: "resolved",
            actor: actor.to_owned(),
            note: note.map(str::to_owned),
        })
        .await
    }

    /// Copies of letters that were closed at least `min_age` ago, the oldest first. Those whose copy is still owed to
    /// the broker are left out until it is published.
    pub async fn copies_of_closed_letters(&self, min_age: Duration, limit: u32) -> Result<Vec<LetterCopy>, StoreError> {
        type Found = (Uuid, i64, String, Uuid, String, bool);
        let before = self.now().await?.micros().saturating_sub(micros(min_age));
        let rows = fetch!(self, fetch_all, Found, COPIES, before, i64::from(limit))?;
        let copy = |(subject_id, round, stage, message, instance, again): Found| {
            let message = MessageId(message);
            let subject = subject::dead_letter(&stage, &parsed(&instance)?, message);
            Ok(LetterCopy { subject_id, round, message, subject: (!again).then_some(subject) })
        };
        rows.into_iter().map(copy).collect()
    }

    /// The copy is gone, or overwritten.
    pub async fn copy_purged(&self, copy: LetterCopy) -> Result<(), StoreError> {
        self.once::<MarkPurged>(copy).await.map(drop)
    }
}
