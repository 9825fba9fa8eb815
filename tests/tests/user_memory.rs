//! Each person has a block in the agent's memory, and nobody's is ever in another's turn: with two workers, which are
//! killed where it would hurt.

use std::{collections::BTreeMap, time::Duration};

use broca_core::{MessageState, TurnId, UserId};
use broca_store::{AttachedBlock, TakeBlocks};
use broca_tests::{Crew, Database, Rig, RigOptions, Verdict, all_over, eventually, message_in};

const PATIENCE: Duration = Duration::from_secs(60);
const PEOPLE: usize = 3;
const EACH: usize = 4;
const AGENT: &str = "agent-rehearsal";
const ASKS: (&str, &str) = ("BROCA_AGENTS__DEFAULT__USER_MEMORY", "block");

/// As the rows name the agent.
fn agent(rig: &Rig) -> String {
    format!("{} {AGENT}", rig.letta_url())
}

/// Every turn that ran saw the block of whoever spoke in it, and no other.
fn nobody_saw_anothers(rig: &Rig, turns: usize) {
    let ran = rig.letta.turns();
    assert_eq!(ran.len(), turns, "{ran:#?}");
    for turn in ran {
        let speaker = turn.text.rsplit(' ').next().and_then(|said| said.split('-').next()).expect("a name");
        let [block] = turn.memory.as_slice() else { panic!("{turn:#?}") };
        let block: serde_json::Value = serde_json::from_str(block).expect("the original's JSON");
        assert_eq!((&block["type"], &block["data"]["name"]), (&"human_core".into(), &speaker.into()), "{turn:#?}");
    }
}

async fn nothing_is_attached(rig: &Rig) {
    eventually("nothing is attached any more", PATIENCE, || async { rig.letta.attached().is_empty() }).await;
}

/// `point` is where one process dies, of all of them.
async fn blocks_are_their_peoples_own(database: Database, point: &str, settings: &str) {
    let mut options = RigOptions::new(database);
    (options.letta.min_ms, options.letta.max_ms) = (20, 60);
    options.settings = settings.to_owned();
    let rig = Rig::start(options).await;
    let marker = rig.folder().join("crashed");
    let once = marker.to_str().expect("a plain path");
    let env = [ASKS, ("BROCA_CRASH_AT", point), ("BROCA_CRASH_ONCE", once)];
    let mut workers = Crew::workers(&rig, 2, &env);
    let mut plugin = Crew::plugin(&rig, &[]);
    let said = rig.say(PEOPLE, EACH);
    let store = rig.store().await;
    eventually(&format!("everything is answered after a crash at {point}"), PATIENCE, || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let answers = rig.platform.log().into_iter().filter(|sent| sent.last).count();
        let store = store.clone();
        async move { answers >= PEOPLE * EACH && all_over(&store).await }
    })
    .await;
    assert!(marker.exists(), "nothing ever came to {point}");
    let verdict = Verdict::of(&rig, &said);
    assert!(verdict.is_clean(), "after a crash at {point}: {verdict:#?}");
    nobody_saw_anothers(&rig, PEOPLE * EACH);
    nothing_is_attached(&rig).await;
    assert_eq!(rig.letta.blocks().len(), PEOPLE, "one for each");
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_their_peoples_own_on_sqlite() {
    for point in ["block-attached", "run-known"] {
        blocks_are_their_peoples_own(Database::Sqlite, point, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_their_peoples_own_on_postgres() {
    for point in ["block-attached", "agent-answered"] {
        blocks_are_their_peoples_own(Database::Postgres, point, "").await;
    }
}

/// The original's other half: who the person is, at Letta.
#[tokio::test(flavor = "multi_thread")]
async fn each_has_an_identity_while_they_are_known() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let identities = ("BROCA_AGENTS__DEFAULT__USER_IDENTITY", "true");
    let _crews = [Crew::workers(&rig, 2, &[ASKS, identities]), Crew::plugin(&rig, &[])];
    rig.say(PEOPLE, EACH);
    let store = rig.store().await;
    eventually("everything is answered", PATIENCE, || {
        let (ran, store) = (rig.letta.turns().len(), store.clone());
        async move { ran == PEOPLE * EACH && all_over(&store).await }
    })
    .await;
    let identities = rig.letta.identities();
    assert_eq!(identities.len(), PEOPLE, "{identities:?}");
    for block in rig.letta.blocks() {
        let key = format!("broca_user_{}", block.trim_start_matches("block-").replace('-', ""));
        assert!(identities.values().any(|found| *found == key), "{key} in {identities:?}");
    }
    let mut senders = BTreeMap::new();
    for turn in rig.letta.turns() {
        let sender = turn.sender.expect("every message names its sender");
        assert!(identities.contains_key(&sender), "{sender} of {identities:?}");
        let speaker = turn.text.rsplit(' ').next().and_then(|said| said.split('-').next()).expect("a name").to_owned();
        assert_eq!(*senders.entry(speaker).or_insert_with(|| sender.clone()), sender, "one person is one identity");
    }
    assert_eq!(senders.len(), PEOPLE);

    for person in senders.keys() {
        rig.succeeds(&["users", "forget", &format!("demo/{person}"), "--yes"]);
    }
    eventually("nothing is known of them", PATIENCE, || async {
        rig.letta.identities().is_empty() && rig.letta.blocks().is_empty()
    })
    .await;
}

/// Everybody speaks in one conversation at the agent, so its prompt has to change from turn to turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_timeline_shows_each_their_own() {
    let shared = "[[routes]]\nname = \"shared\"\nscope = \"agent\"\n";
    blocks_are_their_peoples_own(Database::Sqlite, "run-known", shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_attached_is_found() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let (store, agent) = (rig.store().await, agent(&rig));
    // One that a row knows of, of a turn that is over, and one that no row knows of any more.
    let left = rig.letta.attach(AGENT, "human", "left by a turn");
    store.keep_block(&agent, UserId::new(), &left).await.expect("it is kept");
    let holder = TurnId::new().0;
    let wish = TakeBlocks { agent: agent.clone(), holder, ttl: None };
    assert_eq!(store.take_blocks(wish).await.expect("the store answers"), Some(vec![]));
    let attached = vec![AttachedBlock { block: left, conversation: "conv-gone".into() }];
    assert!(store.note_blocks(&agent, holder, attached).await.expect("the store answers"));
    let unknown = rig.letta.attach(AGENT, "other", "left by a call that came late");
    store.keep_block(&agent, UserId::new(), &unknown).await.expect("it is kept");
    let own = rig.letta.attach(AGENT, "persona", "the agent's own");
    let _workers = Crew::workers(&rig, 1, &[ASKS]);
    eventually("the agent has its own alone", PATIENCE, || async {
        rig.letta.attached() == std::slice::from_ref(&own)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_block_stays_and_a_forgotten_persons_goes() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let _crews = [Crew::workers(&rig, 1, &[ASKS]), Crew::plugin(&rig, &[])];
    let store = rig.store().await;
    rig.platform.say("ann", "ann-1");
    message_in(&store, "ann", "ann-1", MessageState::Completed).await;
    nobody_saw_anothers(&rig, 1);
    nothing_is_attached(&rig).await;

    let own = rig.letta.attach(AGENT, "human", "of all people");
    rig.platform.say("ben", "ben-1");
    let failed = message_in(&store, "ben", "ben-1", MessageState::Failed).await;
    assert_eq!(failed.class.as_deref(), Some("misconfigured"));
    assert!(failed.reason.as_deref().unwrap_or_default().contains("'human' of its own"), "{:?}", failed.reason);
    assert_eq!(rig.letta.attached(), std::slice::from_ref(&own));
    nobody_saw_anothers(&rig, 1);

    eventually("all is over", PATIENCE, || all_over(&store)).await;
    assert_eq!(rig.letta.blocks().len(), 3);
    for person in ["demo/ann", "demo/ben"] {
        rig.succeeds(&["users", "forget", person, "--yes"]);
    }
    eventually("their blocks are deleted", PATIENCE, || async { rig.letta.blocks() == std::slice::from_ref(&own) })
        .await;
}
