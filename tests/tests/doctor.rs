//! `broca doctor`: a sound deployment, and one thing after another that is wrong with it.

use broca_rehearsal::letta::LettaScript;
use broca_tests::{Database, Rig, RigOptions};
use serde_json::Value;

/// What it says of a subject: the verdict and the whole finding.
struct Said {
    code: Option<i32>,
    report: Value,
}

impl Said {
    fn verdict(&self, subject: &str) -> &str {
        let found = self.report["findings"].as_array().expect("findings").iter().find(|f| f["subject"] == subject);
        found.and_then(|finding| finding["verdict"].as_str()).unwrap_or("nothing")
    }
}

fn doctor(rig: &Rig, args: &[&str]) -> Said {
    let output = rig.run(&[&["doctor", "--json"], args].concat());
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    Said { code: output.status.code(), report }
}

async fn finds_what_is_wrong(database: Database) {
    let letta = LettaScript { redis: false, ..LettaScript::default() };
    let mut rig = Rig::start(RigOptions { letta, ..RigOptions::new(database) }).await;
    let sound = doctor(&rig, &[]);
    assert_eq!(sound.code, Some(0), "{}", sound.report);
    for subject in ["disk", "database", "schema", "clock", "workers", "messages", "broker", "streams", "plugin demo"] {
        assert_eq!(sound.verdict(subject), "ok", "{subject}: {}", sound.report);
    }
    // A Letta without Redis works, and deserves a look.
    assert_eq!(sound.verdict("agent default"), "warning");
    assert_eq!(doctor(&rig, &["--strict"]).code, Some(1));

    // Drift is found, and mended when that is asked for.
    let folder = rig.folder().join("other/streams");
    std::fs::create_dir_all(&folder).expect("a folder is made");
    let stream = include_str!("../../nats/streams/BROCA_DLQ.json").replace("1073741824", "536870912");
    std::fs::write(folder.join("BROCA_DLQ.json"), stream).expect("a file is written");
    rig.succeeds(&["nats", "apply", "--files", "other"]);
    let drifted = doctor(&rig, &[]);
    assert_eq!((drifted.code, drifted.verdict("stream BROCA_DLQ")), (Some(1), "failed"), "{}", drifted.report);
    let mended = doctor(&rig, &["--fix"]);
    assert_eq!((mended.code, mended.verdict("streams")), (Some(0), "ok"), "{}", mended.report);
    assert!(mended.report["fixed"].to_string().contains("BROCA_DLQ"), "{}", mended.report);

    // A server that is away does not keep it from looking at the others.
    rig.letta.die().await;
    rig.nats.node_mut(0).stop();
    let away = doctor(&rig, &[]);
    assert_eq!(away.code, Some(1));
    assert_eq!(
        [away.verdict("broker"), away.verdict("agent default"), away.verdict("schema")],
        ["failed", "failed", "ok"]
    );
    let text = String::from_utf8(rig.run(&["doctor"]).stdout).expect("text");
    assert!(text.lines().any(|line| line.starts_with("FAILED") && line.contains("help: ")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    finds_what_is_wrong(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    finds_what_is_wrong(Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_lags_behind_is_found_and_mended() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let url = format!("sqlite:{}", rig.folder().join("fresh.db").display());
    let at = ["--database-url", url.as_str()];
    let lacking = doctor(&rig, &at);
    assert_eq!((lacking.code, lacking.verdict("schema")), (Some(1), "failed"), "{}", lacking.report);
    let mended = doctor(&rig, &[&at[..], &["--fix"]].concat());
    assert_eq!((mended.code, mended.verdict("schema")), (Some(0), "ok"), "{}", mended.report);
    assert_eq!(doctor(&rig, &at).report["fixed"], serde_json::json!([]));
}
