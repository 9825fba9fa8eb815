//! Settings and modes that are changed while everything runs: in force within a second on all processes, checked before
//! they are written, kept as they were where they do not do.

use std::{
    process::Output,
    time::{Duration, Instant},
};

use broca_core::{ChangeId, EventKind, MessageState, ResponseState, Timestamp, live::Written};
use broca_rehearsal::telegram::{ScriptedTelegram, TOKEN, TelegramScript, in_private};
use broca_store::{Applied, Store};
use broca_tests::{Database, Process, Rig, RigOptions, all_over, answer_in, eventually, message_in, message_of};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// Promised is a second; a busy machine takes longer, and less than whoever only looks from time to time (30 s).
const SOON: Duration = Duration::from_secs(10);
const KEY: &str = "a-key-of-the-front-desk";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A command that is refused with this exit code; all that it said.
fn refused(rig: &Rig, code: i32, args: &[&str]) -> String {
    let output = rig.run(args);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

fn json_of(rig: &Rig, args: &[&str]) -> Value {
    serde_json::from_str(&rig.succeeds(args)).expect("it is JSON")
}

/// Waits until `count` processes stand as `fits` says.
async fn stand(store: &Store, key: &str, count: usize, fits: impl Fn(&Applied) -> bool) -> Vec<Applied> {
    let all = async || store.live_in_force(key).await.expect("the store answers");
    eventually(&format!("{count} processes of {key}"), PATIENCE, || async {
        let all = all().await;
        all.len() == count && all.iter().all(&fits)
    })
    .await;
    all().await
}

/// Two processes of one account, which its plugin allows.
fn webhooks(rig: &Rig) -> [Process; 2] {
    let env = [("BROCA_PLUGINS__WEBHOOK__SETTINGS__LISTEN", "127.0.0.1:0")];
    ["webhook-1", "webhook-2"].map(|name| rig.spawn(name, &["plugin", "run", "webhook"], &env))
}

async fn settings_change_on_all_processes(database: Database) {
    let settings = format!(
        "[plugins.webhook.settings]\nlisten = \"127.0.0.1:1\"\nchat = {{ keys = {{ desk = {{ key = \"{KEY}\" }} }} }}\n"
    );
    let rig = Rig::start(RigOptions { settings, ..RigOptions::new(database) }).await;
    let store = rig.store().await;
    let key = "plugin.webhook";
    let mut processes = webhooks(&rig);
    stand(&store, key, 2, |process| process.revision == 0 && process.problem.is_none()).await;

    let said = rig.succeeds(&["plugins", "set", "webhook", "max_requests=7"]);
    assert!(said.contains("in force in 2 of 2 processes"), "{said}");
    let changed = store.live_changes(key, 10).await.expect("the store answers").remove(0);
    let revision = changed.revision.expect("it was written");
    for process in stand(&store, key, 2, |process| process.revision == revision).await {
        assert!(process.seen_at.since(changed.at) < SOON, "{process:?} after {changed:?}");
    }

    nothing_unfit_is_written(&rig);
    assert_eq!(store.live_changes(key, 10).await.expect("the store answers").len(), 1);
    let shown = json_of(&rig, &["plugins", "show", "webhook", "--json"]);
    let row = |name: &str| shown["items"].as_array().unwrap().iter().find(|row| row["key"] == name).unwrap().clone();
    assert_eq!(
        (row("max_requests")["value"].clone(), row("max_requests")["source"].clone()),
        (json!(7), json!("run time"))
    );
    assert!(row("max_requests")["description"].as_str().unwrap().contains("worked on at a time"));
    assert!(row("listen")["source"].as_str().unwrap().ends_with("broca.toml"), "{shown}");
    assert!(!shown.to_string().contains(KEY), "a secret is shown");
    let history = json_of(&rig, &["plugins", "history", "webhook", "--json"]);
    let [change] = &history["items"].as_array().unwrap()[..] else { panic!("{history}") };
    assert_eq!(change["changes"], json!([{"key": "max_requests", "old": null, "new": 7}]));
    assert!(!change["actor"].as_str().unwrap().is_empty());

    what_does_not_do_is_not_gone_by(&rig, &store, revision).await;
    // A process that begins now goes by the last that worked as well.
    processes[0].kill9();
    let [first, _] = &mut processes;
    *first = rig.spawn(
        "webhook-3",
        &["plugin", "run", "webhook"],
        &[("BROCA_PLUGINS__WEBHOOK__SETTINGS__LISTEN", "127.0.0.1:0")],
    );
    eventually("the new process says so", PATIENCE, || async {
        let all = store.live_in_force(key).await.expect("the store answers");
        all.iter().filter(|process| process.revision == revision && process.problem.is_some()).count() == 3
    })
    .await;
    let said = rig.run(&["plugins", "unset", "webhook", "max_requests"]);
    assert!(text(&said).contains("in force in 2 of 3"), "the killed one has not said that it is gone: {}", text(&said));
    let show = rig.succeeds(&["plugins", "show", "webhook"]);
    assert_eq!(show.matches(", the newest\n").count(), 2, "{show}");
    for process in &mut processes {
        assert!(process.stop(PATIENCE).is_some_and(|status| status.success()), "{}", process.output());
    }
}

/// What the schema or the plugin refuses is refused before anything is written.
fn nothing_unfit_is_written(rig: &Rig) {
    let said = refused(rig, 2, &["plugins", "set", "webhook", "max_requests=0"]);
    assert!(said.contains("max_requests: value is less than the minimum of 1"), "{said}");
    let said = refused(rig, 2, &["plugins", "set", "webhook", "max_request=9", "max_body_bytes=many"]);
    assert!(said.contains("there is no such key; there are") && said.contains("max_body_bytes"), "{said}");
    let said = refused(rig, 2, &["plugins", "set", "webhook", "chat.keys.desk.key=hunter2hunter2hunter2"]);
    assert!(said.contains("chat.keys.desk.key: is a secret") && !said.contains("hunter2"), "{said}");
    assert!(rig.succeeds(&["plugins", "unset", "webhook", "listen"]).contains("nothing to change"));
    refused(rig, 3, &["plugins", "set", "webhok", "max_requests=9"]);
}

/// Somebody wrote into the bucket by other means.
async fn what_does_not_do_is_not_gone_by(rig: &Rig, store: &Store, revision: u64) {
    let bus = rig.bus().await;
    let value = json!({"max_requests": 0});
    let written = Written { version: 1, change: ChangeId::new(), by: "somebody".into(), at: Timestamp(1), value };
    let unfit = bus.put_setting("plugin.webhook", written.encode(), revision).await.expect("the bucket takes it");
    let stand = stand(store, "plugin.webhook", 2, |process| process.problem.is_some()).await;
    for process in &stand {
        let problem = process.problem.as_deref().unwrap();
        assert_eq!(process.revision, revision);
        assert!(problem.contains(&format!("revision {unfit} cannot be applied (max_requests")), "{problem}");
    }
    let show = rig.succeeds(&["plugins", "show", "webhook"]);
    assert!(show.contains(&format!("goes by revision {revision}: live settings of revision {unfit}")), "{show}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_on_all_processes_on_sqlite() {
    settings_change_on_all_processes(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_on_all_processes_on_postgres() {
    settings_change_on_all_processes(Database::Postgres).await;
}

/// A plugin that wants a new start for its settings gets it in the same process, and nobody's answer is lost or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_replaced_while_people_write() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let store = rig.store().await;
    let (_worker, mut plugin) = (rig.worker("worker"), rig.plugin("plugin"));
    stand(&store, "plugin.demo", 1, |_| true).await;
    rig.say(6, 5);
    let said = rig.succeeds(&["plugins", "set", "demo", "max_text_chars=4000"]);
    assert!(said.contains("in force in 1 of 1"), "{said}");
    rig.platform.say("late", "after it");
    rig.succeeds(&["plugins", "set", "demo", "max_text_chars=9"]);
    rig.platform.say("later", "in pieces");
    answer_in(&store, "later", "in pieces", ResponseState::Delivered).await;
    eventually("everything is over", PATIENCE, || all_over(&store)).await;
    let log = rig.platform.log();
    let of = |user: &str| log.iter().filter(|sent| sent.user == user).collect::<Vec<_>>();
    assert!(
        of("later").len() > 3 && of("later").iter().all(|sent| sent.text.chars().count() <= 9),
        "{:?}",
        of("later")
    );
    for number in 0..6 {
        let user = format!("u{number:02}");
        let said: Vec<String> = of(&user).iter().map(|sent| sent.text.clone()).collect();
        let whole = said.concat();
        for message in 0..5 {
            let text = format!("{user}-m{message:03}");
            assert_eq!(whole.matches(&text).count(), 1, "{said:?}");
        }
    }
    assert!(plugin.has_ended().is_none(), "it is the same process");
    assert!(plugin.stop(PATIENCE).is_some_and(|status| status.success()), "{}", plugin.output());
}

/// What a plugin can take as it runs it takes without a new start; what turns out not to run is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn settings_are_applied_live_and_taken_back_when_they_do_not_run() {
    let telegram = ScriptedTelegram::start(TelegramScript::default()).await.expect("a free port");
    let settings = format!(
        "[plugins.telegram.settings]\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\nrequire_owner = false\n",
        telegram.url()
    );
    let rig = Rig::start(RigOptions { settings, ..RigOptions::new(Database::Sqlite) }).await;
    let store = rig.store().await;
    let (_worker, mut plugin) = (rig.worker("worker"), rig.spawn("telegram", &["plugin", "run", "telegram"], &[]));
    telegram.say(in_private(7, "one"));
    telegram.wait_for_log(PATIENCE, |log| log.len() == 1).await;
    rig.succeeds(&["plugins", "set", "telegram", "reply=always", "link_previews=false"]);
    telegram.say(in_private(7, "two"));
    let log = telegram.wait_for_log(PATIENCE, |log| log.len() == 2).await;
    assert!(log[0].reply_to.is_none() && log[1].reply_to.is_some(), "{log:?}");
    assert_eq!(plugin.output().matches("connected to Telegram").count(), 1, "a new start was not needed");

    let token = rig.folder().join("token");
    std::fs::write(&token, "no token at all").expect("a file is written");
    let said = refused(&rig, 7, &["plugins", "set", "telegram", &format!("token=file:{}", token.display())]);
    assert!(said.contains("cannot be applied") && said.contains("token is not one"), "{said}");
    telegram.say(in_private(7, "three"));
    telegram.wait_for_log(PATIENCE, |log| log.len() == 3).await;
    let stand = stand(&store, "plugin.telegram", 1, |process| process.problem.is_some()).await;
    assert!(stand[0].revision > 0, "the last that worked holds: {stand:?}");
    rig.succeeds(&["plugins", "unset", "telegram", "token"]);
    assert!(plugin.has_ended().is_none(), "it is the same process");
    assert!(plugin.stop(PATIENCE).is_some_and(|status| status.success()), "{}", plugin.output());
}

/// A mode that is set while everything runs.
async fn modes_are_switched(database: Database) {
    let settings = "[[routes]]\nname = \"vip\"\nuser = \"vip\"\nmode = \"live\"\n".to_owned();
    let rig = Rig::start(RigOptions { settings, ..RigOptions::new(database) }).await;
    let store = rig.store().await;
    let _processes = [rig.worker("worker-1"), rig.worker("worker-2"), rig.plugin("plugin")];
    stand(&store, "mode", 2, |_| true).await;

    rig.platform.say("slow", "begun #letta(takes=8000)");
    message_in(&store, "slow", "begun #letta(takes=8000)", MessageState::Processing).await;
    let asked = Instant::now();
    let said = rig.succeeds(&["mode", "set", "listen"]);
    assert!(said.contains("in force in 2 of 2 processes"), "{said}");
    let set = store.live_changes("mode", 1).await.expect("the store answers").remove(0);
    for worker in store.live_in_force("mode").await.expect("the store answers") {
        assert!(worker.seen_at.since(set.at) < SOON, "{worker:?}, asked {:?} ago", asked.elapsed());
    }
    // Everything is everything, also a route that has a mode of its own.
    for user in ["ann", "vip"] {
        rig.platform.say(user, "hello");
        message_in(&store, user, "hello", MessageState::Stored).await;
    }
    rig.succeeds(&["mode", "set", "echo", "--plugin", "demo"]);
    rig.platform.say("ben", "hello");
    answer_in(&store, "ben", "hello", ResponseState::Delivered).await;
    rig.succeeds(&["mode", "set", "live", "--route", "vip"]);
    rig.platform.say("vip", "and now?");
    answer_in(&store, "vip", "and now?", ResponseState::Delivered).await;
    answer_in(&store, "slow", "begun #letta(takes=8000)", ResponseState::Delivered).await;
    let texts = |user: &str| {
        rig.platform.log().into_iter().filter(|sent| sent.user == user).map(|sent| sent.text).collect::<Vec<_>>()
    };
    assert!(texts("slow")[0].starts_with("You said: "), "what is begun goes on: {:?}", texts("slow"));
    assert!(texts("ben")[0].starts_with("[Username"), "{:?}", texts("ben"));
    assert!(texts("vip")[0].starts_with("You said: "), "{:?}", texts("vip"));

    it_is_told_everywhere(&rig, &store).await;
    rig.succeeds(&["mode", "clear", "--plugin", "demo"]);
    rig.succeeds(&["mode", "clear", "--route", "vip"]);
    rig.succeeds(&["mode", "set", "listen", "--for", "1s"]);
    eventually("the configured mode holds again", PATIENCE, || async {
        json_of(&rig, &["mode", "show", "--json"])["set"]["modes"] == json!([])
    })
    .await;
    rig.platform.say("cem", "hello");
    answer_in(&store, "cem", "hello", ResponseState::Delivered).await;
    assert!(texts("cem")[0].starts_with("You said: "), "{:?}", texts("cem"));
    let history = rig.succeeds(&["mode", "history"]);
    assert_eq!(history.lines().count(), 7, "{history}");
    refused(&rig, 3, &["mode", "set", "echo", "--plugin", "nobody"]);
    refused(&rig, 2, &["mode", "set", "loud"]);
}

async fn it_is_told_everywhere(rig: &Rig, store: &Store) {
    let id = message_of(store, "ben", "hello").await.expect("it is there").id;
    let journey = store.journey(id).await.expect("the store answers").expect("it is there");
    assert!(journey.events.iter().any(|event| event.kind == EventKind::ModeSet), "{journey:?}");
    let id = id.to_string();
    let told = "handled in mode echo, set for plugin demo at run time";
    assert!(rig.succeeds(&["message", "show", &id]).contains(told));
    assert!(rig.succeeds(&["explain", &id]).contains(told));
    let ordinary = message_of(store, "slow", "begun #letta(takes=8000)").await.expect("it is there").id.to_string();
    assert!(!rig.succeeds(&["message", "show", &ordinary]).contains("at run time"));
    for command in
        [["status", "--output", "table"], ["config", "show", "--output=table"], ["mode", "show", "--output=table"]]
    {
        let said = rig.succeeds(&command);
        for set in ["everything   listen", "plugin demo  echo", "route vip    live"] {
            assert!(said.contains(set), "{command:?}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_are_switched_on_sqlite() {
    modes_are_switched(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_are_switched_on_postgres() {
    modes_are_switched(Database::Postgres).await;
}
