//! Tool calls that nobody approves.

use broca_core::TurnOutcome;
use broca_letta::Agent;
use broca_rehearsal::letta::{Behaviour, LettaScript};

use crate::rig::{Notes, Rig, abandoned, answer, client, eventually, open, parts, script};

const DENIED: [&str; 2] = ["I would like to use a tool.", "I go on without the tool."];

#[tokio::test]
async fn an_approval_is_denied_and_the_answer_goes_on() {
    for redis in [true, false] {
        let rig = Rig::with(LettaScript { redis, ..script() }).await;
        let answer = answer(rig.turn(Behaviour::Approval).await);
        assert_eq!(answer.parts, DENIED);
        assert!(answer.usage.is_some_and(|usage| usage.step_count == 2), "the usage of both runs: {:?}", answer.usage);
        assert_eq!(parts(rig.turn(Behaviour::Plain).await), ["You said: hello"], "the conversation is free");
    }
}

#[tokio::test]
async fn a_successor_denies_what_its_predecessor_did_not() {
    let rig = Rig::with(LettaScript { min_ms: 50, max_ms: 50, ..script() }).await;
    rig.server.push(Behaviour::Approval);
    let request = rig.request("hello");
    let run = abandoned(&rig.agent, &request).await;
    let second = client(&rig.server.url());
    assert_eq!(parts(second.recover(open(request.clone(), Some(run.clone()), 1), &Notes::default()).await), DENIED);
    // The denial has a key of its own: repeated, it is recognised.
    assert_eq!(parts(second.recover(open(request, Some(run), 1), &Notes::default()).await), DENIED);
}

#[tokio::test]
async fn an_approval_that_somebody_left_open_is_denied_and_the_turn_comes_again() {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::Approval);
    let request = rig.request("somebody's");
    abandoned(&rig.agent, &request).await;
    eventually(async || !rig.server.turns().is_empty()).await;
    let outcome = rig.turn(Behaviour::Plain).await;
    assert!(matches!(&outcome, TurnOutcome::Retry { after: Some(after), .. } if after.is_zero()), "{outcome:?}");
    assert_eq!(parts(rig.turn(Behaviour::Plain).await), ["You said: hello"]);
}
