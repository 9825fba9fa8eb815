//! What was interrupted is found again, and no turn runs twice.

use std::time::Duration;

use broca_core::{Timestamp, TurnId};
use broca_letta::Agent;
use broca_rehearsal::letta::{Behaviour, LettaScript};

use crate::rig::{Notes, Rig, abandoned, client, eventually, journaled, open, parts, script, summary};

const SAID: [&str; 1] = ["You said: hello"];

#[tokio::test]
async fn however_the_stream_breaks_the_turn_runs_once_and_is_answered() {
    for behaviour in [
        "silent_pings",
        "no_done",
        "drop_after=1",
        "drop_after=2",
        "drop_after=3",
        "drop_before_bytes",
        "drop_after_headers",
        "swallow",
    ] {
        let rig = Rig::with(LettaScript { min_ms: 60, max_ms: 60, ..script() }).await;
        assert_eq!(parts(rig.turn(behaviour.parse().unwrap()).await), SAID, "{behaviour}");
        assert_eq!(rig.server.turns().len(), 1, "{behaviour}");
    }
}

#[tokio::test]
async fn a_successor_attaches_to_the_run_that_it_knows() {
    let rig = Rig::with(LettaScript { min_ms: 100, max_ms: 100, ..script() }).await;
    let request = rig.request("hello");
    let run = abandoned(&rig.agent, &request).await;
    let second = client(&rig.server.url());
    assert_eq!(parts(second.recover(open(request.clone(), Some(run.clone()), 1), &Notes::default()).await), SAID);
    // Over and over, also when it is long finished.
    assert_eq!(parts(second.recover(open(request, Some(run), 1), &Notes::default()).await), SAID);
    assert_eq!(rig.server.turns().len(), 1);
}

#[tokio::test]
async fn a_successor_that_knows_no_run_repeats_the_key() {
    let rig = Rig::with(LettaScript { min_ms: 100, max_ms: 100, ..script() }).await;
    let request = rig.request("hello");
    let run = abandoned(&rig.agent, &request).await;
    let (second, notes) = (client(&rig.server.url()), Notes::default());
    assert_eq!(parts(second.recover(open(request.clone(), None, 0), &notes).await), SAID);
    assert_eq!(notes.run().await, run);
    assert_eq!(parts(second.recover(open(request, None, 0), &Notes::default()).await), SAID);
    assert_eq!(rig.server.turns().len(), 1);
}

#[tokio::test]
async fn a_turn_that_never_left_is_said_by_the_successor() {
    let rig = Rig::new().await;
    assert_eq!(parts(rig.agent.recover(open(rig.request("hello"), None, 0), &Notes::default()).await), SAID);
    assert_eq!(rig.server.turns().len(), 1);
}

#[tokio::test]
async fn an_old_turn_is_found_by_its_stored_message() {
    let rig = Rig::new().await;
    for n in 0..130 {
        let text = format!("message {n}");
        let request = rig.request(&text);
        rig.agent.run_turn(request.clone(), &Notes::default()).await;
        if n == 3 {
            rig.server.forget_keys();
            let mut old = open(request, None, 0);
            old.age = Duration::from_secs(4 * 3600);
            assert_eq!(parts(rig.agent.recover(old, &Notes::default()).await), [format!("You said: {text}")]);
        }
    }
    // Behind the first page of the listing.
    let first = &rig.server.turns()[0];
    let mut old = open(rig.request(&first.text), None, 0);
    old.request.turn = first.otid.as_deref().unwrap().parse::<TurnId>().unwrap();
    old.age = Duration::from_secs(4 * 3600);
    rig.server.forget_keys();
    assert_eq!(parts(rig.agent.recover(old, &Notes::default()).await), ["You said: message 0"]);
    assert_eq!(rig.server.turns().len(), 130);
}

#[tokio::test]
async fn an_old_turn_that_still_runs_is_waited_for() {
    let rig = Rig::with(LettaScript { min_ms: 300, max_ms: 300, ..script() }).await;
    let request = rig.request("hello");
    abandoned(&rig.agent, &request).await;
    rig.server.forget_keys();
    let mut old = open(request, None, 0);
    old.sent_at = Timestamp(old.sent_at.micros() - 1_000_000);
    let mut options = crate::rig::options(&rig.server.url());
    options.idempotency_window = Duration::ZERO;
    options.stuck_after = Duration::from_secs(30);
    let second = broca_letta::LettaAgent::new(options).unwrap();
    assert_eq!(parts(second.recover(old, &Notes::default()).await), SAID);
    assert_eq!(rig.server.turns().len(), 1);
}

#[tokio::test]
async fn an_old_turn_that_letta_never_got_is_said_again() {
    let rig = Rig::new().await;
    let mut old = open(rig.request("hello"), None, 0);
    old.age = Duration::from_secs(4 * 3600);
    old.sent_at = Timestamp(old.sent_at.micros() - 4 * 3_600_000_000);
    assert_eq!(parts(rig.agent.recover(old, &Notes::default()).await), SAID);
    assert_eq!(rig.server.turns().len(), 1);
}

#[tokio::test]
async fn a_finished_turn_is_read_after_the_server_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let script = journaled(folder.path());
    let rig = Rig::with(script.clone()).await;
    let request = rig.request("hello");
    rig.agent.run_turn(request.clone(), &Notes::default()).await;
    let rig = rig.restarted(script).await;
    assert_eq!(parts(rig.agent.recover(open(request.clone(), None, 0), &Notes::default()).await), SAID);
    let run = rig.server.turns()[0].run_id.clone();
    assert_eq!(parts(rig.agent.recover(open(request, Some(run), 2), &Notes::default()).await), SAID);
    assert_eq!(rig.texts(), ["hello"]);
}

#[tokio::test]
async fn a_successor_gives_up_a_run_that_died_with_its_server() {
    for knows_run in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let script = journaled(folder.path());
        let rig = Rig::with(script.clone()).await;
        rig.server.push(Behaviour::Takes(60_000));
        let request = rig.request("hello");
        let run = abandoned(&rig.agent, &request).await;
        let rig = rig.restarted(script).await;
        let open = open(request, knows_run.then_some(run), 1);
        let outcome = client(&rig.server.url()).recover(open, &Notes::default()).await;
        assert_eq!(summary(&outcome), "retry agent_error", "{outcome:?}");
        assert_eq!(summary(&rig.turn(Behaviour::Plain).await), "answered");
    }
}

#[tokio::test]
async fn a_run_that_letta_forgot_is_a_retry_under_a_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let script = LettaScript { forget_running: true, ..journaled(folder.path()) };
    let rig = Rig::with(script.clone()).await;
    rig.server.push(Behaviour::Takes(60_000));
    let request = rig.request("hello");
    let run = abandoned(&rig.agent, &request).await;
    let rig = rig.restarted(script).await;
    let outcome = rig.agent.recover(open(request, Some(run), 1), &Notes::default()).await;
    assert_eq!(summary(&outcome), "retry agent_error", "{outcome:?}");
    assert!(rig.server.turns().is_empty());
}

/// The server is away for a while in the middle of a turn that it finished before it went.
#[tokio::test]
async fn an_outage_in_the_middle_of_a_turn_is_waited_out() {
    let folder = tempfile::tempdir().unwrap();
    let script = journaled(folder.path());
    let rig = Rig::with(script.clone()).await;
    rig.server.push(Behaviour::SilentPings);
    let asked = rig.request("hello");
    let run = abandoned(&rig.agent, &asked).await;
    eventually(async || !rig.server.turns().is_empty()).await;
    let Rig { server, agent, .. } = rig;
    let address = server.address();
    server.kill().await;
    let notes = Notes::default();
    let (outcome, server) = tokio::join!(agent.recover(open(asked, Some(run), 1), &notes), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        broca_rehearsal::letta::ScriptedLetta::on(listener, script).unwrap()
    });
    assert_eq!(parts(outcome), SAID);
    assert_eq!(server.turns().len(), 1);
}
