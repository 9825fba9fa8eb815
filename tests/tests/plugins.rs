//! Whose a platform account is, and plugins that are found, started, stopped and crash, in the whole pipeline.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use broca_core::{MessageState, ResponseState};
use broca_rehearsal::platform::{PlatformScript, ScriptedPlatform};
use broca_tests::{Crew, Database, Home, Process, Rig, RigOptions, all_over, eventually};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(60);

async fn says(process: &Process, what: &str) {
    eventually(what, PATIENCE, || {
        let said = process.output().contains(what);
        async move { said }
    })
    .await;
}

/// Whether the platform was polled and what was said is in.
async fn taken(platform: &ScriptedPlatform) {
    assert!(platform.wait_for_confirmation(PATIENCE).await, "{:?}", platform.unconfirmed());
}

async fn a_second_process_stands_by(database: Database) {
    let rig = Rig::start(RigOptions::new(database)).await;
    let store = rig.store().await;
    // Long: whatever takes over at once does so for another reason.
    let long = [("BROCA_DELIVERY__LEASE_TTL_MS", "600000")];
    let run = ["plugin", "run", "demo"];
    let mut first = rig.spawn("first", &run, &long);
    rig.platform.say("alice", "one");
    taken(&rig.platform).await;
    let mut second = rig.spawn("second", &run, &long);
    says(&second, "WaitingForAccount").await;
    let owners = store.accounts().await.unwrap();
    assert_eq!((owners.len(), owners[0].instance.as_str(), &*owners[0].account), (1, "demo", &*rig.platform.url()));

    // A stop in good order: the second has it at once.
    assert!(first.stop(PATIENCE).is_some_and(|status| status.success()), "{}", first.output());
    rig.platform.say("alice", "two");
    taken(&rig.platform).await;
    assert!(second.output().contains("Connected"), "{}", second.output());

    // kill -9: on the same machine its death is seen.
    let third = rig.spawn("third", &run, &long);
    says(&third, "WaitingForAccount").await;
    second.kill9();
    rig.platform.say("alice", "three");
    taken(&rig.platform).await;
    says(&third, "was killed on this machine").await;
    let _worker = rig.worker("worker");
    eventually("all is answered", PATIENCE, || all_over(&store)).await;
    let counts = store.counts().await.unwrap();
    assert_eq!(counts.messages.get(MessageState::Completed.as_str()), Some(&3), "{counts:?}");
    assert_eq!(rig.platform.log().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_an_instance_stands_by_on_sqlite() {
    a_second_process_stands_by(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_an_instance_stands_by_on_postgres() {
    a_second_process_stands_by(Database::Postgres).await;
}

/// A process that was stopped for longer than its lease finds it lost, and stands by.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_the_talking() {
    let rig = Rig::start(RigOptions::new(Database::Sqlite)).await;
    let run = ["plugin", "run", "demo"];
    let first = rig.spawn("first", &run, &[]);
    rig.platform.say("alice", "one");
    taken(&rig.platform).await;
    let second = rig.spawn("second", &run, &[]);
    says(&second, "WaitingForAccount").await;
    rig.freeze(&first).await;
    rig.platform.say("alice", "two");
    taken(&rig.platform).await;
    assert!(second.output().contains("Connected"));
    first.signal(Signal::SIGCONT);
    says(&first, "another process has the account now").await;
    says(&first, "WaitingForAccount").await;
    let accepted = rig.store().await.counts().await.unwrap().messages.values().sum::<i64>();
    assert_eq!(accepted, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_of_one_account_are_refused_by_name() {
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    let mut options = RigOptions::new(Database::Sqlite);
    let of = |name: &str| {
        format!("[plugins.{name}]\nplugin = \"demo\"\n[plugins.{name}.settings]\nurl = \"{}\"\n", platform.url())
    };
    options.settings = of("a") + &of("b");
    let rig = Rig::start(options).await;
    let _first = rig.spawn("first", &["plugin", "run", "a"], &[]);
    platform.say("alice", "one");
    taken(&platform).await;
    let mut second = rig.spawn("second", &["plugin", "run", "b"], &[]);
    assert_eq!(second.wait(PATIENCE).and_then(|status| status.code()), Some(4), "{}", second.output());
    let said = second.output();
    assert!(said.contains("the instance 'a' talks to this demo account already"), "{said}");
    // Answers go out by every process of an instance; here by the one that there is.
    let mut workers = Crew::workers(&rig, 1, &[]);
    let store = rig.store().await;
    eventually("it is answered", PATIENCE, || {
        workers.tend(&rig);
        all_over(&store)
    })
    .await;
    let counts = store.counts().await.unwrap();
    assert_eq!(counts.responses.get(ResponseState::Delivered.as_str()), Some(&1), "{counts:?}");
}

/// A folder with a plugin in Python that reads its platform's address from its settings.
fn folder(at: &Path, name: &str) {
    fs::create_dir_all(at).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/exec/examples/python");
    for file in ["plugin.py", "plugin.toml", "settings.schema.json"] {
        let text =
            fs::read_to_string(example.join(file)).unwrap().replace("\"python-example\"", &format!("\"{name}\""));
        fs::write(at.join(file), text).unwrap();
    }
    fs::set_permissions(at.join("plugin.py"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Folders become plugins; broken and doubled ones are skipped with the reason, and harm nobody.
#[tokio::test(flavor = "multi_thread")]
async fn folders_are_found_and_broken_ones_skipped() {
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    let home = Home::new(&format!(
        "plugin_folders = [\"plugins\"]\n[plugins.room]\nplugin = \"line-chat\"\n[plugins.room.settings]\nurl = \"{}\"\n\
         [plugins.lost]\nplugin = \"broken\"\n",
        platform.url()
    ));
    for (at, name) in [("a", "line-chat"), ("b", "line-chat"), ("c", "telegram")] {
        folder(&home.path().join("plugins").join(at), name);
    }
    fs::create_dir_all(home.path().join("plugins/broken")).unwrap();
    fs::write(home.path().join("plugins/broken/plugin.toml"), "name = \"broken\"\n").unwrap();

    let list = home.run(&["plugin", "list", "--json"]).json();
    let skipped = list["skipped"].as_array().unwrap().iter().filter_map(|why| why.as_str()).collect::<Vec<_>>();
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    for part in ["plugin 'line-chat' already", "plugin 'telegram' already (compiled in)", "missing field `version`"] {
        assert!(skipped.iter().any(|why| why.contains(part)), "{part}: {skipped:?}");
    }
    let kinds = list["plugins"].as_array().unwrap();
    let found = kinds.iter().find(|kind| kind["plugin"] == "line-chat").unwrap();
    assert!(found["source"].as_str().unwrap().ends_with("plugins/a"), "{found}");

    let up = home.up(&["--workers", "1"]).await;
    platform.say("alice", "hello");
    let deadline = Instant::now() + PATIENCE;
    while platform.log().is_empty() {
        assert!(Instant::now() < deadline, "{}", up.output());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(up.output().contains("there is no such plugin"), "{}", up.output());
}

/// How an instance stands, by `broca plugin list`.
fn standing(home: &Home, instance: &str) -> (String, String) {
    let list = home.run(&["plugin", "list", "--json"]).json();
    let row = list["items"].as_array().unwrap().iter().find(|row| row["instance"] == instance).unwrap().clone();
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    (text("standing"), text("problem"))
}

fn answers(home: &Home, text: &str) {
    let said = home.run(&["send", "--as", "alice", text, "--timeout", "60s", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
}

/// Each action is carried out and answered; what is disabled stays so over a restart of `broca up`.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_controlled_while_everything_runs() {
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    let home = Home::new(&format!("[plugins.demo.settings]\nurl = \"{}\"\n", platform.url()));
    let mut up = home.up(&["--workers", "1"]).await;
    let control = |action: &str| {
        let said = home.run(&["plugin", action, "demo", "--json"]);
        assert_eq!(said.code, 0, "{action}: {said:?}\n{}", up.output());
        said.json()["result"]["supervised"]["standing"].as_str().unwrap().to_owned()
    };
    assert_eq!(standing(&home, "demo").0, "running");
    let first = home.process("demo").unwrap();
    assert_eq!(control("restart"), "running");
    eventually("run.json names the new process", PATIENCE, || {
        let changed = home.process("demo").is_some_and(|(pid, _)| pid != first.0);
        async move { changed }
    })
    .await;
    assert_eq!(control("stop"), "stopped");
    assert!(home.process("demo").is_none(), "it has no process");
    platform.say("bob", "while it is stopped");
    answers(&home, "the others go on");
    assert_eq!(platform.unconfirmed().len(), 1);
    assert_eq!(control("start"), "running");
    taken(&platform).await;
    assert_eq!(control("unload"), "unloaded");
    assert_eq!(control("load"), "stopped");
    assert_eq!(control("start"), "running");
    assert_eq!(control("disable"), "disabled");
    let refused = home.run(&["plugin", "start", "demo"]);
    assert!(refused.code == 1 && refused.stderr.contains("broca plugin enable demo"), "{refused:?}");
    let unknown = home.run(&["plugin", "start", "dmo"]);
    assert!(unknown.code == 3 && unknown.stderr.contains("configured are cli, demo"), "{unknown:?}");

    assert!(up.stop(PATIENCE).is_some_and(|status| status.success()), "{}", up.output());
    let up = home.up(&["--workers", "1"]).await;
    assert_eq!(standing(&home, "demo").0, "disabled", "{}", up.output());
    let said = home.run(&["plugin", "enable", "demo", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    platform.say("bob", "again");
    taken(&platform).await;
}

/// A plugin that ends again and again is shown as what it is; the others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_harms_nobody_and_is_seen() {
    let home = Home::new("[plugins.bad]\nplugin = \"demo\"\n[plugins.bad.settings]\nurl = \"nowhere\"\n");
    let up = home.up(&["--workers", "1"]).await;
    let before = home.process("cli").unwrap();
    eventually("it is in a loop", PATIENCE, || {
        let looping = standing(&home, "bad").0 == "crash_looping";
        async move { looping }
    })
    .await;
    let (_, problem) = standing(&home, "bad");
    assert!(problem.contains("url is not an http address"), "{problem}");
    answers(&home, "hello");
    assert_eq!(home.process("cli").unwrap(), before);
    let said = home.run(&["plugin", "restart", "bad"]);
    assert!(said.code == 1 && said.stderr.contains("did not start"), "{said:?}");
    // Mended in its settings, and it runs.
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    home.settings(&format!("[plugins.bad]\nplugin = \"demo\"\n[plugins.bad.settings]\nurl = \"{}\"\n", platform.url()));
    let said = home.run(&["plugin", "restart", "bad", "--json"]);
    assert_eq!(said.code, 0, "{said:?}\n{}", up.output());
    assert_eq!(standing(&home, "bad").0, "running");
}

/// Two instances of one account: the second is skipped when it is loaded.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_of_an_account_is_skipped() {
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    let of = |name: &str| {
        format!("[plugins.{name}]\nplugin = \"demo\"\n[plugins.{name}.settings]\nurl = \"{}\"\n", platform.url())
    };
    let home = Home::new(&(of("a") + &of("b")));
    let up = home.up(&["--workers", "1"]).await;
    assert_eq!(standing(&home, "a").0, "running");
    let (state, problem) = standing(&home, "b");
    assert!(state == "broken" && problem.contains("the same demo account as plugins.a"), "{state} {problem}");
    let said = home.run(&["plugin", "start", "b"]);
    assert!(said.code == 1 && said.stderr.contains("the same demo account"), "{said:?}");
    answers(&home, "hello");
    assert!(up.output().contains("this plugin is skipped"), "{}", up.output());
}
