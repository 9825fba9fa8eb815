//! Dead letters: looked at, resolved, and their copies in the broker dropped.
//!
//! Nothing here edits what happened. Resolving writes who, when and why beside the letter; purging drops the copy in
//! the dead-letter stream and remembers that it did. Rows go when retention takes them, never by these commands.

use std::time::Duration;

use broca_bus::{Bus, BusError};
use broca_core::{MessageId, MessageState, ResponseState, subject};
use broca_store::{Letter, LetterFilter, MessageRecord, PageCursor, Stage, Store, StoreError};
use serde::Serialize;

use crate::page::{and_one_more, cut};

/// Letters that one command deals with at most; a second run goes on.
pub const AT_ONCE: usize = 10_000;
/// Letters that are read at a time.
const PAGE: u32 = 500;

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Page {
    pub items: Vec<Letter>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<String>,
}

/// Dead letters, newest failure first.
pub async fn list(
    store: &Store,
    filter: &LetterFilter,
    after: Option<PageCursor>,
    limit: u32,
) -> Result<Page, StoreError> {
    let letters = store.letters(filter, after, and_one_more(limit)).await?;
    let (items, next_cursor) = cut(letters, limit, |last| last.cursor().to_string());
    Ok(Page { items, next_cursor })
}

/// Every letter that a filter finds, up to [`AT_ONCE`]; the second says whether there are more.
pub(crate) async fn all(store: &Store, filter: &LetterFilter) -> Result<(Vec<Letter>, bool), StoreError> {
    let mut letters: Vec<Letter> = Vec::new();
    loop {
        let after = letters.last().map(Letter::cursor);
        let page = store.letters(filter, after, PAGE).await?;
        let last = page.len() < PAGE as usize;
        letters.extend(page);
        if letters.len() >= AT_ONCE || last {
            let more = !last || letters.len() > AT_ONCE;
            letters.truncate(AT_ONCE);
            return Ok((letters, more));
        }
    }
}

/// One message with its dead letter.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Shown {
    /// `None` when the message is no dead letter, or none any more.
    pub letter: Option<Letter>,
    pub message: MessageRecord,
}

/// `None` when there is no such message.
pub async fn show(store: &Store, id: MessageId) -> Result<Option<Shown>, StoreError> {
    let Some(message) = store.message(id).await? else { return Ok(None) };
    Ok(Some(Shown { letter: letter_of(store, id).await?, message }))
}

/// The dead letter that a message is, resolved or not.
pub async fn letter_of(store: &Store, id: MessageId) -> Result<Option<Letter>, StoreError> {
    Ok(stuck_at(&store.stages_of(id).await?).cloned())
}

/// Of the stages of one message, the one at which it is stuck.
pub(crate) fn stuck_at(stages: &[Letter]) -> Option<&Letter> {
    let failed = |letter: &&Letter| match letter.stage {
        Stage::Turn => letter.state == MessageState::Failed.as_str(),
        Stage::Delivery => {
            let dead = [ResponseState::Dead, ResponseState::Unknown].iter().any(|state| letter.state == state.as_str());
            dead && letter.closed.as_ref().is_none_or(|closed| closed.how != "replayed")
        }
    };
    let turn = stages.iter().find(|letter| letter.stage == Stage::Turn).filter(failed);
    // Only the newest answer counts.
    turn.or_else(|| stages.iter().find(|letter| letter.stage == Stage::Delivery).filter(failed))
}

#[derive(Clone, Debug)]
pub enum Which {
    Messages(Vec<MessageId>),
    Letters(LetterFilter),
}

#[derive(Clone, Debug, Default, Serialize, schemars::JsonSchema)]
pub struct Resolved {
    pub resolved: Vec<MessageId>,
    pub skipped: Vec<Skipped>,
    /// There are more; run it again.
    pub more: bool,
}

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Skipped {
    pub message_id: MessageId,
    pub reason: String,
}

/// Says of letters that nothing more is to be done about them. They are listed no more, and can still be replayed.
pub async fn resolve(store: &Store, which: &Which, actor: &str, note: Option<&str>) -> Result<Resolved, StoreError> {
    let mut done = Resolved::default();
    let letters = match which {
        Which::Letters(filter) => {
            let (letters, more) = all(store, filter).await?;
            done.more = more;
            letters
        }
        Which::Messages(ids) => {
            let mut letters = Vec::with_capacity(ids.len());
            for id in ids {
                match letter_of(store, *id).await? {
                    Some(letter) => letters.push(letter),
                    None => done.skipped.push(Skipped { message_id: *id, reason: "it is no dead letter".to_owned() }),
                }
            }
            letters
        }
    };
    for letter in letters {
        if store.resolve_letter(&letter, actor, note).await? {
            done.resolved.push(letter.message_id);
        } else {
            let reason = "somebody has resolved it already".to_owned();
            done.skipped.push(Skipped { message_id: letter.message_id, reason });
        }
    }
    Ok(done)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Purged {
    /// Letters that have no copy in the broker any more.
    pub letters: u64,
    /// Copies that were dropped; fewer when the stream had dropped some by itself.
    pub copies: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Drops the copies of letters that were resolved or replayed at least `min_age` ago. A message that has failed again
/// keeps its newer copy. What was done stays done when the broker goes away in the middle; run it again.
pub async fn purge(store: &Store, bus: &Bus, min_age: Duration) -> Result<Purged, PurgeError> {
    let mut purged = Purged::default();
    loop {
        let copies = store.copies_of_closed_letters(min_age, PAGE).await?;
        let last = copies.len() < PAGE as usize;
        for copy in copies {
            if let Some(subject) = &copy.subject {
                purged.copies += bus.purge(subject::STREAM_DLQ, subject).await?;
            }
            store.copy_purged(copy).await?;
            purged.letters += 1;
        }
        if last {
            return Ok(purged);
        }
    }
}
