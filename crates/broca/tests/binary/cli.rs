//! Exit codes, JSON, and what is said when something is wrong.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use nix::sys::signal::Signal;
use tempfile::tempdir;

use crate::run::{Ended, broca, ends, json, signal};

#[test]
fn every_subcommand_has_help_on_standard_output() {
    let dir = tempdir().unwrap();
    let (code, help, _) = ends(dir.path(), &["--help"]);
    assert_eq!(code, 0);
    for command in [
        "up", "worker", "plugin", "migrate", "nats", "config", "mode", "events", "check", "status", "send", "chat",
        "message", "dlq", "replay", "demo", "bench",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in {help}");
        let (code, text, _) = ends(dir.path(), &[command, "--help"]);
        assert!(code == 0 && text.contains("Usage: broca "), "{command}: {text}");
    }
    assert!(!help.contains("rehearse") && !help.contains("tied"));
}

#[test]
fn a_wrong_command_line_is_exit_code_2_also_in_json() {
    let dir = tempdir().unwrap();
    let (code, stdout, stderr) = ends(dir.path(), &["send", "hello"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("--as <NAME>"), "{stderr}");
    for args in [&["--json", "statsu"][..], &["statsu", "-o", "json"]] {
        let (code, stdout, _) = ends(dir.path(), args);
        let error: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, &error["error"]["code"]), (2, &"usage".into()));
    }
}

#[test]
fn check_speaks_and_ends_as_monitoring_plugins_do() {
    let dir = tempdir().unwrap();
    let (code, _, stderr) = ends(dir.path(), &["check"]);
    assert_eq!(code, 3, "a database without tables cannot be asked: {stderr}");
    assert!(stderr.contains("broca migrate"), "{stderr}");
    ends(dir.path(), &["migrate"]);
    let (code, stdout, stderr) = ends(dir.path(), &["check"]);
    let line = "BROCA OK - every message is over or on its way | orphans=0\n";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, line, ""));
    let (code, value) = json(dir.path(), &["check", "--overdue", "5s", "--max-age", "1h"]);
    assert_eq!((code, &value["status"], &value["orphans"]), (0, &"ok".into(), &0.into()));
    let (code, _, _) = ends(dir.path(), &["check", "--database-url", "postgres://nobody@127.0.0.1:1/none"]);
    assert_eq!(code, 3);
}

#[test]
fn json_is_asked_for_before_or_after_the_subcommand() {
    let dir = tempdir().unwrap();
    let after = json(dir.path(), &["config", "show"]);
    let (code, before, stderr) = ends(dir.path(), &["-o", "json", "config", "show"]);
    assert_eq!((code, serde_json::from_str(&before).unwrap(), stderr.as_str()), (after.0, after.1, ""));
}

#[test]
fn config_show_says_where_each_value_comes_from_and_hides_secrets() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("broca.toml"), "[agents.default]\nkind = 'echo'\napi_key = 'hunter2'\n").unwrap();
    let mut command = broca(dir.path(), &["config", "show", "--json", "--nats-url", "nats://u:hunter2@h:1"]);
    let output = command.env("BROCA_UP__WORKERS", "5").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let row = |key: &str| shown["items"].as_array().unwrap().iter().find(|row| row["key"] == key).cloned().unwrap();
    let source = |key: &str| row(key)["source"].as_str().unwrap().to_owned();
    assert_eq!(source("up.workers"), "environment variable BROCA_UP__WORKERS");
    assert_eq!(source("nats.url"), "flag --nats-url");
    assert!(source("agents.default.api_key").ends_with("broca.toml"));
    assert_eq!(source("worker.slots"), "default");
    assert_eq!(row("nats.url")["value"], "nats://u:***@h:1");
}

#[test]
fn one_setting_is_shown_and_what_a_process_reads_at_its_start_is_not_set() {
    let dir = tempdir().unwrap();
    assert_eq!(ends(dir.path(), &["settings", "get", "worker.slots"]), (0, "1000\n".to_owned(), String::new()));
    let (_, retry) = json(dir.path(), &["config", "get", "retry"]);
    assert_eq!(retry["items"].as_array().map(Vec::len), Some(6), "{retry}");
    assert_eq!(ends(dir.path(), &["config", "get", "worker.slot"]).0, 3);
    let (code, refused) = json(dir.path(), &["settings", "set", "worker.slots=7"]);
    assert_eq!((code, &refused["error"]["code"]), (4, &"conflict".into()));
    assert!(refused["error"]["hint"].as_str().unwrap().contains("settings reload"), "{refused}");
    assert_eq!(ends(dir.path(), &["settings", "set", "mode=loud"]).0, 2);
    assert_eq!(ends(dir.path(), &["settings", "set", "plugins.nobody.groups=all"]).0, 3);
}

#[test]
fn wrong_settings_are_exit_code_2_with_key_and_source() {
    let dir = tempdir().unwrap();
    let output = broca(dir.path(), &["status"]).env("BROCA_WORKER__SLOTS", "many").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text.contains("worker.slots, from environment variable BROCA_WORKER__SLOTS: expected a whole number"),
        "{text}"
    );
}

#[test]
fn where_nothing_runs_it_says_how_to_start() {
    let dir = tempdir().unwrap();
    for args in [&["status"][..], &["nats", "apply"], &["send", "--as", "alice", "hi"], &["chat", "--as", "alice"]] {
        let (code, error) = json(dir.path(), args);
        assert_eq!(code, 6, "{args:?}: {error}");
        assert!(error.to_string().contains("broca up"), "{args:?}: {error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a command that only asks leaves nothing behind");
}

#[test]
fn the_database_is_migrated_once_and_a_missing_message_is_exit_code_3() {
    let dir = tempdir().unwrap();
    let url = format!("--database-url=sqlite:{}", dir.path().join("x.db").display());
    let id = "01a205ff-1364-71f9-abe3-141f16fdfaaa";
    let (code, first) = json(dir.path(), &[&url, "migrate"]);
    assert!(code == 0 && !first["applied"].as_array().unwrap().is_empty(), "{first}");
    let (code, second) = json(dir.path(), &[&url, "migrate"]);
    assert_eq!((code, &second["applied"]), (0, &serde_json::json!([])));
    let (code, missing) = json(dir.path(), &[&url, "message", "show", id]);
    assert_eq!((code, &missing["error"]["code"]), (3, &"not_found".into()));
    let (code, _, stderr) = ends(dir.path(), &[&url, "message", "show", "seven"]);
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn unknown_plugins_are_named_with_the_known_ones() {
    let dir = tempdir().unwrap();
    let (code, error) = json(dir.path(), &["plugin", "run", "telegram"]);
    assert_eq!(code, 3);
    assert!(error["error"]["hint"].as_str().unwrap().contains("configured are cli"), "{error}");
    let (code, listed) = json(dir.path(), &["plugin", "list"]);
    assert_eq!((code, &listed["items"][0]["platform"]), (0, &"cli".into()));
}

#[test]
fn a_scripted_server_says_where_it_listens_and_ends_on_a_signal() {
    let dir = tempdir().unwrap();
    for server in ["letta", "platform"] {
        let mut command = broca(dir.path(), &["rehearse", server, "--log", "log.jsonl"]);
        let mut server = Ended(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on http://127.0.0.1:"), "{line}");
        signal(server.0.id(), Signal::SIGTERM);
        assert_eq!(server.0.wait().unwrap().code(), Some(0));
    }
}
