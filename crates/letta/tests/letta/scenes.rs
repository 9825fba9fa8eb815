//! What happens to a server or to a worker in the middle of a turn, by the names that the table has for it.

use std::time::Duration;

use broca_core::{ConversationId, TurnOutcome};
use broca_letta::Agent;
use broca_rehearsal::letta::{Behaviour, LettaScript};

use crate::rig::{Notes, Rig, abandoned, client, cut_off, eventually, journaled, open, request};

pub(crate) const NAMES: [&str; 11] = [
    "unknown agent",
    "open approval",
    "cancelled in letta",
    "cancelled by predecessor",
    "cancelled by predecessor late",
    "nobody home",
    "killed and back",
    "killed after a step",
    "gone for good",
    "gone for good unseen",
    "deleted in mid turn",
];

/// What the turn came to, and how many turns the server really had.
pub(crate) struct Played {
    pub(crate) outcome: TurnOutcome,
    pub(crate) ran: usize,
}

pub(crate) async fn play(scene: &str, redis: bool) -> Played {
    match scene {
        "unknown agent" => unknown_agent().await,
        "open approval" => open_approval().await,
        "cancelled in letta" => cancelled_in_letta().await,
        "cancelled by predecessor" => cancelled_by_predecessor(Duration::from_secs(1)).await,
        "cancelled by predecessor late" => cancelled_by_predecessor(Duration::from_secs(30)).await,
        "nobody home" => nobody_home().await,
        "killed and back" if redis => killed_and_back().await,
        "killed and back" => killed_and_back_without_redis().await,
        "killed after a step" => killed_after_a_step().await,
        "gone for good" => gone_for_good(true).await,
        "gone for good unseen" => gone_for_good(false).await,
        "deleted in mid turn" => deleted_in_mid_turn().await,
        _ => panic!("the table names the scene '{scene}', and there is no such scene"),
    }
}

impl Rig {
    fn played(&self, outcome: TurnOutcome) -> Played {
        Played { outcome, ran: self.server.turns().len() }
    }
}

/// The conversation is gone, and so is the agent that a new one would be for.
async fn unknown_agent() -> Played {
    let rig = Rig::new().await;
    rig.server.script(|script| script.agent_id = Some("agent-other".to_owned()));
    let refused = rig.agent.create_conversation(ConversationId::of("default", "x"), "x").await.unwrap_err();
    rig.played(refused)
}

async fn open_approval() -> Played {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::Approval);
    abandoned(&rig.agent, &rig.request("somebody's")).await;
    eventually(async || !rig.server.turns().is_empty()).await;
    let outcome = rig.turn(Behaviour::Plain).await;
    rig.played(outcome)
}

async fn cancelled_in_letta() -> Played {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::Stuck);
    let (request, notes) = (rig.request("hello"), Notes::default());
    let (outcome, ()) = tokio::join!(rig.agent.run_turn(request, &notes), async {
        notes.run().await;
        rig.agent.cancel(&rig.conversation).await.unwrap();
    });
    rig.played(outcome)
}

/// The worker that found the run dead and cancelled it was cut off itself, before it could say so.
async fn cancelled_by_predecessor(age: Duration) -> Played {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::Takes(60_000));
    let request = rig.request("hello");
    let run = abandoned(&rig.agent, &request).await;
    rig.agent.cancel(&rig.conversation).await.unwrap();
    let mut open = open(request, Some(run), 1);
    open.age = age;
    let outcome = client(&rig.server.url()).recover(open, &Notes::default()).await;
    rig.played(outcome)
}

async fn nobody_home() -> Played {
    let Rig { mut server, agent, conversation } = Rig::new().await;
    server.die().await;
    let outcome = agent.run_turn(request(&conversation, "hello"), &Notes::default()).await;
    Played { outcome, ran: server.turns().len() }
}

/// The run stays `running` for ever, its stream pings for ever, its key hangs: only silence tells.
async fn killed_and_back() -> Played {
    let folder = tempfile::tempdir().unwrap();
    let script = journaled(folder.path());
    let rig = Rig::with(script.clone()).await;
    rig.server.push(Behaviour::Takes(60_000));
    let Rig { server, agent, conversation } = rig;
    let (asked, notes) = (request(&conversation, "hello"), Notes::default());
    let (outcome, server) = tokio::join!(agent.run_turn(asked.clone(), &notes), async {
        notes.run().await;
        crate::rig::restarted(server, script).await
    });
    let rig = Rig { server, agent, conversation };
    let played = rig.played(outcome);
    assert!(matches!(rig.turn(Behaviour::Plain).await, TurnOutcome::Answered(_)), "the conversation is free again");
    played
}

async fn killed_and_back_without_redis() -> Played {
    let folder = tempfile::tempdir().unwrap();
    let script = LettaScript { redis: false, ..journaled(folder.path()) };
    let rig = Rig::with(script.clone()).await;
    rig.server.push(Behaviour::Takes(60_000));
    rig.agent.probe().await.unwrap();
    let request = rig.request("hello");
    cut_off(&rig, &request).await;
    let rig = rig.restarted(script).await;
    let outcome = rig.agent.recover(open(request, None, 0), &Notes::default()).await;
    rig.played(outcome)
}

/// A step was stored before the server died: saying it again would double it.
async fn killed_after_a_step() -> Played {
    let folder = tempfile::tempdir().unwrap();
    let script = LettaScript { min_ms: 1000, max_ms: 1000, ..journaled(folder.path()) };
    let rig = Rig::with(script.clone()).await;
    rig.server.push(Behaviour::Several);
    let request = rig.request("hello");
    let notes = Notes::default();
    tokio::select! {
        outcome = rig.agent.run_turn(request.clone(), &notes) => panic!("ended: {outcome:?}"),
        () = async {
            let run = notes.run().await;
            let url = format!("{}/v1/runs/{run}/messages", rig.server.url());
            eventually(async || reqwest::get(&url).await.unwrap().text().await.unwrap().len() > 10).await;
        } => {}
    }
    let run = notes.run().await;
    let rig = rig.restarted(script).await;
    let outcome = rig.agent.recover(open(request, Some(run), 1), &Notes::default()).await;
    rig.played(outcome)
}

/// Nobody can be asked any more: the turn may have happened.
async fn gone_for_good(run_known: bool) -> Played {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::Takes(60_000));
    let mut asked = rig.request("hello");
    asked.deadline = Duration::from_millis(500);
    let run = abandoned(&rig.agent, &asked).await;
    let Rig { mut server, agent, .. } = rig;
    server.die().await;
    let outcome = agent.recover(open(asked, run_known.then_some(run), 1), &Notes::default()).await;
    Played { outcome, ran: server.turns().len() }
}

/// The key has run out, and the listing that would tell is gone with the conversation.
async fn deleted_in_mid_turn() -> Played {
    let rig = Rig::new().await;
    rig.server.push(Behaviour::Takes(60_000));
    let request = rig.request("hello");
    abandoned(&rig.agent, &request).await;
    rig.server.delete_conversation(&rig.conversation);
    let mut old = open(request, None, 0);
    old.age = Duration::from_secs(4 * 3600);
    let outcome = client(&rig.server.url()).recover(old, &Notes::default()).await;
    rig.played(outcome)
}
