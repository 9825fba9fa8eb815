//! Takes away what ended turns left attached to agents, and deletes the blocks of people who were forgotten.
//!
//! It takes no input: the rows and the agent say what is there. It works under the lease that turns take, so it never
//! takes a block from a turn; whoever dies in it leaves a lease that runs out.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use broca_core::{TurnId, agent::Failure};
use broca_letta::{Agent, Memory};
use broca_store::{Duty, StoreError, TakeBlocks};
use tokio_util::sync::CancellationToken;

use crate::{memory::take_away, shared::Worker};

/// Longer than one look takes.
const LEASE: Duration = Duration::from_secs(60);
/// The agent itself is asked so rarely, for what no row knows: a worker that was stopped in the middle of a call.
const ASK_EVERY: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Agent(#[from] Failure),
}

/// Looks on a timer until `shutdown`, where any agent keeps people's blocks.
pub(crate) async fn run(worker: Arc<Worker>, shutdown: CancellationToken) {
    // By the agent itself: two names of one agent are one look.
    let agents =
        worker.agents.iter().filter_map(|(_, named)| Some((named.agent.memory()?.agent(), named.agent.clone())));
    let agents: BTreeMap<String, Arc<dyn Agent>> = agents.collect();
    if agents.is_empty() {
        return;
    }
    let mut asked: BTreeMap<String, Instant> = BTreeMap::new();
    let mut timer = tokio::time::interval(worker.options.sweep.interval * 15);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(timer.tick()).await.is_some() {
        if !matches!(worker.store.take_duty(Duty::Leftovers, &worker.id, LEASE).await, Ok(true)) {
            continue;
        }
        for (name, agent) in &agents {
            let Some(memory) = agent.memory() else { continue };
            let ask = asked.get(name).is_none_or(|last| last.elapsed() >= ASK_EVERY);
            match look(&worker, memory, ask).await {
                Ok(true) if ask => drop(asked.insert(name.clone(), Instant::now())),
                Ok(_) => {}
                Err(error) => tracing::debug!(agent = name, %error, "what is left attached is looked for later"),
            }
        }
    }
}

/// Whether everything was looked at.
async fn look(worker: &Worker, memory: &dyn Memory, ask: bool) -> Result<bool, Trouble> {
    let (store, agent) = (&worker.store, memory.agent());
    for block in store.owed_blocks(&agent).await? {
        memory.delete(&block).await?;
        store.drop_block(&block).await?;
    }
    if !ask && !store.are_blocks_left(&agent).await? {
        return Ok(true);
    }
    // No turn's: an id that nothing has.
    let holder = TurnId::new().0;
    let Some(left) = store.take_blocks(TakeBlocks { agent: agent.clone(), holder, ttl: Some(LEASE) }).await? else {
        return Ok(false);
    };
    take_away(memory, &left).await?;
    let mut gone = left.len();
    if ask {
        for block in memory.list().await? {
            if store.is_block_ours(&agent, &block).await? {
                memory.detach(&block).await?;
                gone += 1;
            }
        }
    }
    store.free_blocks(&agent, holder).await?;
    if gone > 0 {
        tracing::info!(agent, gone, "blocks that ended turns had left attached are taken away");
    }
    Ok(true)
}
