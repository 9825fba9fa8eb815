//! A server without Redis recognises nothing: turns go out in the foreground and are found by what is stored.

use std::time::Duration;

use broca_letta::Agent;
use broca_rehearsal::letta::{Behaviour, LettaScript};

use crate::rig::{Notes, Rig, client, cut_off, open, parts, script, with_image};

const SAID: [&str; 1] = ["You said: hello"];

async fn rig() -> Rig {
    Rig::with(LettaScript { redis: false, min_ms: 60, max_ms: 60, ..script() }).await
}

#[tokio::test]
async fn the_first_refusal_is_remembered() {
    let rig = rig().await;
    assert_eq!(parts(rig.turn(Behaviour::Plain).await), SAID);
    assert_eq!(parts(rig.turn(Behaviour::Several).await), ["Let me look.", "You said: hello"]);
    // The first message came twice: refused, then in the foreground.
    assert_eq!(rig.server.arrived(), 3);
}

/// Nothing is said, and no run is left behind.
#[tokio::test]
async fn a_probe_finds_out_before_the_first_message() {
    let rig = rig().await;
    let health = rig.agent.probe().await.unwrap();
    assert!(!health.idempotent && health.detail.contains("Redis"), "{}", health.detail);
    let runs = reqwest::get(format!("{}/v1/runs/", rig.server.url())).await.unwrap().text().await.unwrap();
    assert_eq!((rig.server.arrived(), runs.as_str()), (0, "[]"));
    assert_eq!(parts(rig.turn(Behaviour::Plain).await), SAID);
    assert_eq!(rig.server.arrived(), 1, "it was not refused first");
}

#[tokio::test]
async fn however_the_stream_breaks_the_turn_runs_once_and_is_answered() {
    for behaviour in ["silent_pings", "no_done", "drop_after=1", "drop_before_bytes", "drop_after_headers", "swallow"] {
        let rig = rig().await;
        assert_eq!(parts(rig.turn(Behaviour::Plain).await), SAID);
        let behaviour: Behaviour = behaviour.parse().unwrap();
        // A foreground stream that never names its run falls silent at some point, and then the turn is looked for.
        let mut options = crate::rig::options(&rig.server.url());
        options.stream_idle = Duration::from_millis(200);
        options.request_timeout = Duration::from_millis(200);
        rig.server.script(|script| script.ping_ms = 60_000);
        let agent = broca_letta::LettaAgent::new(options).unwrap();
        rig.server.push(Behaviour::Plain);
        agent.run_turn(rig.request("first"), &Notes::default()).await;
        rig.server.push(behaviour.clone());
        assert_eq!(parts(agent.run_turn(rig.request("hello"), &Notes::default()).await), SAID, "{behaviour}");
        assert_eq!(rig.server.turns().len(), 3, "{behaviour}");
    }
}

#[tokio::test]
async fn a_successor_finds_the_turn_and_never_says_it_twice() {
    // The successor may or may not have learnt yet that this server recognises nothing.
    for knows in [true, false] {
        let rig = rig().await;
        assert_eq!(parts(rig.turn(Behaviour::Plain).await), SAID);
        let request = rig.request("hello");
        rig.server.push(Behaviour::Takes(200));
        cut_off(&rig, &request).await;
        let fresh = client(&rig.server.url());
        let successor = if knows { &rig.agent } else { &fresh };
        assert_eq!(parts(successor.recover(open(request.clone(), None, 0), &Notes::default()).await), SAID);
        assert_eq!(parts(successor.recover(open(request, None, 0), &Notes::default()).await), SAID);
        assert_eq!(rig.server.turns().len(), 2);
    }
}

/// Listings carry the images of a conversation, and may be longer than anything that is read at once.
#[tokio::test]
async fn a_turn_is_found_among_pictures() {
    let rig = rig().await;
    let mut options = crate::rig::options(&rig.server.url());
    options.max_answer_bytes = 40_000;
    let agent = broca_letta::LettaAgent::new(options).unwrap();
    for _ in 0..4 {
        let earlier = agent.run_turn(with_image(rig.request("hello")), &Notes::default()).await;
        assert_eq!(parts(earlier), SAID);
    }
    rig.server.push(Behaviour::DropBeforeBytes);
    assert_eq!(parts(agent.run_turn(with_image(rig.request("hello")), &Notes::default()).await), SAID);
    assert_eq!(rig.server.turns().len(), 5, "it was found, and not said again");
}
