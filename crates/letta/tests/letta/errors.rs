//! Every row of the tables of errors: what the scripted server does, what the client makes of it.

use std::time::Duration;

use broca_core::{ConversationId, TurnOutcome};
use broca_letta::Agent;
use broca_rehearsal::letta::Behaviour;

use crate::rig::{AGENT, Notes, Rig, client, request, summary};

#[tokio::test]
async fn every_failure_chooses_retry_dead_or_unknown() {
    let table: &[(&str, &str, usize)] = &[
        // What the server does, the outcome, how many turns really ran.
        ("busy", "retry busy", 0),
        ("rate_limited=7", "retry rate_limited", 0),
        ("http=400", "dead rejected", 0),
        ("http=401", "dead unauthorised", 0),
        ("http=403", "dead unauthorised", 0),
        ("http=404", "dead not_found", 0),
        ("http=413", "dead rejected", 0),
        ("http=422", "dead rejected", 0),
        ("http=500", "retry agent_error", 0),
        ("http=502", "retry unavailable", 0),
        ("http=503", "retry unavailable", 0),
        // A gateway's word says nothing of the server behind it: said again under its key.
        ("http=504", "answered", 1),
        ("http=307", "dead misconfigured", 0),
        ("overflow", "dead context_overflow", 0),
        ("llm_http=llm_error", "retry agent_error", 0),
        ("llm_http=llm_rate_limit", "retry rate_limited", 0),
        ("llm_http=llm_authentication", "dead unauthorised", 0),
        ("llm_http=llm_bad_request", "dead rejected", 0),
        ("llm_fails=llm_error", "retry agent_error", 0),
        ("llm_fails=llm_rate_limit", "retry rate_limited", 0),
        ("llm_fails=llm_authentication", "dead unauthorised", 0),
        ("llm_fails=llm_bad_request", "dead rejected", 0),
        ("llm_fails=internal_error", "retry agent_error", 0),
        ("llm_fails=CONTEXT_WINDOW_EXCEEDED", "dead context_overflow", 0),
        ("llm_dies", "retry agent_error", 0),
        ("later_step_fails=llm_error", "dead agent_error", 1),
        ("ends=max_steps", "dead agent_error", 1),
        ("ends_saying=max_steps", "answered", 1),
        ("ends=max_tokens_exceeded", "dead agent_error", 1),
        ("ends=no_tool_call", "dead agent_error", 1),
        ("ends=invalid_tool_call", "dead agent_error", 1),
        ("ends=insufficient_credits", "dead rejected", 1),
        ("ends=context_window_overflow_in_system_prompt", "dead context_overflow", 1),
        ("ends=tool_rule", "answered", 1),
        ("ends=from_the_future", "dead protocol", 1),
        ("ends_saying=from_the_future", "answered", 1),
    ];
    for (behaviour, expected, ran) in table {
        let rig = Rig::new().await;
        let outcome = rig.turn(behaviour.parse().unwrap()).await;
        assert_eq!(summary(&outcome), *expected, "{behaviour}: {outcome:?}");
        assert_eq!(rig.server.turns().len(), *ran, "{behaviour}");
        if let TurnOutcome::Retry { failure, .. } | TurnOutcome::Dead(failure) = outcome {
            assert!(!failure.reason.contains("hello"), "{behaviour} tells the text: {failure}");
        }
    }
}

#[tokio::test]
async fn retry_after_is_handed_on() {
    let rig = Rig::new().await;
    let outcome = rig.turn(Behaviour::RateLimited(7)).await;
    assert!(matches!(outcome, TurnOutcome::Retry { after: Some(after), .. } if after == Duration::from_secs(7)));
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
async fn nobody_at_home_is_a_retry() {
    let rig = Rig::new().await;
    let Rig { server, agent, conversation } = rig;
    server.kill().await;
    let outcome = agent.run_turn(request(&conversation, "hello"), &Notes::default()).await;
    assert_eq!(summary(&outcome), "retry unavailable");
    let outcome = agent.create_conversation(ConversationId::of("default", "x"), "x").await.unwrap_err();
    assert_eq!(summary(&outcome), "retry unavailable");
    assert!(agent.probe().await.is_err());
    assert!(agent.cancel(&conversation).await.is_err());
}

#[tokio::test]
async fn an_unknown_agent_or_conversation_is_dead() {
    let rig = Rig::new().await;
    let outcome = rig.agent.run_turn(request("conv-unknown", "hello"), &Notes::default()).await;
    assert_eq!(summary(&outcome), "dead not_found");
    rig.server.script(|script| script.agent_id = Some("agent-other".to_owned()));
    let refused = rig.agent.create_conversation(ConversationId::of("default", "x"), "x").await.unwrap_err();
    assert_eq!(summary(&refused), "dead not_found");
    assert!(client(&rig.server.url()).probe().await.unwrap_err().reason.contains(AGENT));
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
