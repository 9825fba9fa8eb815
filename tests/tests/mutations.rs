//! The audit is worth something: with the fence, the outbox, the sweep or the dedup switched off, it fails. Each of
//! them has a scene in which it is needed, and each scene is played twice: the same with the protection ends well.
//!
//! Only a development build can do without them; see `broca_pipeline::mutate`.

use std::time::Duration;

use broca_core::MessageState;
use broca_pipeline::mutate::Protection;
use broca_rehearsal::letta::Behaviour;
use broca_tests::{Crew, DOOMED, Database, Reckoning, Rig, RigOptions, all_over, eventually};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than anything here takes that still can end by itself.
const LONG_ENOUGH: Duration = Duration::from_secs(8);

/// What a scene ended in, and whether it came to rest.
struct Ending {
    rested: bool,
    reckoning: Reckoning,
}

impl Ending {
    fn is_good(&self) -> bool {
        self.rested && self.reckoning.is_good()
    }
}

/// A rig whose processes go without `off`, if it is given.
struct Scene {
    rig: Rig,
    env: Vec<(&'static str, String)>,
    said: Vec<(String, String)>,
}

impl Scene {
    async fn set(options: RigOptions, off: Option<Protection>) -> Self {
        let env = off.map(|protection| ("BROCA_MUTATE", protection.name().to_owned()));
        Self { rig: Rig::start(options).await, env: env.into_iter().collect(), said: Vec::new() }
    }

    fn env(&self) -> Vec<(&str, &str)> {
        self.env.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    fn say(&mut self, person: &str, texts: &[&str]) {
        for text in texts {
            self.rig.platform.say(person, text);
            self.said.push((person.to_owned(), (*text).to_owned()));
        }
    }

    async fn is_over(&self) -> bool {
        self.rig.platform.unconfirmed().is_empty() && all_over(&self.rig.store().await).await
    }

    async fn state_of(&self, state: MessageState) -> i64 {
        let counts = self.rig.store().await.counts().await.expect("the store answers");
        counts.messages.get(state.as_str()).copied().unwrap_or(0)
    }

    /// Waits for rest, but not for ever: a scene without its protection may never come to it.
    async fn ends(self) -> Ending {
        // With all protections it comes to rest, however busy the machine is.
        let longest = if self.env.is_empty() { 2 * PATIENCE } else { LONG_ENOUGH };
        let deadline = tokio::time::Instant::now() + longest;
        while !self.is_over().await && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let rested = self.is_over().await;
        Ending { rested, reckoning: Reckoning::of(&self.rig, &self.said).await }
    }
}

/// A platform that reports every update twice.
async fn dedup(off: Option<Protection>) -> Ending {
    let mut options = RigOptions::new(Database::Sqlite);
    options.platform.repeat_updates = true;
    let mut scene = Scene::set(options, off).await;
    let _worker = Crew::workers(&scene.rig, 1, &scene.env());
    let _plugin = Crew::plugin(&scene.rig, &scene.env());
    scene.say("u00", &["u00-m1", "u00-m2"]);
    scene.rig.platform.wait_for_sends(2, PATIENCE).await;
    scene.ends().await
}

/// The plugin dies between a message's commit and its wake, and nobody writes afterwards.
async fn sweep(off: Option<Protection>) -> Ending {
    let mut scene = Scene::set(RigOptions::new(Database::Sqlite), off).await;
    let _worker = Crew::workers(&scene.rig, 1, &scene.env());
    let mut doomed = scene.env();
    doomed.push(("BROCA_CRASH_AT", "ingested"));
    let mut first = scene.rig.spawn("first", &["plugin", "run", "demo"], &doomed);
    scene.say("u00", &["u00-m1"]);
    first.wait(PATIENCE).expect("the plugin dies");
    let _second = Crew::plugin(&scene.rig, &scene.env());
    assert!(scene.rig.platform.wait_for_confirmation(PATIENCE).await, "the second plugin finds the message accepted");
    scene.ends().await
}

/// The broker is away when a message fails for good, and the worker dies before it is back.
async fn outbox(off: Option<Protection>) -> Ending {
    let mut options = RigOptions::new(Database::Sqlite);
    (options.letta.min_ms, options.letta.max_ms) = (1_500, 1_500);
    let mut scene = Scene::set(options, off).await;
    let mut first = scene.rig.spawn("first", &["worker"], &scene.env());
    let _plugin = Crew::plugin(&scene.rig, &scene.env());
    scene.say("u00", &[&format!("u00-m1 {DOOMED}")]);
    eventually("the agent works on it", PATIENCE, || async { scene.rig.letta.arrived() > 0 }).await;
    scene.rig.nats.node_mut(0).kill9();
    eventually("it failed", PATIENCE, || async { scene.state_of(MessageState::Failed).await == 1 }).await;
    if off.is_some() {
        let store = scene.rig.store().await;
        eventually("the publish is forgotten", PATIENCE, || async { store.counts().await.unwrap().outbox == 0 }).await;
    }
    first.kill9();
    scene.rig.nats.node_mut(0).restart();
    let _second = Crew::workers(&scene.rig, 1, &scene.env());
    scene.ends().await
}

/// A worker is stopped in the middle of a turn, with more messages in its hands, until another one has done them all.
/// What it hears first from then on is what the agent says: its answer, or (`early`) the name of the run.
async fn fence(off: Option<Protection>, early: bool) -> Ending {
    let mut options = RigOptions::new(Database::Postgres);
    (options.letta.min_ms, options.letta.max_ms) = (700, 700);
    if early {
        options.letta.behaviours.push_back(Behaviour::SlowStart(2_000));
    }
    let mut scene = Scene::set(options, off).await;
    let _plugin = Crew::plugin(&scene.rig, &scene.env());
    scene.say("u00", &["u00-m1", "u00-m2", "u00-m3"]);
    eventually("all are accepted", PATIENCE, || async { scene.state_of(MessageState::Received).await == 3 }).await;
    let mut first = scene.rig.spawn("first", &["worker"], &scene.env());
    eventually("the agent works for the first worker", PATIENCE, || async { scene.rig.letta.arrived() > 0 }).await;
    first.signal(Signal::SIGSTOP);
    let _second = scene.rig.spawn("second", &["worker"], &scene.env());
    let sent = scene.rig.platform.wait_for_sends(3, PATIENCE).await;
    assert_eq!(sent.len(), 3, "the second worker does it all");
    first.signal(Signal::SIGCONT);
    let noticed = || async { first.output().contains("lease lost") };
    eventually("the first worker is told", PATIENCE, noticed).await;
    if off.is_some() {
        // The signal below would drain it before it has done what it must not do.
        eventually("it goes on all the same", PATIENCE, || async { scene.rig.letta.turns().len() > 3 }).await;
    }
    // What it still has in its hands takes it this long at most.
    assert!(first.stop(PATIENCE).is_some(), "the first worker ends");
    scene.ends().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_dedup_the_audit_fails() {
    assert!(dedup(None).await.is_good());
    let without = dedup(Some(Protection::Dedup)).await;
    assert!(!without.reckoning.verdict.answered_twice.is_empty(), "{:#?}", without.reckoning);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_sweep_the_audit_fails() {
    assert!(sweep(None).await.is_good());
    let without = sweep(Some(Protection::Sweep)).await;
    assert!(!without.rested && without.reckoning.lost.len() == 1, "{:#?}", without.reckoning);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_outbox_the_audit_fails() {
    assert!(outbox(None).await.is_good());
    let without = outbox(Some(Protection::Outbox)).await;
    assert_eq!(without.reckoning.dead_letters, (1, 0), "{:#?}", without.reckoning);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_fence_the_audit_fails() {
    for early in [false, true] {
        assert!(fence(None, early).await.is_good(), "early: {early}");
    }
    let without = fence(Some(Protection::Fence), false).await;
    assert!(!without.reckoning.verdict.asked_twice.is_empty(), "{:#?}", without.reckoning);
}

#[test]
fn every_protection_has_a_scene() {
    let scenes = [Protection::Dedup, Protection::Sweep, Protection::Outbox, Protection::Fence];
    assert!(Protection::ALL.iter().all(|protection| scenes.contains(protection)));
}
