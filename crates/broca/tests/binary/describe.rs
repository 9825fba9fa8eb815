//! What the binary tells of itself to hosts, shells and `man`, and its results one a line.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::run::ends;

#[test]
fn every_command_is_described_as_its_help_has_it() {
    let dir = tempdir().unwrap();
    let (code, stdout, stderr) = ends(dir.path(), &["--describe"]);
    let described: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, stderr.as_str()), (0, ""));
    let commands = described["commands"].as_array().unwrap();
    assert!(commands.len() >= 30, "{} commands", commands.len());
    for command in commands {
        let path: Vec<&str> = command["command"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let (code, help, _) = ends(dir.path(), &[path.as_slice(), &["--help"]].concat());
        assert_eq!(code, 0, "{path:?}");
        assert!(command["about"].is_string(), "{path:?} says nothing of itself");
        for argument in command["arguments"].as_array().unwrap() {
            let name = argument["flag"].as_str().or(argument["value"].as_str()).unwrap();
            assert!(help.contains(name), "{path:?} has no {name} in its help");
        }
    }
    assert_eq!(described["exit_codes"].as_array().map(Vec::len), Some(8));
}

#[test]
fn shells_and_man_know_the_commands() {
    let dir = tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, stderr) = ends(dir.path(), &["completions", shell]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{shell}");
        assert!(script.contains("resolve") && script.contains("older-than"), "{shell}");
    }
    assert_eq!(ends(dir.path(), &["completions", "cmd"]).0, 2);
    let (code, page, _) = ends(dir.path(), &["man"]);
    assert!(code == 0 && page.starts_with(".ie") || page.contains(".TH broca"), "{page}");
    assert_eq!(ends(dir.path(), &["man", "pages"]).0, 0);
    for name in ["broca.1", "broca-dlq-list.1", "broca-mcp.1"] {
        assert!(dir.path().join("pages").join(name).is_file(), "{name}");
    }
}

#[test]
fn results_and_errors_come_one_a_line() {
    let dir = tempdir().unwrap();
    ends(dir.path(), &["migrate"]);
    for name in ["one", "two"] {
        assert_eq!(ends(dir.path(), &["token", "add", name, "--access", "read"]).0, 0);
    }
    let (code, stdout, stderr) = ends(dir.path(), &["token", "list", "-o", "ndjson"]);
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len(), stderr.as_str()), (0, 2, ""), "{stdout}");
    assert!(lines.iter().all(|token| token["access"] == "read"));
    let (_, stdout, _) = ends(dir.path(), &["audit", "list", "--limit", "1", "-o", "ndjson"]);
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["operation"]), (2, &json!("token.add")), "the page, and where the next begins");
    assert!(lines[1]["next_cursor"].is_string());
    let (code, stdout, _) = ends(dir.path(), &["token", "revoke", "three", "-o", "ndjson"]);
    let error: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &error["error"]["code"], stdout.lines().count()), (3, &json!("not_found"), 1));
    let (code, stdout, _) = ends(dir.path(), &["nonsense", "-o", "ndjson"]);
    assert_eq!((code, stdout.lines().count()), (2, 1), "{stdout}");
}

#[test]
fn an_mcp_host_gets_nothing_but_json_on_standard_output() {
    use std::io::Write;

    let dir = tempdir().unwrap();
    ends(dir.path(), &["migrate"]);
    let mut child = crate::run::broca(dir.path(), &["mcp"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}});
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let call = |id, name: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    let lines = [hello, ready, call(2, "metrics_show", json!({})), call(3, "hold_add", json!({}))];
    let mut stdin = child.stdin.take().unwrap();
    for line in &lines {
        writeln!(stdin, "{line}").unwrap();
    }
    // Its end is closed once it has answered.
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut answers = std::collections::BTreeMap::new();
    while answers.len() < 3 {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut stdout, &mut line).unwrap() > 0, "it ended: {answers:?}");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        answers.insert(answer["id"].as_i64().unwrap(), answer["result"].clone());
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_eq!(answers[&1]["serverInfo"]["name"], "broca");
    assert_eq!(answers[&2]["structuredContent"]["owed_publishes"], 0);
    assert_eq!(
        (&answers[&3]["isError"], &answers[&3]["structuredContent"]["error"]["code"]),
        (&json!(true), &json!("unauthorised"))
    );
}
