//! Processes that are started again when they die, as a supervisor would.

use std::time::Duration;

use crate::{Process, Rig};

/// One kind of process, kept running.
#[derive(Debug)]
pub struct Crew {
    args: Vec<&'static str>,
    env: Vec<(String, String)>,
    members: Vec<Process>,
    /// How many died and were replaced.
    pub replaced: usize,
}

impl Crew {
    pub fn new(rig: &Rig, name: &str, args: &[&'static str], count: usize, env: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut crew =
            Self { args: args.to_vec(), env: env.iter().map(own).collect(), members: Vec::new(), replaced: 0 };
        for number in 1..=count {
            crew.members.push(crew.start(rig, &format!("{name}-{number}")));
        }
        crew
    }

    pub fn workers(rig: &Rig, count: usize, env: &[(&str, &str)]) -> Self {
        Self::new(rig, "worker", &["worker"], count, env)
    }

    pub fn plugin(rig: &Rig, env: &[(&str, &str)]) -> Self {
        Self::new(rig, "plugin", &["plugin", "run", "demo"], 1, env)
    }

    fn start(&self, rig: &Rig, name: &str) -> Process {
        let env: Vec<_> = self.env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        rig.spawn(name, &self.args, &env)
    }

    /// Replaces whoever has ended.
    pub fn tend(&mut self, rig: &Rig) {
        for place in 0..self.members.len() {
            if self.members[place].has_ended().is_some() {
                let name = self.members[place].name.clone();
                self.members[place] = self.start(rig, &name);
                self.replaced += 1;
            }
        }
    }

    /// Tells everybody to stop, and waits: who they are, and whether they ended well.
    pub fn stop(&mut self, within: Duration) -> Vec<(String, bool)> {
        for member in &mut self.members {
            member.terminate();
        }
        let ended = self.members.iter_mut().map(|member| {
            let status = member.wait(within);
            (member.name.clone(), status.is_some_and(|status| status.success()))
        });
        ended.collect()
    }

    /// Everything that they and their predecessors wrote.
    pub fn output(&self) -> String {
        self.members.iter().map(Process::output).collect()
    }

    pub fn member(&mut self, place: usize) -> &mut Process {
        &mut self.members[place]
    }
}
