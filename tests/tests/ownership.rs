//! Two workers never have one conversation in a turn at once, also when one of them is stopped for longer than its
//! lease and then goes on: what it writes late changes nothing.

use std::time::Duration;

use broca_store::{AuditLimits, Irregularity};
use broca_tests::{Crew, Database, Rig, RigOptions, Verdict, eventually, overlapping_turns};
use nix::sys::signal::Signal;

async fn a_stopped_worker_comes_back_late(database: Database) {
    let mut options = RigOptions::new(database);
    options.letta.min_ms = 300;
    options.letta.max_ms = 400;
    let rig = Rig::start(options).await;
    let mut plugin = Crew::plugin(&rig, &[]);
    let mut first = rig.worker("first");
    let said = rig.say(4, 3);

    // Stopped in the middle of its turns.
    eventually("the agent works for the first worker", Duration::from_secs(60), || {
        let running = rig.letta.arrived();
        async move { running >= 4 }
    })
    .await;
    rig.freeze(&first).await;
    let mut second = rig.worker("second");

    // The second worker takes over once the leases have run out, and finds the first one's turns at the agent.
    eventually("the second worker answers everything", Duration::from_secs(60), || {
        plugin.tend(&rig);
        let answered = rig.platform.log().len();
        async move { answered >= 12 }
    })
    .await;
    first.signal(Signal::SIGCONT);
    // It wakes up with answers in its hands, and must find out that they are not its own any more.
    eventually("the first worker notices", Duration::from_secs(60), || {
        let output = first.output();
        async move { output.contains("lease lost to another worker") }
    })
    .await;

    let verdict = Verdict::of(&rig, &said);
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(overlapping_turns(&rig), Vec::<String>::new());
    assert!(first.stop(Duration::from_secs(60)).is_some_and(|s| s.success()), "the first worker drains and ends well");
    assert!(second.stop(Duration::from_secs(60)).is_some_and(|s| s.success()));
    let again = Verdict::of(&rig, &said);
    assert_eq!(again, verdict, "nothing came of the late writes");
    assert_eq!(rig.is_sound(), Ok(()));
}

/// The answer is on its way to the platform, which will deny having it until it is there.
async fn a_stopped_plugin_comes_back_late(database: Database) {
    let mut options = RigOptions::new(database);
    options.platform.delay_ms = 8_000;
    let rig = Rig::start(options).await;
    let _worker = Crew::workers(&rig, 1, &[]);
    let mut plugin = Crew::plugin(&rig, &[]);
    let said = rig.say(3, 1);
    let store = rig.store().await;
    let delivering = async || store.counts().await.expect("the store answers").responses.get("delivering") == Some(&3);
    eventually("the answers are on their way", Duration::from_secs(60), delivering).await;
    plugin.member(0).signal(Signal::SIGSTOP);
    let lapsed = async || {
        let limits = AuditLimits { overdue: Duration::ZERO, max_age: None };
        let found = store.audit(&limits).await.expect("the store answers");
        found.iter().any(|found| found.kind == Irregularity::Undelivered && found.count == 3)
    };
    eventually("the leases have run out", Duration::from_secs(60), lapsed).await;
    plugin.member(0).signal(Signal::SIGCONT);
    rig.platform.wait_for_sends(3, Duration::from_secs(60)).await;
    assert!(plugin.member(0).stop(Duration::from_secs(60)).is_some_and(|s| s.success()), "the plugin drains");
    let verdict = Verdict::of(&rig, &said);
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(rig.is_sound(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_on_sqlite() {
    a_stopped_worker_comes_back_late(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_on_sqlite() {
    a_stopped_plugin_comes_back_late(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_on_postgres() {
    a_stopped_worker_comes_back_late(Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_on_postgres() {
    a_stopped_plugin_comes_back_late(Database::Postgres).await;
}
