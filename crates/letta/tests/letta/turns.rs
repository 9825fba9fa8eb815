//! Turns that succeed, and what the client sends.

use std::time::Duration;

use broca_core::{ConversationId, TraceParent, TurnOutcome, agent::FailureClass};
use broca_letta::{Agent, LettaAgent};
use broca_rehearsal::letta::{Behaviour, LettaScript};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::rig::{AGENT, Notes, Rig, answer, client, options, parts, request, script};

#[tokio::test]
async fn a_turn_is_answered_and_reported() {
    let rig = Rig::new().await;
    let (request, notes) = (rig.request("hello"), Notes::default());
    let answer = answer(rig.agent.run_turn(request.clone(), &notes).await);
    assert_eq!(answer.parts, ["You said: hello"]);
    assert!(answer.usage.is_some_and(|usage| usage.total_tokens == 4 && usage.step_count == 1));

    let ran = rig.server.turns();
    assert_eq!(ran.len(), 1);
    assert_eq!(ran[0].run_id, notes.run().await);
    assert_eq!(ran[0].otid, Some(request.turn.to_string()));
    assert_eq!(ran[0].conversation, rig.conversation);
    assert!(notes.seen().is_sorted() && notes.seen().first() == Some(&1), "{:?}", notes.seen());
}

#[tokio::test]
async fn every_assistant_message_of_a_turn_is_a_part() {
    let rig = Rig::new().await;
    assert_eq!(parts(rig.turn(Behaviour::Several).await), ["Let me look.", "You said: hello"]);
    assert_eq!(parts(rig.turn(Behaviour::Chunks).await), ["You said: hello"]);
    assert_eq!(parts(rig.turn(Behaviour::Empty).await), [""; 0]);
    assert_eq!(parts(rig.turn(Behaviour::EndsSaying("max_tokens_exceeded".into())).await), ["You said: hello"]);
}

#[tokio::test]
async fn a_server_that_is_slow_to_begin_is_waited_for() {
    let rig = Rig::new().await;
    assert_eq!(parts(rig.turn(Behaviour::SlowStart(300)).await), ["You said: hello"]);
    assert_eq!(parts(rig.turn(Behaviour::Takes(300)).await), ["You said: hello"]);
}

#[tokio::test]
async fn many_conversations_talk_at_once() {
    let mut rig = Rig::with(LettaScript { min_ms: 20, max_ms: 200, ..script() }).await;
    // So many at once take their time on a busy machine, and this is not about that.
    let patient = broca_letta::LettaOptions::new(rig.server.url(), AGENT);
    rig.agent = LettaAgent::new(patient).unwrap();
    let turns = (0..300).map(|n| {
        let rig = &rig;
        async move {
            let key = ConversationId::of("default", &n.to_string());
            let conversation = rig.agent.create_conversation(key, "one of many").await.expect("a conversation");
            let text = format!("message {n}");
            let outcome = rig.agent.run_turn(request(&conversation, &text), &Notes::default()).await;
            assert_eq!(parts(outcome), [format!("You said: {text}")]);
        }
    });
    futures::future::join_all(turns).await;
    assert_eq!(rig.server.turns().len(), 300);
}

#[tokio::test]
async fn a_probe_tells_the_version_and_whether_keys_are_recognised() {
    let rig = Rig::new().await;
    let health = rig.agent.probe().await.unwrap();
    assert_eq!((health.version.as_str(), health.idempotent), ("0.16.8", true));
    assert!(health.detail.contains("Redis"), "{}", health.detail);
    // Redis may go, and come back.
    rig.server.script(|script| script.redis = false);
    assert!(!rig.agent.probe().await.unwrap().idempotent);
    rig.server.script(|script| script.redis = true);
    assert!(rig.agent.probe().await.unwrap().idempotent);

    rig.server.script(|script| script.agent_id = Some("agent-other".to_owned()));
    let missing = rig.agent.probe().await.unwrap_err();
    assert!(missing.reason.contains(AGENT), "{missing}");
}

#[tokio::test]
async fn cancelling_stops_what_runs_and_needs_nothing_to_run() {
    let rig = Rig::new().await;
    rig.agent.cancel(&rig.conversation).await.unwrap();
    rig.server.push(Behaviour::Stuck);
    let (request, notes) = (rig.request("hello"), Notes::default());
    let (outcome, ()) = tokio::join!(rig.agent.run_turn(request, &notes), async {
        notes.run().await;
        rig.agent.cancel(&rig.conversation).await.unwrap();
    });
    assert!(matches!(outcome, TurnOutcome::Dead(failure) if failure.reason.contains("cancelled")));
    assert!(rig.agent.cancel(&"conv-unknown".to_owned()).await.is_err());
}

/// What arrives at a server, byte for byte.
#[tokio::test]
async fn requests_carry_the_key_the_trace_and_the_right_path() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut options = options(&format!("http://{}/letta/v1/", listener.local_addr().unwrap()));
    options.api_key = Some("sk-secret".to_owned().into());
    assert!(!format!("{options:?}").contains("sk-secret"));
    let agent = LettaAgent::new(options).unwrap();
    assert!(!format!("{agent:?}").contains("sk-secret"));

    let trace = TraceParent::random();
    let mut turn = request("conv-1/../x", "hello");
    turn.trace = Some(trace);
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let mut read = 0;
        while !head[..read].windows(4).any(|four| four == b"\r\n\r\n") {
            read += socket.read(&mut head[read..]).await.unwrap();
        }
        socket.write_all(b"HTTP/1.1 422 Unprocessable\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&head[..read]).to_ascii_lowercase()
    };
    let notes = Notes::default();
    let (head, _) = tokio::join!(serve, agent.run_turn(turn, &notes));
    assert!(head.starts_with("post /letta/v1/conversations/conv-1%2f..%2fx/messages http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("traceparent: {trace}\r\n")), "{head}");
    assert!(head.contains("authorization: bearer sk-secret\r\n"), "{head}");
}

/// A client that holds the wrong key, or none, is told so.
#[tokio::test]
async fn a_server_with_a_password_wants_it() {
    let rig = Rig::new().await;
    rig.server.script(|script| script.api_key = Some("pass word".to_owned()));
    let refused = rig.agent.probe().await.unwrap_err();
    assert!(refused.reason.contains("API key"), "{refused}");
    let keyed = LettaAgent::new(broca_letta::LettaOptions {
        api_key: Some("pass word".to_owned().into()),
        ..options(&rig.server.url())
    });
    keyed.unwrap().probe().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(5), client("http://127.0.0.1:9").probe()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_conversation_is_deleted_once_and_again() {
    let rig = Rig::new().await;
    for _ in 0..2 {
        rig.agent.delete_conversation(&rig.conversation).await.expect("what is gone is deleted");
        assert!(rig.server.conversations().is_empty());
    }
    let agent = client(&rig.server.url());
    rig.server.kill().await;
    let failure = agent.delete_conversation(&rig.conversation).await.expect_err("nobody is there");
    assert_eq!(failure.class, FailureClass::Unavailable);
}
