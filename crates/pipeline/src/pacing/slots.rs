//! The turns that a limited agent may have under way at a time.
//!
//! Who finds none free waits in a line of this process, first come, first served, and the first of the line asks again
//! and again: that is one question at a time for each worker and agent, whatever the crowd. The line is short and so is
//! the wait, because whoever stands in it holds a conversation, and a message of the broker that others could do
//! something with; the rest is parked, and comes back as the line gets shorter.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use broca_core::{ConversationId, Timestamp};
use broca_store::{Parked, SlotWish, Unpark};
use tokio::sync::Notify;

use super::{Pacing, lock};
use crate::{agents::NamedAgent, held::Held, meter, shared::Worker};

/// In line for longer, and the conversation is parked.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions of the first in line; a turn that ends in this process is another reason to ask.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A slot outlives the conversation's lease by so many leases: its successor finds it taken for it.
pub(super) const SLOT_LEASES: u32 = 3;

#[derive(Debug, Default)]
pub(crate) struct Slots {
    lines: Mutex<HashMap<String, Arc<Line>>>,
    /// A turn of this process ended.
    ended: Notify,
    taken: Mutex<HashSet<ConversationId>>,
}

#[derive(Debug, Default)]
struct Line {
    first: tokio::sync::Mutex<()>,
    length: AtomicUsize,
}

/// Counts in a line for as long as it lives.
struct InLine<'l>(&'l Line);

impl<'l> InLine<'l> {
    fn stand(line: &'l Line) -> Self {
        line.length.fetch_add(1, Ordering::Relaxed);
        Self(line)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.length.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The turn may begin. `false`: nothing was taken, it has no limit.
    Yes(bool),
    /// All are taken, and the line is as long as it may be, or the wait was.
    Full,
    /// The lease is lost.
    Lost,
    /// The process begins nothing new.
    Stopping,
}

impl Slots {
    pub(super) async fn take(&self, worker: &Worker, held: &Held, name: &str, named: &NamedAgent) -> Taken {
        if !named.limits.any() {
            return Taken::Yes(false);
        }
        let line = Arc::clone(lock(&self.lines).entry(name.to_owned()).or_default());
        if line.length.load(Ordering::Relaxed) >= room(worker) {
            return Taken::Full;
        }
        let began = tokio::time::Instant::now();
        let _in_line = InLine::stand(&line);
        let over = async {
            tokio::select! {
                () = tokio::time::sleep_until(began + PATIENCE) => Taken::Full,
                () = held.lost.cancelled() => Taken::Lost,
                () = worker.draining.cancelled() => Taken::Stopping,
            }
        };
        let wish = wish(worker, held, name, named);
        let taken = self.wait(&line, worker, wish, over).await;
        if taken == Taken::Yes(true) {
            meter::waited_for_slot(name, began.elapsed());
            lock(&self.taken).insert(held.conversation);
        }
        taken
    }

    /// Stands in line, and asks until there is one or the wait is over. A question is always waited for: its answer may
    /// be a slot that nobody else would give back.
    async fn wait(&self, line: &Line, worker: &Worker, wish: SlotWish, over: impl Future<Output = Taken>) -> Taken {
        tokio::pin!(over);
        let _first = tokio::select! {
            first = line.first.lock() => first,
            why = &mut over => return why,
        };
        let mut pause = PAUSE;
        loop {
            let ended = self.ended.notified();
            match worker.store.take_slot(wish.clone()).await {
                Ok(true) => return Taken::Yes(true),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "no turn of a limited agent could be taken"),
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                why = &mut over => return why,
            }
        }
    }

    /// The turn is over at the agent.
    pub(super) async fn free(&self, worker: &Worker, conversation: ConversationId) {
        lock(&self.taken).remove(&conversation);
        if let Err(error) = worker.store.free_slot(conversation, &worker.id).await {
            tracing::debug!(%conversation, %error, "a turn of a limited agent is free again once nobody renews it");
        }
        self.ended.notify_waiters();
    }

    /// The turn goes on at the agent: whoever takes the conversation over finds the slot taken for it.
    pub(super) fn leave(&self, conversation: ConversationId) {
        lock(&self.taken).remove(&conversation);
    }

    pub(super) fn taken(&self) -> Vec<ConversationId> {
        lock(&self.taken).iter().copied().collect()
    }

    fn in_line(&self, name: &str) -> usize {
        lock(&self.lines).get(name).map_or(0, |line| line.length.load(Ordering::Relaxed))
    }
}

fn wish(worker: &Worker, held: &Held, name: &str, named: &NamedAgent) -> SlotWish {
    SlotWish {
        conversation: held.conversation,
        worker: worker.id.clone(),
        agent: name.to_owned(),
        agent_limit: named.limits.turns,
        endpoint: named.agent.endpoint().map(str::to_owned),
        endpoint_limit: named.limits.endpoint_turns,
        blocks: named.agent.memory().map(|memory| memory.agent()),
        ttl: worker.options.lease_ttl * SLOT_LEASES,
    }
}

/// How long a line may be: all limited agents together never have more than half of a worker's slots.
fn room(worker: &Worker) -> usize {
    let limited = worker.agents.iter().filter(|(_, named)| named.limits.any()).count();
    (worker.options.slots / 2 / limited.max(1)).max(1)
}

/// Lets conversations that were parked for a slot come back while the line is short.
pub(crate) async fn refill(worker: &Worker, pacing: &Pacing) {
    let room = room(worker);
    for (name, _) in worker.agents.iter().filter(|(_, named)| named.limits.any()) {
        let in_line = pacing.slots.in_line(name);
        if in_line * 2 > room || pacing.parked(name, Parked::Slot) == 0 {
            continue;
        }
        let at_most = u32::try_from(room - in_line).unwrap_or(u32::MAX);
        let wish = Unpark {
            what_for: Parked::Slot,
            agents: vec![name.to_owned()],
            at_most,
            from: Timestamp::default(),
            apart: Duration::ZERO,
            within: Duration::ZERO,
        };
        match worker.store.unpark(wish).await {
            Ok(woken) if woken < u64::from(at_most) => pacing.forget_parked(name, Parked::Slot),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "what waits for a slot comes back in its own time"),
        }
    }
}
