//! `broca doctor`: a sound deployment, and one thing after another that is wrong with it.

use std::{path::Path, time::Duration};

use broca_bus::{Auth, Bus, BusOptions, Outgoing};
use broca_rehearsal::{
    letta::LettaScript,
    telegram::{BOT_NAME, ScriptedTelegram, TOKEN, TelegramScript},
};
use broca_servers::NatsServer;
use broca_tests::{Database, Home, Rig, RigOptions, eventually};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;

const PATIENCE: Duration = Duration::from_secs(30);

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

    fn detail(&self, subject: &str) -> &str {
        let found = self.report["findings"].as_array().expect("findings").iter().find(|f| f["subject"] == subject);
        found.and_then(|finding| finding["detail"].as_str()).unwrap_or_default()
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

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_asked_whether_it_takes_the_credentials() {
    for (revoked, verdict, said) in [(false, "ok", BOT_NAME), (true, "failed", "@BotFather")] {
        let script = TelegramScript { revoked, ..TelegramScript::default() };
        let telegram = ScriptedTelegram::start(script).await.expect("a free port");
        let mut options = RigOptions::new(Database::Sqlite);
        options.settings = format!(
            "[plugins.telegram.settings]\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\nrequire_owner = false\n",
            telegram.url()
        );
        let rig = Rig::start(options).await;
        let told = doctor(&rig, &[]);
        assert_eq!(told.verdict("plugin telegram"), verdict, "{}", told.report);
        assert!(told.detail("plugin telegram").contains(said), "{}", told.report);
        assert!(!told.report.to_string().contains(TOKEN));
    }
}

/// Writes `ca.pem`, `cert.pem` and `key.pem` for 127.0.0.1; the server's is good for so many days more.
fn certificates(folder: &Path, days: i64) {
    let mut ca = CertificateParams::new(Vec::new()).expect("names");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).expect("signed").pem()).expect("written");
    let key = KeyPair::generate().expect("a key");
    let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
    server.not_after = OffsetDateTime::now_utc() + time::Duration::days(days);
    let signed = server.signed_by(&key, &Issuer::new(ca, ca_key)).expect("signed");
    std::fs::write(folder.join("cert.pem"), signed.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_told_of_before_they_end() {
    // Beyond the warning by more than a day, so that no clock's second matters.
    for (days, verdict) in [(60, "ok"), (20, "warning"), (-1, "failed")] {
        let home = Home::new("");
        certificates(home.path(), days);
        let file = |name: &str| home.path().join(name).display().to_string();
        let server = NatsServer::start_with(&format!(
            "tls {{ cert_file: {:?}, key_file: {:?} }}",
            file("cert.pem"),
            file("key.pem")
        ));
        home.settings(&format!(
            "[nats]\nurl = {:?}\ntls_ca = {:?}\nrequire_tls = true\n",
            server.url().replace("nats://", "tls://"),
            file("ca.pem")
        ));
        let told = home.run(&["doctor", "--json"]);
        let told = Said { code: Some(told.code), report: told.json() };
        assert_eq!(told.verdict("certificate of 127.0.0.1"), verdict, "{}", told.report);
        assert_eq!(told.verdict("certificates"), "ok", "the authority's own: {}", told.report);
        let reached = if days > 0 { "ok" } else { "failed" };
        assert_eq!(told.verdict("broker"), reached, "whoever connects is refused: {}", told.report);
    }
}

/// A broker with a user for each role, and its streams.
fn with_roles() -> (NatsServer, Home) {
    let conf = include_str!("../../nats/nats-server.conf")
        .replace("nkey: $ADMIN_NKEY", "user: admin, password: $ADMIN_PASSWORD");
    let roles = ["ADMIN", "SYS", "WORKER", "TELEGRAM", "CLI"];
    let env: Vec<(String, String)> =
        roles.iter().map(|role| (format!("{role}_PASSWORD"), format!("{}-pass", role.to_lowercase()))).collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let server = NatsServer::start_with_env(&conf, &env);
    let home = Home::new("");
    home.settings(&format!(
        "[nats]\nurl = {:?}\n[plugins.telegram]\nenabled = true\n[plugins.telegram.settings]\ntoken = '1:x'\n",
        server.url()
    ));
    (server, home)
}

fn as_user(home: &Home, user: &str, args: &[&str]) -> Value {
    let mut command = home.command(&[args, &["--json"]].concat());
    command.env("BROCA_NATS__USER", user).env("BROCA_NATS__PASSWORD", format!("{user}-pass"));
    if user != "admin" {
        command.env("BROCA_NATS__INBOX_PREFIX", format!("_INBOX_{user}"));
    }
    let output = command.output().expect("the binary runs");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// What the streams have for whom, and what somebody has in hand.
async fn waiting(admin: &Bus) -> Vec<(u64, u64)> {
    let mut waiting = Vec::new();
    for (stream, consumer) in [("BROCA_IN", "workers"), ("BROCA_OUT", "out-cli"), ("BROCA_OUT", "out-telegram")] {
        let backlog = admin.backlog(stream, consumer).await.expect("the consumer is there");
        waiting.push((backlog.pending, backlog.ack_pending));
    }
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_may_and_may_not_is_tried_and_changes_nothing() {
    let (server, home) = with_roles();
    as_user(&home, "admin", &["nats", "apply"]);
    let options = BusOptions {
        url: server.url(),
        auth: Auth::UserPassword { user: "admin".into(), password: "admin-pass".into() },
        ..BusOptions::default()
    };
    let admin = Bus::connect(options).await.expect("the broker is there");
    let wake = Outgoing { subject: "broca.in.cli".into(), msg_id: "one".into(), trace: None, payload: b"{}".to_vec() };
    admin.publish(wake).await.expect("it is stored");
    let before = vec![(1, 0), (0, 0), (0, 0)];
    eventually("the consumer knows of it", PATIENCE, || async { waiting(&admin).await == before }).await;

    for role in ["worker", "telegram", "cli"] {
        let told = as_user(&home, role, &["doctor", "--role", role]);
        assert_eq!(
            (&told["verdict"], &told["findings"][0]["subject"]),
            (&json!("ok"), &json!(format!("rights of {role}"))),
            "{told}"
        );
    }
    let lacks = as_user(&home, "telegram", &["doctor", "--role", "cli"]);
    let detail = lacks["findings"][0]["detail"].as_str().expect("a sentence");
    assert!(lacks["verdict"] == "failed" && detail.contains("it may not") && detail.contains("out-cli"), "{lacks}");
    for role in ["worker", "telegram"] {
        let exceeds = as_user(&home, "admin", &["doctor", "--role", role]);
        let detail = exceeds["findings"][0]["detail"].as_str().expect("a sentence");
        assert!(exceeds["verdict"] == "failed" && detail.contains("STREAM.PURGE.BROCA_IN"), "{exceeds}");
    }
    assert_eq!(waiting(&admin).await, before, "nothing was stored, taken or removed");
    let unchanged = as_user(&home, "admin", &["nats", "apply", "--check"]);
    assert!(unchanged.get("error").is_none(), "{unchanged}");
}
