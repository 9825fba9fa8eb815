//! The record that somebody had a person forgotten. It is found by the user's id, and gives nobody's away.

use broca_core::{Timestamp, UserId};
use serde::Serialize;
use sqlx::types::{Json, Uuid};

use super::AgentSide;
use crate::{
    Removed, Store, StoreError,
    reading::fetch,
    tx::{Tx, ask, change, operation},
};

/// That somebody had a person forgotten. Whose data it was is not in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forgotten {
    pub actor: String,
    pub reason: Option<String>,
    pub begun_at: Timestamp,
    /// `None` while there may be something left.
    pub done_at: Option<Timestamp>,
    pub removed: Removed,
    /// What the agents still have.
    pub agent_conversations: Vec<AgentSide>,
}

const PEOPLE: Uuid = Uuid::from_u128(0x8b5c_1f2e_7a64_4c0e_9d0b_b40c_a000_0003);

/// Of an id that is random for the most part, nobody finds it by trying.
fn hashed(user: UserId) -> Uuid {
    Uuid::new_v5(&PEOPLE, user.0.as_bytes())
}

#[derive(Clone, Debug)]
pub(crate) struct Begin {
    user: UserId,
    actor: String,
    reason: Option<String>,
    agents: Vec<AgentSide>,
}

pub(crate) const BEGIN: &str = "-- forget: begin
INSERT INTO forgotten (id, person, actor, reason, begun_at, agent_conversations) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (person) DO NOTHING";

pub(crate) const AGENTS: &str = "-- forget: what the agents have
UPDATE forgotten SET agent_conversations = $2 WHERE person = $1";

async fn begin(tx: &mut Tx<'_>, begin: &Begin) -> Result<(), StoreError> {
    let (now, person) = (tx.now().await?, hashed(begin.user));
    let (actor, reason) = (begin.actor.as_str(), begin.reason.as_deref());
    let written = change!(tx, BEGIN, Uuid::now_v7(), person, actor, reason, now, Json(&begin.agents))?;
    if written == 0
        && let Some(before) = ask!(tx, fetch_optional, Row, FORGOTTEN, person)?
    {
        // What an earlier run found, and whose rows are gone since.
        let mut agents = [before.forgotten()?.agent_conversations, begin.agents.clone()].concat();
        agents.sort();
        agents.dedup();
        change!(tx, AGENTS, person, Json(&agents))?;
    }
    Ok(())
}

async fn set_agents(tx: &mut Tx<'_>, (user, agents): &(UserId, Vec<AgentSide>)) -> Result<(), StoreError> {
    change!(tx, AGENTS, hashed(*user), Json(agents))?;
    Ok(())
}

pub(crate) const FORGOTTEN: &str = "-- forgotten
SELECT actor, reason, begun_at, done_at, counts, agent_conversations FROM forgotten WHERE person = $1";

#[derive(sqlx::FromRow)]
struct Row {
    actor: String,
    reason: Option<String>,
    begun_at: i64,
    done_at: Option<i64>,
    counts: Json<serde_json::Value>,
    agent_conversations: Json<serde_json::Value>,
}

impl Row {
    fn forgotten(self) -> Result<Forgotten, StoreError> {
        Ok(Forgotten {
            actor: self.actor,
            reason: self.reason,
            begun_at: Timestamp(self.begun_at),
            done_at: self.done_at.map(Timestamp),
            removed: serde_json::from_value(self.counts.0).map_err(StoreError::unreadable)?,
            agent_conversations: serde_json::from_value(self.agent_conversations.0).map_err(StoreError::unreadable)?,
        })
    }
}

pub(crate) const COUNTED: &str = "-- forget: counts
UPDATE forgotten SET counts = $2, done_at = $3 WHERE person = $1";

pub(super) async fn count(
    tx: &mut Tx<'_>,
    user: UserId,
    removed: Removed,
    done: Option<i64>,
) -> Result<(), StoreError> {
    let person = hashed(user);
    if let Some(row) = ask!(tx, fetch_optional, Row, FORGOTTEN, person)? {
        let mut sum = row.forgotten()?.removed;
        sum += removed;
        change!(tx, COUNTED, person, Json(&sum), done)?;
    }
    Ok(())
}

pub(crate) const UNDER_WAY: &str = "-- forget: is it under way
SELECT count(*) FROM forgotten WHERE person = $1 AND done_at IS NULL";

/// Somebody has begun to have the person forgotten, and not come to the end.
pub(crate) async fn is_under_way(tx: &mut Tx<'_>, user: UserId) -> Result<bool, StoreError> {
    let (count,) = ask!(tx, fetch_one, (i64,), UNDER_WAY, hashed(user))?;
    Ok(count > 0)
}

operation!(BeginForgetting: Begin => (), "forget: begin", begin);
operation!(SetAgents: (UserId, Vec<AgentSide>) => (), "forget: agents", set_agents);

impl Store {
    /// The record of a person's forgetting, if it was ever begun.
    pub async fn forgotten(&self, user: UserId) -> Result<Option<Forgotten>, StoreError> {
        fetch!(self, fetch_optional, Row, FORGOTTEN, hashed(user))?.map(Row::forgotten).transpose()
    }

    /// Notes who has a person forgotten, and what the agents have of them. Nothing is deleted yet.
    pub async fn forget_begin(
        &self,
        user: UserId,
        actor: &str,
        reason: Option<&str>,
        agents: &[AgentSide],
    ) -> Result<(), StoreError> {
        let (actor, reason) = (actor.to_owned(), reason.map(str::to_owned));
        self.once::<BeginForgetting>(Begin { user, actor, reason, agents: agents.to_vec() }).await
    }

    /// Notes what the agents still have.
    pub async fn forget_agents(&self, user: UserId, agents: &[AgentSide]) -> Result<(), StoreError> {
        self.once::<SetAgents>((user, agents.to_vec())).await
    }
}
