//! Dead letters: messages that failed, and answers that could not be delivered or may not have been.
//!
//! A letter is the row itself, in its state, as often as it was replayed so far (`round`): one that is replayed and
//! fails again is another letter. It is open until somebody resolves it or replays it; either is a row in
//! `letters_closed`, and neither changes what happened. A replay of a message closes the letters of its older answers
//! with it: its new outcome counts.

use std::str::FromStr;

use broca_core::{ConversationId, Instance, MessageId, ResponseId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    db::Db,
    decode::{count, parsed},
    reading::fetch,
};

/// Where a message got stuck, and where a replay starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// At the agent.
    Turn,
    /// Between the stored answer and the platform.
    Delivery,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Delivery => "delivery",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "turn" => Ok(Self::Turn),
            "delivery" => Ok(Self::Delivery),
            _ => Err(format!("'{text}' is no stage: use turn or delivery")),
        }
    }
}

/// A message at one of its two stages, with what an operator needs to judge it. A dead letter, unless it came from
/// [`Store::stages_of`].
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Letter {
    pub message_id: MessageId,
    pub stage: Stage,
    /// The answer, at stage `delivery`.
    pub response_id: Option<ResponseId>,
    /// The message's state (stage `turn`) or the answer's (stage `delivery`).
    pub state: String,
    pub class: Option<String>,
    pub reason: Option<String>,
    /// Attempts at this stage, those before replays included.
    pub attempts: u32,
    /// How often it was replayed before.
    pub replays: i64,
    /// When it came into this state, unless it is on its way.
    pub failed_at: Option<Timestamp>,
    pub received_at: Timestamp,
    pub conversation_id: ConversationId,
    /// Its place when it was accepted: the order in which it is replayed.
    pub seq: i64,
    pub agent: String,
    /// Of the time when it was accepted.
    pub route: String,
    pub instance: Instance,
    pub platform: String,
    pub platform_user_id: String,
    pub username: Option<String>,
    pub chat_id: Option<String>,
    pub is_group: bool,
    pub text: String,
    pub answer: Option<String>,
    pub closed: Option<Closed>,
}

/// Who dealt with a dead letter.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Closed {
    /// `resolved` or `replayed`.
    pub how: String,
    pub actor: String,
    pub note: Option<String>,
    pub at: Timestamp,
    /// When its copy in the dead-letter stream was dropped.
    pub purged_at: Option<Timestamp>,
}

/// Which letters. Whatever is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LetterFilter {
    pub instance: Option<Instance>,
    pub platform: Option<String>,
    pub agent: Option<String>,
    /// The platform's id of the person.
    pub user: Option<String>,
    pub conversation: Option<ConversationId>,
    pub class: Option<String>,
    pub stage: Option<Stage>,
    /// Failed at or after this.
    pub since: Option<Timestamp>,
    /// Failed before this.
    pub until: Option<Timestamp>,
    /// In the message or in its answer, in any case.
    pub contains: Option<String>,
    pub closed: ClosedLetters,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClosedLetters {
    /// Only open letters.
    #[default]
    Without,
    /// Only resolved ones whose copies are not purged.
    Only,
    /// All of them.
    With,
}

/// Where a page ended: the next one goes on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterCursor {
    failed_at: i64,
    subject: Uuid,
}

impl std::fmt::Display for LetterCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.failed_at, self.subject.simple())
    }
}

impl FromStr for LetterCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, Uuid::parse_str(id).ok()?)));
        let (failed_at, subject) =
            parts.ok_or_else(|| format!("'{text}' is no cursor: use the next_cursor of the page before"))?;
        Ok(Self { failed_at, subject })
    }
}

impl Letter {
    /// What the letter is about: the key of its closing.
    pub(crate) fn subject(&self) -> Uuid {
        self.response_id.map_or(self.message_id.0, |response| response.0)
    }

    pub fn cursor(&self) -> LetterCursor {
        LetterCursor { failed_at: self.failed_at.map_or(0, Timestamp::micros), subject: self.subject() }
    }
}

/// What is true of a letter, whichever way it was found.
macro_rules! about_letters {
    ($name:literal, $letters:literal, $rest:literal) => {
        concat!(
            $name,
            "\nWITH letter AS (",
            $letters,
            ")
SELECT l.subject_id, l.stage, l.round, l.message_id, l.response_id, l.state, l.class, l.reason, l.failed_at, l.attempts,
       l.answer, m.instance, m.platform, m.route, m.chat_id, m.is_group, m.text, m.conversation_id,
       COALESCE(m.first_seq, m.seq) AS seq, m.received_at, c.agent, p.platform_user_id, p.username,
       x.how, x.actor, x.note, x.closed_at, x.purged_at
FROM letter l
JOIN messages m ON m.id = l.message_id
JOIN conversations c ON c.id = m.conversation_id
JOIN profiles p ON p.id = m.profile_id
LEFT JOIN letters_closed x ON x.subject_id = l.subject_id AND x.round = l.round
",
            $rest
        )
    };
}

/// `class IS NOT NULL` brings the index: whatever failed has a class.
pub(crate) const LETTERS: &str = about_letters!(
    "-- dead letters",
    "
    SELECT id AS subject_id, 'turn' AS stage, replays AS round, id AS message_id, NULL AS response_id, state, class, reason,
           finished_at AS failed_at, attempts, NULL AS answer
    FROM messages WHERE class IS NOT NULL AND state = 'failed'
    UNION ALL
    SELECT id, 'delivery', replays, message_id, id, state, class, reason, finished_at, attempts, text
    FROM responses WHERE class IS NOT NULL AND kind = 'answer' AND state IN ('dead', 'unknown')
",
    "WHERE ($1 IS NULL OR m.instance = $1) AND ($2 IS NULL OR m.platform = $2) AND ($3 IS NULL OR c.agent = $3)
  AND ($4 IS NULL OR p.platform_user_id = $4) AND ($5 IS NULL OR m.conversation_id = $5)
  AND ($6 IS NULL OR l.class = $6) AND ($7 IS NULL OR l.stage = $7)
  AND ($8 IS NULL OR l.failed_at >= $8) AND ($9 IS NULL OR l.failed_at < $9)
  AND ($10 IS NULL OR lower(m.text) LIKE $10 ESCAPE '!' OR lower(l.answer) LIKE $10 ESCAPE '!')
  AND ($11 = 'with' OR ($11 = 'without' AND x.subject_id IS NULL)
       OR ($11 = 'only' AND x.subject_id IS NOT NULL AND x.purged_at IS NULL))
  AND ($12 IS NULL OR l.failed_at < $12 OR (l.failed_at = $12 AND l.subject_id < $13))
ORDER BY l.failed_at DESC, l.subject_id DESC LIMIT $14"
);

pub(crate) const STAGES: &str = about_letters!(
    "-- stages of a message",
    "
    SELECT id AS subject_id, 'turn' AS stage, replays AS round, id AS message_id, NULL AS response_id, state, class, reason,
           finished_at AS failed_at, attempts, NULL AS answer, 0 AS place
    FROM messages WHERE id = $1
    UNION ALL
    SELECT id, 'delivery', replays, message_id, id, state, class, reason, finished_at, attempts, text, ord
    FROM responses WHERE message_id = $1 AND kind = 'answer'
",
    "ORDER BY l.stage DESC, l.place DESC"
);

#[derive(sqlx::FromRow)]
struct Row {
    stage: String,
    round: i64,
    message_id: Uuid,
    response_id: Option<Uuid>,
    state: String,
    class: Option<String>,
    reason: Option<String>,
    failed_at: Option<i64>,
    attempts: i64,
    answer: Option<String>,
    instance: String,
    platform: String,
    route: String,
    chat_id: Option<String>,
    is_group: bool,
    text: String,
    conversation_id: Uuid,
    seq: i64,
    received_at: i64,
    agent: String,
    platform_user_id: String,
    username: Option<String>,
    how: Option<String>,
    actor: Option<String>,
    note: Option<String>,
    closed_at: Option<i64>,
    purged_at: Option<i64>,
}

impl Row {
    fn letter(self) -> Result<Letter, StoreError> {
        let closed = match (self.how, self.actor, self.closed_at) {
            (Some(how), Some(actor), Some(at)) => {
                let purged_at = self.purged_at.map(Timestamp);
                Some(Closed { how, actor, note: self.note, at: Timestamp(at), purged_at })
            }
            _ => None,
        };
        Ok(Letter {
            message_id: MessageId(self.message_id),
            stage: parsed(&self.stage)?,
            response_id: self.response_id.map(ResponseId),
            state: self.state,
            class: self.class,
            reason: self.reason,
            attempts: count(self.attempts)?,
            replays: self.round,
            failed_at: self.failed_at.map(Timestamp),
            received_at: Timestamp(self.received_at),
            conversation_id: ConversationId(self.conversation_id),
            seq: self.seq,
            agent: self.agent,
            route: self.route,
            instance: parsed(&self.instance)?,
            platform: self.platform,
            platform_user_id: self.platform_user_id,
            username: self.username,
            chat_id: self.chat_id,
            is_group: self.is_group,
            text: self.text,
            answer: self.answer,
            closed,
        })
    }
}

/// A pattern for `LIKE` with `!` as its escape.
pub(crate) fn pattern(contains: &str) -> String {
    let mut pattern = String::from("%");
    for c in contains.to_lowercase().chars() {
        if matches!(c, '!' | '%' | '_') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

impl Store {
    /// Dead letters, newest failure first, at most `limit`, from behind `after` on.
    pub async fn letters(
        &self,
        filter: &LetterFilter,
        after: Option<LetterCursor>,
        limit: u32,
    ) -> Result<Vec<Letter>, StoreError> {
        let closed = match filter.closed {
            ClosedLetters::Without => "without",
            ClosedLetters::Only => "only",
            ClosedLetters::With => "with",
        };
        let rows = fetch!(
            self,
            fetch_all,
            Row,
            LETTERS,
            filter.instance.as_ref().map(Instance::as_str),
            filter.platform.as_deref(),
            filter.agent.as_deref(),
            filter.user.as_deref(),
            filter.conversation.map(|conversation| conversation.0),
            filter.class.as_deref(),
            filter.stage.map(Stage::as_str),
            filter.since.map(Timestamp::micros),
            filter.until.map(Timestamp::micros),
            filter.contains.as_deref().map(pattern),
            closed,
            after.map(|after| after.failed_at),
            after.map(|after| after.subject),
            i64::from(limit)
        )?;
        rows.into_iter().map(Row::letter).collect()
    }

    /// A message at stage `turn`, and then its answers at stage `delivery`, the newest first, whatever their states;
    /// nothing when there is no such message.
    pub async fn stages_of(&self, message: MessageId) -> Result<Vec<Letter>, StoreError> {
        fetch!(self, fetch_all, Row, STAGES, message.0)?.into_iter().map(Row::letter).collect()
    }

    /// The database's time.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        const NOW_LITE: &str = concat!("SELECT ", crate::lite::now!());
        let sql = match self.db {
            Db::Pg(_) => "SELECT broca_now()",
            Db::Lite(_) => NOW_LITE,
        };
        let (now,) = fetch!(self, fetch_one, (i64,), sql)?;
        Ok(Timestamp(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_text() {
        let cursor = LetterCursor { failed_at: 17, subject: Uuid::now_v7() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "17", "17.x", "x.00000000000000000000000000000000"] {
            assert!(bad.parse::<LetterCursor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_means_its_text() {
        assert_eq!(pattern("100% A_b!"), "%100!% a!_b!!%");
    }
}
