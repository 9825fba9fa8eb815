//! What is done about a turn of which the agent does not say what became of it, or that it does not want yet.

use std::time::Duration;

use broca_core::{MessageState, Timestamp, TurnState};
use broca_rehearsal::letta::Behaviour;
use broca_store::{MessageRecord, Store};
use broca_tests::{Database, Rig, RigOptions, message_in};

/// The one conversation of the agent that exists, by its own listing.
async fn agents_conversation(rig: &Rig) -> String {
    let turns = rig.letta.turns();
    turns.last().expect("the agent had a turn").conversation.clone()
}

async fn answered(rig: &Rig, store: &Store, text: &str) -> MessageRecord {
    rig.platform.say("alice", text);
    message_in(store, "alice", text, MessageState::Completed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_the_agent_lost_is_begun_anew() {
    for database in [Database::Sqlite, Database::Postgres] {
        let rig = Rig::start(RigOptions::new(database)).await;
        let store = rig.store().await;
        let _processes = [rig.worker("worker"), rig.plugin("plugin")];
        answered(&rig, &store, "one").await;
        let old = agents_conversation(&rig).await;
        rig.letta.delete_conversation(&old);
        let message = answered(&rig, &store, "two").await;
        assert_eq!((message.attempts, message.turns.len()), (1, 1), "it is one attempt: {message:?}");
        let new = agents_conversation(&rig).await;
        assert_ne!(new, old);
        answered(&rig, &store, "three").await;
        assert_eq!(agents_conversation(&rig).await, new, "it is remembered");
        assert_eq!(rig.is_sound(), Ok(()));
    }
}

/// A worker dies with its turn recorded and the conversation goes while nobody looks: no evidence is left.
async fn nobody_can_tell(settings: &str) -> (Rig, Store) {
    let mut options = RigOptions::new(Database::Sqlite);
    options.letta.redis = false;
    options.settings = settings.to_owned();
    let rig = Rig::start(options).await;
    let store = rig.store().await;
    let _plugin = rig.plugin("plugin");
    let mut first = rig.worker("first");
    answered(&rig, &store, "one").await;
    assert!(first.stop(Duration::from_secs(20)).is_some_and(|status| status.success()));
    let mut second = rig.spawn("second", &["worker"], &[("BROCA_CRASH_AT", "turn-started")]);
    rig.platform.say("alice", "two");
    assert!(second.wait(Duration::from_secs(30)).is_some(), "it dies in the turn");
    rig.letta.delete_conversation(&agents_conversation(&rig).await);
    (rig, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_nobody_can_tell_about_waits_for_an_operator() {
    let (rig, store) = nobody_can_tell("").await;
    let _worker = rig.worker("third");
    let message = message_in(&store, "alice", "two", MessageState::Failed).await;
    assert_eq!(message.turns[0].state, TurnState::Unknown, "{message:?}");
    assert_eq!(rig.letta.turns().len(), 1, "the agent was not asked again");
    rig.succeeds(&["replay", &message.id.to_string()]);
    message_in(&store, "alice", "two", MessageState::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn or_is_said_again_where_its_route_says_so() {
    let again = "[[routes]]\nname = \"again\"\nplatform = \"demo\"\non_unknown = \"send_again\"\n";
    let (rig, store) = nobody_can_tell(again).await;
    let _worker = rig.worker("third");
    let message = message_in(&store, "alice", "two", MessageState::Completed).await;
    let turns: Vec<_> = message.turns.iter().map(|turn| turn.state).collect();
    assert_eq!(turns, [TurnState::Unknown, TurnState::Answered], "{message:?}");
    assert_eq!(message.attempts, 3, "the start, the question what became of it, and the second start");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_tried_again_before_the_servers_retry_after() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let store = rig.store().await;
    let _processes = [rig.worker("worker"), rig.plugin("plugin")];
    let texts = ["rate_limited=2", "rate_limited_until=2", "overloaded=2"];
    for (place, what) in texts.into_iter().enumerate() {
        rig.letta.push(what.parse::<Behaviour>().expect("the script knows it"));
        let message = answered(&rig, &store, &format!("number {place}")).await;
        let [failed, answered] = &message.turns[..] else { panic!("two turns: {message:?}") };
        // The route's own pause is a quarter of a second at most.
        let pause = answered.started_at.since(failed.finished_at.unwrap_or(Timestamp(i64::MAX)));
        assert!(pause >= Duration::from_secs(2), "{what}: after {pause:?}");
    }
}
