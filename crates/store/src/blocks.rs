//! People's memory blocks at their agents' servers, and who may have one attached.
//!
//! An agent has one block of a person attached at a time, for one turn. The lease is a row that names the turn, and it
//! ends when the turn does, whoever works on it: no time runs out on it, because a run that is slow is still a run. What
//! may be attached is written down before it is, so whoever has the lease next knows what to take away first.

use broca_core::{TurnId, UserId, clock::micros};
use serde::{Deserialize, Serialize};
use sqlx::types::{Json, Uuid};
use std::time::Duration;

use crate::{
    Store, StoreError,
    reading::fetch,
    tx::{Tx, ask, change, operation},
};

/// A block that may be attached to its agent, and the agent's conversation whose prompt may have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedBlock {
    pub block: String,
    pub conversation: String,
}

/// A wish for the lease of an agent's blocks.
#[derive(Clone, Debug)]
pub struct TakeBlocks {
    pub agent: String,
    /// A turn's id, or one that whoever cleans up made.
    pub holder: Uuid,
    /// Of whoever cleans up; a turn has it until its end.
    pub ttl: Option<Duration>,
}

/// What may be attached by whoever had the lease before; `None` while somebody else has it.
type Taken = Option<Vec<AttachedBlock>>;

pub(crate) const LOCK: &str = "-- blocks: lock lease
SELECT agent FROM block_leases WHERE agent = $1 FOR UPDATE";

pub(crate) const LEASE: &str = "-- blocks: lease
SELECT l.holder, l.until, l.attached, (SELECT count(*) FROM turns t WHERE t.id = l.holder AND t.state = 'started') AS open
FROM block_leases l WHERE l.agent = $1";

pub(crate) const BEGIN: &str = "-- blocks: begin lease
INSERT INTO block_leases (agent, holder, until, attached) VALUES ($1, $2, $3, $4) ON CONFLICT (agent) DO NOTHING";

pub(crate) const TAKE_OVER: &str = "-- blocks: take lease over
UPDATE block_leases SET holder = $2, until = $3 WHERE agent = $1";

pub(crate) const NOTE: &str = "-- blocks: note
UPDATE block_leases SET attached = $3 WHERE agent = $1 AND holder = $2";

pub(crate) const FREE: &str = "-- blocks: free lease
DELETE FROM block_leases WHERE agent = $1 AND holder = $2";

pub(crate) const MINE: &str = "-- blocks: of a holder
SELECT attached FROM block_leases WHERE agent = $1 AND holder = $2";

pub(crate) const LEFT: &str = "-- blocks: leases of turns that are over
SELECT count(*) FROM block_leases l
WHERE l.agent = $1 AND l.until <= $2
  AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.id = l.holder AND t.state = 'started')";

pub(crate) const OF_USER: &str = "-- blocks: of a user
SELECT block FROM user_blocks WHERE agent = $1 AND user_id = $2 AND NOT retired";

pub(crate) const KEEP: &str = "-- blocks: keep
INSERT INTO user_blocks (block, agent, user_id) VALUES ($1, $2, $3)
ON CONFLICT (user_id, agent) WHERE NOT retired DO NOTHING";

pub(crate) const DROP: &str = "-- blocks: drop
DELETE FROM user_blocks WHERE block = $1";

pub(crate) const OURS: &str = "-- blocks: of an agent
SELECT block FROM user_blocks WHERE agent = $1 AND block = $2";

pub(crate) const OWED: &str = "-- blocks: to be deleted
SELECT block FROM user_blocks WHERE agent = $1 AND user_id IS NULL LIMIT 100";

#[derive(sqlx::FromRow)]
struct Lease {
    holder: Uuid,
    until: i64,
    attached: Json<Vec<AttachedBlock>>,
    open: i64,
}

async fn take(tx: &mut Tx<'_>, wish: &TakeBlocks) -> Result<Taken, StoreError> {
    let (agent, now) = (wish.agent.as_str(), tx.now().await?);
    let until = wish.ttl.map_or(0, |ttl| now.saturating_add(micros(ttl)));
    if let Tx::Pg(conn) = tx {
        sqlx::query(LOCK).bind(agent).execute(&mut **conn).await?;
    }
    let Some(lease) = ask!(tx, fetch_optional, Lease, LEASE, agent)? else {
        let nothing = Json(Vec::<AttachedBlock>::new());
        if change!(tx, BEGIN, agent, wish.holder, until, &nothing)? == 0 {
            return Err(StoreError::Contention("somebody else has just taken the agent's blocks".to_owned()));
        }
        return Ok(Some(Vec::new()));
    };
    if lease.holder != wish.holder && (lease.open > 0 || lease.until > now) {
        return Ok(None);
    }
    change!(tx, TAKE_OVER, agent, wish.holder, until)?;
    Ok(Some(lease.attached.0))
}

#[derive(Clone, Debug)]
pub(crate) struct Note {
    agent: String,
    holder: Uuid,
    attached: Vec<AttachedBlock>,
}

async fn note(tx: &mut Tx<'_>, wish: &Note) -> Result<bool, StoreError> {
    Ok(change!(tx, NOTE, wish.agent.as_str(), wish.holder, Json(&wish.attached))? > 0)
}

async fn free(tx: &mut Tx<'_>, (agent, holder): &(String, Uuid)) -> Result<(), StoreError> {
    change!(tx, FREE, agent.as_str(), *holder)?;
    Ok(())
}

#[derive(Clone, Debug)]
pub(crate) struct Keep {
    block: String,
    agent: String,
    user: UserId,
}

async fn keep(tx: &mut Tx<'_>, wish: &Keep) -> Result<String, StoreError> {
    change!(tx, KEEP, wish.block.as_str(), wish.agent.as_str(), wish.user.0)?;
    let (block,) = ask!(tx, fetch_one, (String,), OF_USER, wish.agent.as_str(), wish.user.0)?;
    Ok(block)
}

#[derive(Clone, Debug)]
pub(crate) struct Gone(String);

async fn forget(tx: &mut Tx<'_>, Gone(block): &Gone) -> Result<(), StoreError> {
    change!(tx, DROP, block.as_str())?;
    Ok(())
}

operation!(TakeLease: TakeBlocks => Taken, "take blocks", take);
operation!(NoteBlocks: Note => bool, "note blocks", note);
operation!(FreeLease: (String, Uuid) => (), "free blocks", free);
operation!(KeepBlock: Keep => String, "keep a block", keep);
operation!(DropBlock: Gone => (), "drop a block", forget);

impl Store {
    /// Takes the lease of an agent's blocks, or goes on in it: what may be attached there; `None` while another turn has it
    /// that is not over.
    pub async fn take_blocks(&self, wish: TakeBlocks) -> Result<Option<Vec<AttachedBlock>>, StoreError> {
        self.once::<TakeLease>(wish).await
    }

    /// Notes what the holder is about to attach, in place of what was; says whether it still has the lease.
    pub async fn note_blocks(
        &self,
        agent: &str,
        holder: Uuid,
        attached: Vec<AttachedBlock>,
    ) -> Result<bool, StoreError> {
        self.once::<NoteBlocks>(Note { agent: agent.to_owned(), holder, attached }).await
    }

    /// What a turn may have attached; `None` when it has no lease.
    pub async fn blocks_of(&self, agent: &str, turn: TurnId) -> Result<Option<Vec<AttachedBlock>>, StoreError> {
        let row = fetch!(self, fetch_optional, (Json<Vec<AttachedBlock>>,), MINE, agent, turn.0)?;
        Ok(row.map(|(attached,)| attached.0))
    }

    /// Gives the lease up: nothing is attached any more.
    pub async fn free_blocks(&self, agent: &str, holder: Uuid) -> Result<(), StoreError> {
        self.once::<FreeLease>((agent.to_owned(), holder)).await
    }

    /// Whether somebody left the lease without taking away what is attached.
    pub async fn are_blocks_left(&self, agent: &str) -> Result<bool, StoreError> {
        let now = self.now().await?.micros();
        let (count,) = fetch!(self, fetch_one, (i64,), LEFT, agent, now)?;
        Ok(count > 0)
    }

    pub async fn block_of(&self, agent: &str, user: UserId) -> Result<Option<String>, StoreError> {
        Ok(fetch!(self, fetch_optional, (String,), OF_USER, agent, user.0)?.map(|(block,)| block))
    }

    /// Remembers a block that was made for a person. Gives the one that counts: another process may have made one, too.
    pub async fn keep_block(&self, agent: &str, user: UserId, block: &str) -> Result<String, StoreError> {
        self.once::<KeepBlock>(Keep { block: block.to_owned(), agent: agent.to_owned(), user }).await
    }

    /// The block is not there any more.
    pub async fn drop_block(&self, block: &str) -> Result<(), StoreError> {
        self.once::<DropBlock>(Gone(block.to_owned())).await
    }

    /// Whether the block is one that we made for a person.
    pub async fn is_block_ours(&self, agent: &str, block: &str) -> Result<bool, StoreError> {
        Ok(fetch!(self, fetch_optional, (String,), OURS, agent, block)?.is_some())
    }

    /// Blocks of people who were forgotten, which their agent's server still has.
    pub async fn owed_blocks(&self, agent: &str) -> Result<Vec<String>, StoreError> {
        Ok(fetch!(self, fetch_all, (String,), OWED, agent)?.into_iter().map(|(block,)| block).collect())
    }
}
