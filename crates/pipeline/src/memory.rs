//! The block that a person has in an agent's memory is there for their turns, and for nobody else's.
//!
//! Take the lease of the agent's blocks; take away what its last holder left; note what comes; attach it; have the
//! conversation's prompt compiled; run the turn; and all of it back. Every step may be repeated by whoever takes the turn
//! over. Whatever dies in between leaves the lease with its turn: it is the successor's as long as the turn is open, and
//! then the next turn's, or that of `leftovers`, which knows from the row what to take away.

use std::time::{Duration, Instant};

use broca_core::{
    TurnId, TurnOutcome,
    agent::{Failure, FailureClass},
    format::rfc3339,
};
use broca_letta::{Attachment, Memory};
use broca_store::{AttachedBlock, PendingMessage, Store, StoreError, TakeBlocks};
use serde_json::json;

use crate::crash::{CrashPoint, point};

/// Another turn has the agent's blocks for longer than this: the message is tried again later.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

/// A turn that wants its sender's block.
pub(crate) struct Wish<'t> {
    pub(crate) turn: TurnId,
    /// The agent's.
    pub(crate) conversation: &'t str,
    pub(crate) messages: &'t [PendingMessage],
    /// It may have been said already: then nothing is given up before its time is.
    pub(crate) said: bool,
    pub(crate) deadline: Duration,
}

enum Trouble {
    /// Another turn has the lease.
    Busy,
    /// It may pass.
    Passing(Failure),
    Lasting(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Passing(failure)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Passing(Failure::new(FailureClass::Interrupted, format!("the lease of the agent's blocks: {error}")))
    }
}

/// Has the sender's block attached and seen, before anything is said. Gives their identity at the agent's server, where
/// they have one.
pub(crate) async fn begin(store: &Store, memory: &dyn Memory, wish: &Wish<'_>) -> Result<Option<String>, TurnOutcome> {
    let began = Instant::now();
    loop {
        let trouble = match attach(store, memory, wish).await {
            Ok(identity) => {
                point(CrashPoint::BlockAttached);
                return Ok(identity);
            }
            Err(trouble) => trouble,
        };
        let (failure, is_passing) = match trouble {
            Trouble::Busy => (Failure::new(FailureClass::Busy, "another turn has the agent's memory"), true),
            Trouble::Passing(failure) => (failure, wish.said),
            Trouble::Lasting(failure) => return Err(TurnOutcome::Dead(failure)),
        };
        let patience = if wish.said { wish.deadline } else { PATIENCE };
        match (is_passing && began.elapsed() < patience, wish.said) {
            (true, _) => tokio::time::sleep(PAUSE).await,
            (false, true) => return Err(TurnOutcome::Unknown(failure)),
            (false, false) => return Err(TurnOutcome::Retry { after: None, failure }),
        }
    }
}

async fn attach(store: &Store, memory: &dyn Memory, wish: &Wish<'_>) -> Result<Option<String>, Trouble> {
    let (agent, holder) = (memory.agent(), wish.turn.0);
    let taken = store.take_blocks(TakeBlocks { agent: agent.clone(), holder, ttl: None }).await?;
    let left = taken.ok_or(Trouble::Busy)?;
    let own = match sender(wish.messages) {
        Some(message) => Some(block_of(store, memory, message).await?),
        None => None,
    };
    for old in left.iter().filter(|old| Some(&old.block) != own.as_ref()) {
        memory.detach(&old.block).await?;
    }
    for conversation in others(&left, wish.conversation) {
        memory.recompile(conversation).await?;
    }
    let here = |block: String| AttachedBlock { block, conversation: wish.conversation.to_owned() };
    if !store.note_blocks(&agent, holder, own.clone().map(here).into_iter().collect()).await? {
        return Err(Trouble::Busy);
    }
    if let Some(block) = &own {
        put(store, memory, block).await?;
    }
    // Also of a conversation in which somebody else spoke last, and of one without a block now.
    memory.recompile(wish.conversation).await?;
    Ok(match (own, sender(wish.messages)) {
        (Some(block), Some(message)) => identity(memory, &block, message).await,
        _ => None,
    })
}

/// It only tells people apart in Letta's own pages, so a turn does without it.
async fn identity(memory: &dyn Memory, block: &str, message: &PendingMessage) -> Option<String> {
    match memory.identify(block, name(message)).await {
        Ok(identity) => identity,
        Err(failure) => {
            tracing::warn!(message_id = %message.id, reason = failure.reason, "its sender has no identity at the agent's server");
            None
        }
    }
}

/// Attaches a block. A person's whom a worker attached that had been cut off gives way; a block of the agent's own does
/// not.
async fn put(store: &Store, memory: &dyn Memory, block: &str) -> Result<(), Trouble> {
    loop {
        match memory.attach(block).await? {
            Attachment::Done => return Ok(()),
            Attachment::NoBlock => {
                store.drop_block(block).await?;
                return Err(Trouble::Busy);
            }
            Attachment::Taken(others) => {
                let mut gone = 0;
                for other in others {
                    if store.is_block_ours(&memory.agent(), &other).await? {
                        memory.detach(&other).await?;
                        gone += 1;
                    }
                }
                if gone == 0 {
                    return Err(Trouble::Lasting(memory.is_taken()));
                }
            }
        }
    }
}

/// Whose turn it is; nobody's when several people speak in it.
fn sender(messages: &[PendingMessage]) -> Option<&PendingMessage> {
    let last = messages.last()?;
    messages.iter().all(|message| message.profile.user_id == last.profile.user_id).then_some(last)
}

fn others<'l>(left: &'l [AttachedBlock], here: &str) -> Vec<&'l str> {
    let mut others: Vec<&str> = left.iter().map(|old| old.conversation.as_str()).filter(|old| *old != here).collect();
    others.dedup();
    others
}

/// Made when its person speaks to the agent for the first time.
async fn block_of(store: &Store, memory: &dyn Memory, message: &PendingMessage) -> Result<String, Trouble> {
    let (agent, user) = (memory.agent(), message.profile.user_id);
    if let Some(block) = store.block_of(&agent, user).await? {
        return Ok(block);
    }
    let made = memory.create(&human(message)).await?;
    let kept = store.keep_block(&agent, user, &made).await?;
    if kept != made {
        memory.delete(&made).await?;
    }
    Ok(kept)
}

/// As the original writes it.
fn human(message: &PendingMessage) -> String {
    json!({"type": "human_core", "data": {"name": name(message), "created_at": rfc3339(message.received_at), "content": ""}})
        .to_string()
}

fn name(message: &PendingMessage) -> &str {
    let profile = &message.profile;
    profile.display_name.as_ref().or(profile.username.as_ref()).unwrap_or(&profile.platform_user_id)
}

/// The turn is over at the agent: what it had attached is taken away. What cannot be is left to whoever comes next.
pub(crate) async fn end(store: &Store, memory: &dyn Memory, turn: TurnId) {
    let agent = memory.agent();
    let done = async {
        let Some(attached) = store.blocks_of(&agent, turn).await? else { return Ok(()) };
        take_away(memory, &attached).await?;
        Ok(store.free_blocks(&agent, turn.0).await?)
    };
    match done.await {
        Ok(()) => {}
        Err(Trouble::Passing(failure) | Trouble::Lasting(failure)) => {
            tracing::warn!(%turn, class = %failure.class, reason = failure.reason, "a person's block is still attached; it is taken away later");
        }
        Err(Trouble::Busy) => {}
    }
}

/// Detaches blocks, and has the prompts compiled that may have them.
pub(crate) async fn take_away(memory: &dyn Memory, attached: &[AttachedBlock]) -> Result<(), Failure> {
    for old in attached {
        memory.detach(&old.block).await?;
    }
    for conversation in others(attached, "") {
        memory.recompile(conversation).await?;
    }
    Ok(())
}
