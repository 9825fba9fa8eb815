//! Does what the plan says.

use std::collections::VecDeque;

use broca_rehearsal::{letta::Behaviour, platform::Fault};
use broca_servers::NatsServer;
use nix::sys::signal::Signal;
use tokio::task::block_in_place;

use super::{
    Chaos,
    plan::{Break, Event},
};
use crate::Crew;

/// Faults that wait for somebody to run into them, of one kind at one place.
const WAITING_FAULTS: usize = 4;

impl Chaos {
    pub(super) async fn perform(&mut self, event: Event) {
        match event {
            Event::Say { platform, person, text } => {
                self.platform(platform).say(&person, &text);
                self.said.push((person, text));
            }
            Event::Break(what) => {
                self.count(what.name(), 1);
                self.inflict(what).await;
            }
            Event::Mend(what) => self.repair(what).await,
            Event::Sends(platform, faults) => {
                let mut met = 0;
                self.platform(platform).script(|script| met = top_up(&mut script.send_faults, &faults));
                faults[..met].iter().for_each(|fault| self.count(&format!("send: {}", fault_name(*fault)), 1));
            }
            Event::Polls(platform, faults) => {
                let mut met = 0;
                self.platform(platform).script(|script| met = top_up(&mut script.update_faults, &faults));
                faults[..met].iter().for_each(|fault| self.count(&format!("poll: {}", fault_name(*fault)), 1));
            }
            Event::Agent(behaviours) => {
                let mut met = 0;
                self.rig.letta.script(|script| met = top_up(&mut script.behaviours, &behaviours));
                behaviours[..met].iter().for_each(|behaviour| self.count(&behaviour_name(behaviour), 1));
            }
        }
    }

    fn platform(&self, number: usize) -> &broca_rehearsal::platform::ScriptedPlatform {
        self.rig.platforms().nth(number).expect("there are two").1
    }

    fn count(&mut self, kind: &str, by: i64) {
        let count = self.faults.entry(kind.to_owned()).or_default();
        *count = count.saturating_add_signed(by);
    }

    async fn inflict(&mut self, what: Break) {
        match what {
            Break::WorkerKilled(place) => self.killed += usize::from(kill(&mut self.workers, place)),
            Break::WorkerStopped(place) => signal(&mut self.workers, place, Signal::SIGSTOP),
            Break::PluginKilled(place) => self.killed += usize::from(kill(&mut self.plugins[place], 0)),
            Break::PluginStopped(place) => signal(&mut self.plugins[place], 0, Signal::SIGSTOP),
            Break::NodeKilled(node) => self.kill_node(node),
            Break::LeaderKilled(stream) => {
                let leader = block_in_place(|| self.rig.nats.leader_of(stream));
                self.kill_node(leader.unwrap_or(0));
            }
            Break::NodeFrozen(node) => self.rig.nats.nodes()[node].freeze(),
            Break::QuorumKilled(first) => [first, first + 1].into_iter().for_each(|node| self.kill_node(node)),
            Break::DisksFull => self.rig.nats.nodes().iter().for_each(NatsServer::fill_disk),
            Break::DiskFull(node) => self.rig.nats.nodes()[node].fill_disk(),
            Break::DatabaseStopped => block_in_place(|| self.database().stop()),
            Break::DatabaseKilled => block_in_place(|| self.database().kill9()),
            Break::AgentKilled => {
                self.forget_behaviours();
                self.rig.letta.die().await;
            }
            Break::UpdatesShuffled { platform, repeat, reverse } => self.shuffle(platform, repeat, reverse),
        }
    }

    async fn repair(&mut self, what: Break) {
        match what {
            Break::WorkerKilled(_) | Break::PluginKilled(_) => {}
            Break::WorkerStopped(place) => signal(&mut self.workers, place, Signal::SIGCONT),
            Break::PluginStopped(place) => signal(&mut self.plugins[place], 0, Signal::SIGCONT),
            Break::NodeKilled(_) | Break::LeaderKilled(_) | Break::QuorumKilled(_) => {
                for node in std::mem::take(&mut self.nodes_down) {
                    self.rig.nats.node_mut(node).launch();
                }
            }
            Break::NodeFrozen(node) => self.rig.nats.nodes()[node].thaw(),
            Break::DisksFull => (0..self.rig.nats.nodes().len()).for_each(|node| self.make_room(node)),
            Break::DiskFull(node) => self.make_room(node),
            Break::DatabaseStopped | Break::DatabaseKilled => block_in_place(|| self.database().restart()),
            Break::AgentKilled => self.rig.revive_letta().await,
            Break::UpdatesShuffled { platform, .. } => self.shuffle(platform, false, false),
        }
    }

    /// The plan mends what it breaks; what is left are faults that nobody ran into.
    pub(super) async fn mend(&mut self) {
        self.forget_behaviours();
        let mut unmet = Vec::new();
        for (_, platform) in self.rig.platforms() {
            platform.script(|script| {
                unmet.extend(script.send_faults.drain(..).map(|fault| format!("send: {}", fault_name(fault))));
                unmet.extend(script.update_faults.drain(..).map(|fault| format!("poll: {}", fault_name(fault))));
            });
        }
        unmet.iter().for_each(|kind| self.count(kind, -1));
        block_in_place(|| {
            for node in 0..self.rig.nats.nodes().len() {
                self.rig.nats.node_mut(node).wait_until_ready();
            }
        });
    }

    fn forget_behaviours(&mut self) {
        let mut unmet = Vec::new();
        self.rig.letta.script(|script| unmet.extend(script.behaviours.drain(..)));
        unmet.iter().for_each(|behaviour| self.count(&behaviour_name(behaviour), -1));
    }

    fn kill_node(&mut self, node: usize) {
        let server = self.rig.nats.node_mut(node);
        if server.is_running() {
            block_in_place(|| server.kill9());
            self.nodes_down.push(node);
        }
    }

    /// As an operator does: a node that found no room has given JetStream up until it is started anew.
    fn make_room(&mut self, node: usize) {
        let server = self.rig.nats.node_mut(node);
        server.free_disk();
        block_in_place(|| server.stop());
        server.launch();
    }

    fn database(&mut self) -> &mut broca_servers::Postgres {
        self.rig.postgres.as_mut().expect("only plans for PostgreSQL break it")
    }

    fn shuffle(&self, platform: usize, repeat: bool, reverse: bool) {
        self.platform(platform).script(|script| (script.repeat_updates, script.reverse_updates) = (repeat, reverse));
    }
}

/// Adds faults to those that nobody ran into yet, as long as there are few: an hour of refusals that piled up would
/// be an outage, and there are others for that. How many were added.
fn top_up<T: Clone>(queue: &mut VecDeque<T>, faults: &[T]) -> usize {
    let room = WAITING_FAULTS.saturating_sub(queue.len()).min(faults.len());
    queue.extend(faults[..room].iter().cloned());
    room
}

fn kill(crew: &mut Crew, place: usize) -> bool {
    let member = crew.member(place);
    let alive = member.has_ended().is_none();
    if alive {
        member.kill9();
    }
    alive
}

fn signal(crew: &mut Crew, place: usize, signal: Signal) {
    let member = crew.member(place);
    if member.has_ended().is_none() {
        member.signal(signal);
    }
}

fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "none",
        Fault::RateLimited { .. } => "429",
        Fault::ServerError => "500",
        Fault::CutBefore => "cut before",
        Fault::CutAfter => "cut after",
    }
}

/// Without its number.
fn behaviour_name(behaviour: &Behaviour) -> String {
    let whole = behaviour.to_string();
    let name = match behaviour {
        Behaviour::Http(_) => &whole,
        _ => whole.split('=').next().unwrap_or(&whole),
    };
    format!("agent: {name}")
}
