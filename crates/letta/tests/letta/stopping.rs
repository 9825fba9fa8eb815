//! A turn that is not wanted any more, with Redis and without, and however far it had got.

use std::time::Duration;

use broca_core::TurnOutcome;
use broca_letta::{Agent, Stopped};
use broca_rehearsal::letta::{Behaviour, LettaScript};

use crate::rig::{Notes, Rig, abandoned, cut_off, open, script};

async fn stop_after_its_run_is_known(rig: &Rig, behaviour: Behaviour) -> Stopped {
    rig.server.push(behaviour);
    let request = rig.request("stop me");
    let run = abandoned(&rig.agent, &request).await;
    rig.agent.stop(open(request, Some(run), 0), &Notes::default()).await
}

#[tokio::test]
async fn a_turn_that_runs_is_stopped_and_the_conversation_is_free() {
    let rig = Rig::new().await;
    let stopped = stop_after_its_run_is_known(&rig, Behaviour::Stuck).await;
    assert_eq!(stopped, Stopped::Stopped { heard: false });
    assert!(matches!(rig.turn(Behaviour::Plain).await, TurnOutcome::Answered(_)));
}

#[tokio::test]
async fn what_the_model_was_saying_may_be_stored_all_the_same() {
    let rig = Rig::new().await;
    let stopped = stop_after_its_run_is_known(&rig, Behaviour::Takes(100)).await;
    assert_eq!(stopped, Stopped::Stopped { heard: true });
}

#[tokio::test]
async fn one_that_is_over_keeps_its_end() {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::Plain);
    let request = rig.request("stop me");
    let notes = Notes::default();
    assert!(matches!(rig.agent.run_turn(request.clone(), &notes).await, TurnOutcome::Answered(_)));
    let stopped = rig.agent.stop(open(request, Some(notes.run().await), 0), &Notes::default()).await;
    assert!(matches!(stopped, Stopped::Ended(TurnOutcome::Answered(_))), "{stopped:?}");
}

#[tokio::test]
async fn one_whose_run_nobody_noted_is_found() {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::Takes(300));
    let request = rig.request("stop me");
    cut_off(&rig, &request).await;
    let stopped = rig.agent.stop(open(request, None, 0), &Notes::default()).await;
    assert_eq!(stopped, Stopped::Stopped { heard: true });
    // And of one that never arrived, nothing is left.
    let stopped = rig.agent.stop(open(rig.request("never sent"), None, 0), &Notes::default()).await;
    assert_eq!(stopped, Stopped::Stopped { heard: false });
}

#[tokio::test]
async fn without_redis_it_goes_on_to_its_end() {
    let rig = Rig::with(LettaScript { redis: false, ..script() }).await;
    rig.server.push(Behaviour::Takes(400));
    let request = rig.request("stop me");
    cut_off(&rig, &request).await;
    let begun = std::time::Instant::now();
    let stopped = rig.agent.stop(open(request, None, 0), &Notes::default()).await;
    assert!(matches!(stopped, Stopped::Ended(TurnOutcome::Answered(_))), "{stopped:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}
