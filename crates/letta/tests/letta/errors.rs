//! What a failure carries beside its outcome, which the table says.

use std::time::Duration;

use broca_core::{ConversationId, TurnOutcome};
use broca_letta::Agent;
use broca_rehearsal::letta::Behaviour;

use crate::rig::{Notes, Rig, summary};

#[tokio::test]
async fn retry_after_is_handed_on() {
    let in_time = |after: Duration| (7..=8).contains(&after.as_secs());
    for behaviour in ["rate_limited=7", "rate_limited_until=7", "overloaded=7"] {
        let rig = Rig::new().await;
        let outcome = rig.turn(behaviour.parse().unwrap()).await;
        assert!(matches!(outcome, TurnOutcome::Retry { after: Some(after), .. } if in_time(after)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_busy_conversation_is_tried_again_soon() {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::Takes(10_000));
    let first = rig.request("first");
    let _run = crate::rig::abandoned(&rig.agent, &first).await;
    let outcome = rig.agent.run_turn(rig.request("second"), &Notes::default()).await;
    assert!(matches!(outcome, TurnOutcome::Retry { after: Some(after), .. } if after <= Duration::from_secs(1)));
}

/// Letta replays a failure under its key, so the same turn fails again, and a new one works.
#[tokio::test]
async fn a_failed_turn_fails_again_under_its_key_and_works_under_a_new_one() {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::LlmFails("llm_error".to_owned()));
    let failed = rig.request("hello");
    for _ in 0..2 {
        let outcome = rig.agent.run_turn(failed.clone(), &Notes::default()).await;
        assert_eq!(summary(&outcome), "retry agent_error");
    }
    assert_eq!(summary(&rig.turn(Behaviour::Plain).await), "answered");
    assert_eq!(rig.server.turns().len(), 1);
}

#[tokio::test]
async fn nobody_at_home_is_a_retry_whatever_is_asked() {
    let Rig { server, agent, conversation } = Rig::new().await;
    server.kill().await;
    let outcome = agent.create_conversation(ConversationId::of("default", "x"), "x").await.unwrap_err();
    assert_eq!(summary(&outcome), "retry unavailable");
    assert!(agent.probe().await.is_err());
    assert!(agent.cancel(&conversation).await.is_err());
}

/// The rule for turns that outlive their time: cancelled, looked at, never said again by themselves.
#[tokio::test]
async fn agent_turn_timeout_in_flight_is_never_requeued() {
    let rig = Rig::new().await;
    for (behaviour, expected) in [(Behaviour::Stuck, "dead timeout"), (Behaviour::Takes(600), "dead timeout")] {
        rig.server.push(behaviour.clone());
        let mut request = rig.request("hello");
        request.deadline = Duration::from_millis(150);
        let outcome = rig.agent.run_turn(request, &Notes::default()).await;
        assert_eq!(summary(&outcome), expected, "{behaviour}: {outcome:?}");
    }
    assert_eq!(summary(&rig.turn(Behaviour::Plain).await), "answered", "the conversation is free again");
}
