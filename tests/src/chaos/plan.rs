//! What will happen and when: a pure function of the seed, so that a run can be had again. (Who is in the middle of
//! what at that moment is the machine's to decide.)

use std::time::Duration;

use broca_rehearsal::{letta::Behaviour, platform::Fault};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{DOOMED, Database};

pub(super) const WORKERS: usize = 3;
pub(super) const PLUGINS: usize = 2;
pub(super) const NODES: usize = 3;
/// On each platform.
const PEOPLE: usize = 12;
const MESSAGES_A_SECOND: f64 = 14.0;
/// Of a thousand messages, those that the agent fails for good.
const DOOMED_PER_MILLE: u32 = 8;

/// Something that is broken for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    WorkerKilled(usize),
    WorkerStopped(usize),
    PluginKilled(usize),
    PluginStopped(usize),
    NodeKilled(usize),
    /// Whichever node leads that stream.
    LeaderKilled(&'static str),
    NodeFrozen(usize),
    QuorumKilled(usize),
    /// No node can write to its disk, until room is made and the nodes are started anew.
    DisksFull,
    /// The same for one node.
    DiskFull(usize),
    DatabaseStopped,
    DatabaseKilled,
    AgentKilled,
    /// Updates come doubled, or newest first, or both.
    UpdatesShuffled {
        platform: usize,
        repeat: bool,
        reverse: bool,
    },
}

impl Break {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled(_) => "worker kill -9",
            Self::WorkerStopped(_) => "worker stopped past its lease",
            Self::PluginKilled(_) => "plugin kill -9",
            Self::PluginStopped(_) => "plugin stopped past its lease",
            Self::NodeKilled(_) => "nats node kill -9",
            Self::LeaderKilled(_) => "nats stream leader kill -9",
            Self::NodeFrozen(_) => "nats node frozen",
            Self::QuorumKilled(_) => "nats quorum kill -9",
            Self::DisksFull => "nats disks full",
            Self::DiskFull(_) => "nats node's disk full",
            Self::DatabaseStopped => "PostgreSQL restart",
            Self::DatabaseKilled => "PostgreSQL kill -9",
            Self::AgentKilled => "agent kill -9",
            Self::UpdatesShuffled { .. } => "updates doubled or reversed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Say {
        platform: usize,
        person: String,
        text: String,
    },
    Break(Break),
    Mend(Break),
    /// What goes wrong with the next sends at a platform.
    Sends(usize, Vec<Fault>),
    /// What goes wrong with the next polls at a platform.
    Polls(usize, Vec<Fault>),
    /// What the agent does with the next messages.
    Agent(Vec<Behaviour>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at_ms: u64,
    pub(super) event: Event,
}

/// All steps of a run, in time order. `disks`: those of the broker can be filled.
pub(super) fn plan(seed: u64, length: Duration, database: Database, disks: bool) -> Vec<Step> {
    let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let mut lanes = Lanes { steps: Vec::new(), length_ms };
    // Each lane has a generator of its own: another lane's changes do not change it.
    let random = |lane: u64| StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(lane));
    lanes.talk(random(0));
    for worker in 0..WORKERS {
        let choices = [(3, Break::WorkerKilled(worker), 0..=1), (2, Break::WorkerStopped(worker), 1_800..=3_200)];
        lanes.breaks(random(10 + worker as u64), 2_500..=9_000, &choices);
    }
    for plugin in 0..PLUGINS {
        let choices = [(3, Break::PluginKilled(plugin), 0..=1), (2, Break::PluginStopped(plugin), 1_800..=3_200)];
        lanes.breaks(random(20 + plugin as u64), 3_000..=10_000, &choices);
        lanes.shuffles(random(30 + plugin as u64), plugin);
        lanes.platform_faults(random(40 + plugin as u64), plugin);
    }
    let mut choices = vec![
        (3, Break::LeaderKilled("BROCA_IN"), 200..=2_500),
        (3, Break::LeaderKilled("BROCA_OUT"), 200..=2_500),
        (1, Break::QuorumKilled(0), 300..=1_500),
    ];
    choices.extend((0..NODES).map(|node| (1, Break::NodeKilled(node), 200..=2_500)));
    choices.extend((0..NODES).map(|node| (1, Break::NodeFrozen(node), 500..=3_000)));
    if disks {
        choices.push((3, Break::DisksFull, 500..=3_000));
        choices.extend((0..NODES).map(|node| (1, Break::DiskFull(node), 500..=3_000)));
    }
    lanes.breaks(random(50), 3_000..=8_000, &choices);
    if database == Database::Postgres {
        let choices = [(2, Break::DatabaseStopped, 0..=1_500), (1, Break::DatabaseKilled, 0..=1_500)];
        lanes.breaks(random(60), 5_000..=12_000, &choices);
    }
    lanes.breaks(random(70), 4_000..=10_000, &[(1, Break::AgentKilled, 50..=1_500)]);
    lanes.behaviours(random(80));
    lanes.steps.sort_by_key(|step| step.at_ms);
    lanes.steps
}

type Choice = (u32, Break, std::ops::RangeInclusive<u64>);

struct Lanes {
    steps: Vec<Step>,
    length_ms: u64,
}

impl Lanes {
    fn add(&mut self, at_ms: u64, event: Event) {
        self.steps.push(Step { at_ms, event });
    }

    /// People write, each their own count of messages, on both platforms.
    fn talk(&mut self, mut random: StdRng) {
        let mut counts = [[0_u32; PEOPLE]; PLUGINS];
        let mean_ms = 1_000.0 / MESSAGES_A_SECOND;
        let mut at_ms = 0.0;
        loop {
            at_ms += -mean_ms * (1.0 - random.random::<f64>()).ln();
            let at = at_ms as u64;
            if at >= self.length_ms {
                return;
            }
            let platform = random.random_range(0..PLUGINS);
            // A few people write a lot: their conversations always have something waiting.
            let who = if random.random_bool(0.3) { random.random_range(0..2) } else { random.random_range(0..PEOPLE) };
            let count = &mut counts[platform][who];
            *count += 1;
            let person = format!("{}{who:02}", ["a", "b"][platform]);
            let word = format!("{person}-m{count:05}");
            let doomed = random.random_ratio(DOOMED_PER_MILLE, 1_000);
            let text = if doomed { format!("{word} {DOOMED}") } else { word };
            self.add(at, Event::Say { platform, person, text });
        }
    }

    /// One thing after the other is broken for a while and mended, with `gap` between.
    fn breaks(&mut self, mut random: StdRng, gap: std::ops::RangeInclusive<u64>, choices: &[Choice]) {
        let mut at_ms = random.random_range(0..=*gap.end() / 2);
        loop {
            let (_, what, duration) =
                choices.choose_weighted(&mut random, |choice| choice.0).expect("there is a choice");
            let until = at_ms + random.random_range(duration.clone());
            if until >= self.length_ms {
                return;
            }
            self.add(at_ms, Event::Break(*what));
            self.add(until, Event::Mend(*what));
            at_ms = until + random.random_range(gap.clone());
        }
    }

    fn shuffles(&mut self, mut random: StdRng, platform: usize) {
        let ways = [(true, false), (false, true), (true, true)];
        let choices =
            ways.map(|(repeat, reverse)| (1, Break::UpdatesShuffled { platform, repeat, reverse }, 500..=4_000));
        let seed = random.random();
        self.breaks(StdRng::seed_from_u64(seed), 1_000..=4_000, &choices);
    }

    fn platform_faults(&mut self, mut random: StdRng, platform: usize) {
        let faults = [Fault::RateLimited { retry_after_s: 1 }, Fault::ServerError, Fault::CutBefore, Fault::CutAfter];
        let mut at_ms = random.random_range(0..1_500);
        while at_ms < self.length_ms {
            let some = (0..random.random_range(1..=4)).map(|_| *faults.choose(&mut random).expect("there are faults"));
            let some: Vec<Fault> = some.collect();
            let sends = random.random_bool(0.7);
            self.add(at_ms, if sends { Event::Sends(platform, some) } else { Event::Polls(platform, some) });
            at_ms += random.random_range(500..2_500);
        }
    }

    fn behaviours(&mut self, mut random: StdRng) {
        let mut at_ms = random.random_range(0..1_000);
        while at_ms < self.length_ms {
            let some = (0..random.random_range(1..=3)).map(|_| behaviour(&mut random)).collect();
            self.add(at_ms, Event::Agent(some));
            at_ms += random.random_range(200..1_200);
        }
    }
}

/// What an agent does wrong, all of it passing: tried again, it answers.
fn behaviour(random: &mut StdRng) -> Behaviour {
    match random.random_range(0..16) {
        0 => Behaviour::Http(500),
        1 => Behaviour::Http(503),
        2 => Behaviour::RateLimited(1),
        3 => Behaviour::DropAfter(random.random_range(1..4)),
        4 => Behaviour::DropBeforeBytes,
        5 => Behaviour::DropAfterHeaders,
        6 => Behaviour::Swallow,
        7 => Behaviour::SilentPings,
        8 => Behaviour::NoDone,
        9 => Behaviour::LlmFails("llm_error".to_owned()),
        10 => Behaviour::LlmDies,
        11 => Behaviour::SlowStart(random.random_range(100..1_500)),
        12 => Behaviour::Takes(random.random_range(500..3_000)),
        13 => Behaviour::Busy,
        14 => Behaviour::Several,
        _ => Behaviour::Chunks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_run() {
        let minute = Duration::from_secs(60);
        let run = |seed| plan(seed, minute, Database::Postgres, true);
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let steps = run(7);
        assert!(steps.is_sorted_by_key(|step| step.at_ms));
        let broken = steps.iter().filter_map(|step| match &step.event {
            Event::Break(what) => Some(what.name()),
            _ => None,
        });
        let kinds: std::collections::BTreeSet<_> = broken.collect();
        assert!(kinds.len() >= 10, "a minute breaks nearly everything: {kinds:?}");
    }

    #[test]
    fn whatever_is_broken_is_mended() {
        for seed in 0..20 {
            let steps = plan(seed, Duration::from_secs(40), Database::Postgres, true);
            let mut broken: Vec<Break> = Vec::new();
            for step in steps {
                match step.event {
                    Event::Break(what) => broken.push(what),
                    Event::Mend(what) => {
                        let place = broken.iter().position(|b| *b == what).expect("it was broken");
                        broken.remove(place);
                    }
                    _ => {}
                }
            }
            assert_eq!(broken, []);
        }
    }
}
