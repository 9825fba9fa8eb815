//! Turns under way of agents and endpoints that may have only so many at a time, over all workers.
//!
//! A row is a turn that may be under way. Whoever takes one counts the rows under one lock, so there are never more than
//! the limits allow. The row belongs to the conversation: a worker that takes over from a dead one finds the slot taken
//! for it, since it lives longer than the lease, and goes on in it. What has no limit never comes here.

use std::{collections::HashMap, time::Duration};

use broca_core::{ConversationId, WorkerId, clock::micros};
use sqlx::{Connection, PgConnection, SqliteConnection, types::Uuid};

use crate::{
    Store, StoreError,
    operation::{Each, Operation},
    tx::{Tx, ask, change},
};

/// A worker's wish to have a turn of a held conversation under way.
#[derive(Clone, Debug)]
pub struct SlotWish {
    pub conversation: ConversationId,
    pub worker: WorkerId,
    pub agent: String,
    pub agent_limit: Option<u32>,
    pub endpoint: Option<String>,
    pub endpoint_limit: Option<u32>,
    /// The agent whose blocks the turn wants for itself, as `block_leases` names it: not while another one has them.
    pub blocks: Option<String>,
    /// It is free again after this, unless it is renewed with the worker's signs of life.
    pub ttl: Duration,
}

/// Any number; everybody who takes slots takes this lock first.
const LOCK: &str = "-- turn slots: lock
SELECT pg_advisory_xact_lock(4243)";

pub(crate) const TAKEN: &str = "-- turn slots: taken
SELECT conversation_id, agent, endpoint FROM turn_slots WHERE until > $1";

pub(crate) const BLOCKS: &str = "-- turn slots: who has the agent's blocks
SELECT count(*) FROM block_leases l JOIN turns t ON t.id = l.holder AND t.state = 'started'
WHERE l.agent = $1 AND t.conversation_id <> $2";

pub(crate) const TAKE: &str = "-- turn slots: take
INSERT INTO turn_slots (conversation_id, agent, endpoint, worker, until) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (conversation_id) DO UPDATE
SET agent = excluded.agent, endpoint = excluded.endpoint, worker = excluded.worker, until = excluded.until";

pub(crate) const FREE: &str = "-- turn slots: free
DELETE FROM turn_slots WHERE conversation_id = $1 AND worker = $2";

/// How many slots are taken of what has a limit.
#[derive(Debug, Default)]
struct Count {
    agents: HashMap<String, u32>,
    endpoints: HashMap<String, u32>,
    conversations: HashMap<Uuid, (String, Option<String>)>,
}

impl Count {
    fn of(rows: Vec<(Uuid, String, Option<String>)>) -> Self {
        let mut count = Self::default();
        for (conversation, agent, endpoint) in rows {
            count.add(conversation, agent, endpoint);
        }
        count
    }

    fn add(&mut self, conversation: Uuid, agent: String, endpoint: Option<String>) {
        *self.agents.entry(agent.clone()).or_default() += 1;
        if let Some(endpoint) = endpoint.clone() {
            *self.endpoints.entry(endpoint).or_default() += 1;
        }
        self.conversations.insert(conversation, (agent, endpoint));
    }

    /// Counts the wish in, if there is room for it. A conversation has one slot, whoever asks for it.
    fn take(&mut self, wish: &SlotWish) -> bool {
        let had = self.conversations.get(&wish.conversation.0);
        if had.is_some_and(|(agent, endpoint)| *agent == wish.agent && *endpoint == wish.endpoint) {
            return true;
        }
        let full =
            |taken: Option<&u32>, limit: Option<u32>| limit.is_some_and(|limit| taken.is_some_and(|n| *n >= limit));
        let endpoint = wish.endpoint.as_ref().and_then(|endpoint| self.endpoints.get(endpoint));
        if full(self.agents.get(&wish.agent), wish.agent_limit) || full(endpoint, wish.endpoint_limit) {
            return false;
        }
        self.add(wish.conversation.0, wish.agent.clone(), wish.endpoint.clone());
        true
    }
}

async fn take(tx: &mut Tx<'_>, wishes: &[SlotWish]) -> Result<Vec<Each<bool>>, StoreError> {
    if let Tx::Pg(conn) = tx {
        sqlx::query(LOCK).execute(&mut **conn).await?;
    }
    let now = tx.now().await?;
    let mut count = Count::of(ask!(tx, fetch_all, (Uuid, String, Option<String>), TAKEN, now)?);
    let mut answers = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let granted = are_blocks_free(tx, wish).await? && count.take(wish);
        if granted {
            let until = now.saturating_add(micros(wish.ttl));
            let (agent, endpoint) = (wish.agent.as_str(), wish.endpoint.as_deref());
            change!(tx, TAKE, wish.conversation.0, agent, endpoint, wish.worker.as_str(), until)?;
        }
        answers.push(Ok(granted));
    }
    Ok(answers)
}

async fn are_blocks_free(tx: &mut Tx<'_>, wish: &SlotWish) -> Result<bool, StoreError> {
    let Some(agent) = &wish.blocks else { return Ok(true) };
    let (others,) = ask!(tx, fetch_one, (i64,), BLOCKS, agent.as_str(), wish.conversation.0)?;
    Ok(others == 0)
}

async fn free(tx: &mut Tx<'_>, slots: &[(ConversationId, WorkerId)]) -> Result<Vec<Each<()>>, StoreError> {
    for (conversation, worker) in slots {
        change!(tx, FREE, conversation.0, worker.as_str())?;
    }
    Ok(slots.iter().map(|_| Ok(())).collect())
}

pub(crate) struct Take;
pub(crate) struct Free;

impl Operation for Take {
    type Item = SlotWish;
    type Output = bool;
    const NAME: &'static str = "take slot";

    async fn pg(conn: &mut PgConnection, items: &[SlotWish]) -> Result<Vec<Each<bool>>, StoreError> {
        let mut tx = conn.begin().await?;
        let answers = take(&mut Tx::Pg(&mut tx), items).await?;
        tx.commit().await?;
        Ok(answers)
    }

    async fn lite(conn: &mut SqliteConnection, items: &[SlotWish]) -> Result<Vec<Each<bool>>, StoreError> {
        take(&mut Tx::Lite(conn), items).await
    }
}

impl Operation for Free {
    type Item = (ConversationId, WorkerId);
    type Output = ();
    const NAME: &'static str = "free slot";

    async fn pg(conn: &mut PgConnection, items: &[Self::Item]) -> Result<Vec<Each<()>>, StoreError> {
        let mut tx = conn.begin().await?;
        let answers = free(&mut Tx::Pg(&mut tx), items).await?;
        tx.commit().await?;
        Ok(answers)
    }

    async fn lite(conn: &mut SqliteConnection, items: &[Self::Item]) -> Result<Vec<Each<()>>, StoreError> {
        free(&mut Tx::Lite(conn), items).await
    }
}

impl Store {
    /// Takes a slot for a turn, if its agent and its endpoint may have one more. A conversation that has one keeps it.
    pub async fn take_slot(&self, wish: SlotWish) -> Result<bool, StoreError> {
        self.batches.take_slot.submit(wish).await
    }

    /// The turn is over. A slot that somebody else has taken over stays theirs.
    pub async fn free_slot(&self, conversation: ConversationId, worker: &WorkerId) -> Result<(), StoreError> {
        self.batches.free_slot.submit((conversation, worker.clone())).await
    }
}
