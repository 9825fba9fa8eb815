//! Deleting all that is kept of one person.
//!
//! Messages go batch by batch, each batch in its transaction, and the person last: so whoever is killed in the middle
//! finds the person again, and goes on. What makes the end true is that nobody accepts a message of theirs meanwhile.
//! On SQLite that is the write lock. On PostgreSQL [`BARRIER`] waits for the statements that write messages and keeps
//! others waiting for some milliseconds; under `read committed` those take their snapshot once they have the table, and
//! find that nobody is known by that name any more: whoever writes again is somebody new.
//!
//! In a conversation with others only the person's messages and the answers to them go. All of them have ended, and what
//! has ended is in no queue: `head` and `tail` stay as they are.

mod look;
mod record;
pub(crate) mod steps;

pub(crate) use self::record::is_under_way;
pub use self::{
    look::{AgentSide, PersonConversation, PersonData},
    record::Forgotten,
    steps::{ForgetEnd, ForgetItem},
};
