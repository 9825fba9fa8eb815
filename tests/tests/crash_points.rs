//! The process is stopped at every place between two durable points, by name: nothing accepted is lost, one
//! answer is recorded and delivered, order is kept, and every message ends in one terminal state.

use std::time::Duration;

use broca_core::{MessageState, ResponseState};
use broca_pipeline::crash::CrashPoint;
use broca_tests::{Crew, Database, Rig, RigOptions, Verdict, all_over, eventually};

const PEOPLE: usize = 5;
const EACH: usize = 4;

async fn every_crash_point(database: Database) {
    // `holds.rs` stops a process where only a hold leads to, `bursts.rs` where only a stop does, `files.rs` where only a
    // picture does, `user_memory.rs` where only people's blocks do, `chat_commands.rs` where only a command does.
    let elsewhere = [
        CrashPoint::FileKept,
        CrashPoint::BlockAttached,
        CrashPoint::CommandStored,
        CrashPoint::HoldStep,
        CrashPoint::StopAsked,
        CrashPoint::Stopped,
    ];
    for point in CrashPoint::ALL.iter().filter(|point| !elsewhere.contains(point)) {
        let mut options = RigOptions::new(database);
        options.letta.min_ms = 20;
        options.letta.max_ms = 60;
        // Where parts are recorded, answers are long.
        options.max_text_chars = (*point == CrashPoint::PartRecorded).then_some(20);
        crash_at(Rig::start(options).await, *point).await;
    }
}

async fn crash_at(rig: Rig, point: CrashPoint) {
    let marker = rig.folder().join("crashed");
    let env = [("BROCA_CRASH_AT", point.name()), ("BROCA_CRASH_ONCE", marker.to_str().expect("a plain path"))];
    let mut workers = Crew::workers(&rig, 2, &env);
    let mut plugin = Crew::plugin(&rig, &env);
    let said = rig.say(PEOPLE, EACH);

    eventually(&format!("everything is answered after a crash at {}", point.name()), Duration::from_secs(60), || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let answers = rig.platform.log().into_iter().filter(|sent| sent.last).count();
        async move { answers >= PEOPLE * EACH }
    })
    .await;
    let store = rig.store().await;
    eventually("every message and every answer is over", Duration::from_secs(60), || {
        workers.tend(&rig);
        plugin.tend(&rig);
        let store = store.clone();
        async move { all_over(&store).await }
    })
    .await;

    assert!(marker.exists(), "nothing ever came to {}: the point is not on the way", point.name());
    assert_eq!(workers.replaced + plugin.replaced, 1, "one process died at {}", point.name());
    let verdict = Verdict::of(&rig, &said);
    assert!(verdict.is_clean(), "after a crash at {}: {verdict:#?}", point.name());
    assert_eq!(rig.is_sound(), Ok(()), "after a crash at {}", point.name());

    let counts = store.counts().await.expect("the store answers");
    let all = i64::try_from(PEOPLE * EACH).expect("a small number");
    let completed = counts.messages.get(MessageState::Completed.as_str());
    assert_eq!(completed, Some(&all), "{}: {counts:?}", point.name());
    let delivered = counts.responses.get(ResponseState::Delivered.as_str());
    assert_eq!(delivered, Some(&all), "{}: {counts:?}", point.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    every_crash_point(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    every_crash_point(Database::Postgres).await;
}
