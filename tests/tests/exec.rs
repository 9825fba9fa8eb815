//! Programs in other languages as plugins, in the whole pipeline: real processes, killed in the middle of what they do,
//! before a scripted platform whose own log says what people got.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use broca_core::{MessageState, ResponseState};
use broca_rehearsal::platform::{PlatformScript, ScriptedPlatform};
use broca_store::Store;
use broca_tests::{Crew, Database, Home, Rig, all_over, eventually};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/exec/examples").join(path)
}

fn runs(what: &str, command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{what} is missing ({error}): tests/run says how to get it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {text}");
}

/// The example in TypeScript, compiled; done anew for each run of the tests, from the versions in its lock file.
fn typescript(folder: &Path) -> PathBuf {
    for name in ["plugin.ts", "plugin.test.ts", "package.json", "package-lock.json", "tsconfig.json"] {
        std::fs::copy(example("typescript").join(name), folder.join(name)).unwrap();
    }
    runs("npm", Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder));
    runs("npm", Command::new("npm").args(["run", "build"]).current_dir(folder));
    folder.join("build/plugin.js")
}

struct Stage {
    platform: ScriptedPlatform,
    rig: Rig,
    store: Store,
}

impl Stage {
    async fn set(database: Database, command: &[&str], more: &str) -> Self {
        // Each send is held a little between its receipt and its answer: there is always one to be cut off.
        let script = PlatformScript { hold_ms: 20, ..PlatformScript::default() };
        let platform = ScriptedPlatform::start(script).await.unwrap();
        let settings = format!(
            "[plugins.chat]\nplugin = \"exec\"\n[plugins.chat.settings]\ncommand = {command:?}\n{more}\n[plugins.chat.settings.options]\nurl = \"{}\"\nmax_text_chars = 30\n",
            platform.url()
        );
        let (rig, store) = Rig::with(database, settings).await;
        Self { platform, rig, store }
    }

    fn plugin(&self) -> Crew {
        Crew::new(&self.rig, "chat", &["plugin", "run", "chat"], 1, &[])
    }

    async fn rests(&self, crews: &mut [&mut Crew]) {
        eventually("every message and every answer is over", PATIENCE, || {
            for crew in crews.iter_mut() {
                crew.tend(&self.rig);
            }
            all_over(&self.store)
        })
        .await;
    }

    /// What each person was sent, joined from its parts, in order. No part may be there twice.
    fn answers(&self) -> BTreeMap<String, Vec<String>> {
        let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let (mut open, mut seen) = (BTreeMap::<String, String>::new(), std::collections::BTreeSet::new());
        for sent in self.platform.log() {
            assert!(seen.insert((sent.response_id, sent.part)), "sent twice: {sent:?}");
            let text = open.entry(sent.user.clone()).or_default();
            text.push_str(&sent.text);
            if sent.last {
                answers.entry(sent.user).or_default().push(std::mem::take(text));
            }
        }
        answers
    }
}

/// The processes that `parent` started.
fn children(parent: u32) -> Vec<i32> {
    let of_parent = |entry: std::fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut rest = stat.rsplit(") ").next()?.split(' ');
        let (state, ppid) = (rest.next()?, rest.next()?);
        (ppid.parse() == Ok(parent) && state != "Z").then_some(pid)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(of_parent).collect()
}

/// Kills the program again and again while people write and answers go out; then the process that hosts it.
async fn killed_in_mid_delivery(database: Database, command: &[&str]) {
    const PEOPLE: usize = 4;
    const EACH: usize = 6;
    let stage = Stage::set(database, command, "").await;
    let (mut plugin, mut workers) = (stage.plugin(), Crew::workers(&stage.rig, 2, &[]));
    for message in 0..EACH {
        for person in 0..PEOPLE {
            stage.platform.say(&format!("u{person}"), &format!("u{person}-m{message}"));
        }
    }
    for kills in 1..=3 {
        let before = stage.platform.log().len();
        eventually("another answer went out", PATIENCE, || {
            let after = stage.platform.log().len();
            async move { after > before }
        })
        .await;
        if kills < 3 {
            let host = plugin.member(0).pid();
            let victims = children(host);
            assert!(!victims.is_empty(), "the program runs: {}", plugin.output());
            for victim in victims {
                kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
            }
        } else {
            plugin.member(0).kill9();
        }
    }
    stage.rests(&mut [&mut plugin, &mut workers]).await;
    assert_eq!(plugin.replaced, 1, "the host outlives its program: {}", plugin.output());
    let counts = stage.store.counts().await.unwrap();
    let total = i64::try_from(PEOPLE * EACH).unwrap();
    assert_eq!(counts.messages.get(MessageState::Completed.as_str()), Some(&total), "{counts:?}");
    assert_eq!(counts.responses.get(ResponseState::Delivered.as_str()), Some(&total), "{counts:?}");
    let answers = stage.answers();
    assert_eq!(answers.len(), PEOPLE);
    for (person, texts) in answers {
        let named: Vec<&str> = texts.iter().filter_map(|text| text.split_whitespace().last()).collect();
        let said: Vec<String> = (0..EACH).map(|message| format!("{person}-m{message}")).collect();
        assert_eq!(named, said, "{person}");
    }
    let last = children(plugin.member(0).pid());
    assert!(plugin.stop(PATIENCE).iter().all(|(_, well)| *well), "{}", plugin.output());
    let gone = |pid: &i32| !Path::new(&format!("/proc/{pid}")).exists();
    assert!(!last.is_empty() && last.iter().all(gone), "the program ended with its host");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_is_killed_in_mid_delivery_on_sqlite() {
    let program = example("python/plugin.py");
    killed_in_mid_delivery(Database::Sqlite, &["python3", program.to_str().unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_is_killed_in_mid_delivery_on_postgres() {
    let program = example("python/plugin.py");
    killed_in_mid_delivery(Database::Postgres, &["python3", program.to_str().unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_is_killed_in_mid_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let program = typescript(folder.path());
    killed_in_mid_delivery(Database::Sqlite, &["node", program.to_str().unwrap()]).await;
}

/// While the program cannot start, answers wait; once it is mended they go out, and nothing was lost.
#[tokio::test(flavor = "multi_thread")]
async fn answers_wait_for_a_program_that_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("plugin.py");
    let text = std::fs::read_to_string(example("python/plugin.py")).unwrap();
    std::fs::write(&program, &text).unwrap();
    let command = ["python3", program.to_str().unwrap()];
    let stage = Stage::set(Database::Sqlite, &command, "").await;
    let mut plugin = stage.plugin();
    stage.platform.say("alice", "first");
    eventually("the message is in", PATIENCE, || {
        let left = stage.platform.unconfirmed().len();
        async move { left == 0 }
    })
    .await;
    // From now on it ends at its start; the next start of the host finds that out.
    std::fs::write(&program, "import sys\nprint('hello', flush=True)\nsys.exit('no chat today')\n").unwrap();
    plugin.member(0).kill9();
    plugin.tend(&stage.rig);
    let mut workers = Crew::workers(&stage.rig, 1, &[]);
    let replaced = plugin.replaced;
    eventually("the host gave up and was started again", PATIENCE, || {
        plugin.tend(&stage.rig);
        let again = plugin.replaced > replaced;
        async move { again }
    })
    .await;
    assert!(plugin.output().contains("5 times in a row"), "{}", plugin.output());
    assert_eq!(stage.platform.log().len(), 0);
    std::fs::write(&program, text).unwrap();
    stage.rests(&mut [&mut plugin, &mut workers]).await;
    assert_eq!(stage.answers()["alice"].len(), 1);
}

/// The one-liner of the README, beside a running `broca up`.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_the_command_line_is_a_plugin() {
    let home = Home::new("");
    let up = home.up(&["--workers", "1"]).await;
    let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
    platform.say("alice", "hello from there");
    let program = example("python/plugin.py");
    let url = format!("url={}", platform.url());
    let args =
        ["plugin", "exec", "--instance", "line-chat", "--option", &url, "--", "python3", program.to_str().unwrap()];
    let mut exec = home.command(&args).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while platform.log().is_empty() {
        assert!(Instant::now() < deadline, "no answer: {}", up.output());
        assert!(exec.try_wait().unwrap().is_none(), "it ended");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(platform.log()[0].text, "[Username: @alice, Line Chat ID: alice] hello from there");
    kill(Pid::from_raw(i32::try_from(exec.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(exec.wait().unwrap().success());

    let bare = home.run(&["plugin", "exec", "--secret", "token=hunter2", "--", "true"]);
    assert!(bare.code == 2 && bare.stderr.contains("env:NAME or file:/path"), "{bare:?}");
    let protocol = home.run(&["plugin", "protocol"]).json();
    let file: Value = serde_json::from_str(include_str!("../../plugins/exec/protocol.schema.json")).unwrap();
    assert_eq!(protocol, file);
}
