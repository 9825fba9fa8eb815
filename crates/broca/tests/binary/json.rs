//! Whatever is asked for as JSON is answered as JSON, alone on standard output.

use serde_json::Value;
use tempfile::tempdir;

use crate::run::ends;

/// These do not end by themselves, write a line for each message, or write for another program than one that reads JSON.
const NOT_RUN: &[&str] = &[
    "export",
    "up",
    "worker",
    "plugin run",
    "plugin exec",
    "demo",
    "bench",
    "api",
    "mcp",
    "dashboard",
    "completions",
    "man",
];

/// Every command with what it must be given, as `--describe` has it.
fn commands() -> Vec<(Vec<String>, Vec<String>)> {
    let folder = tempdir().unwrap();
    let described: Value = serde_json::from_str(&ends(folder.path(), &["--describe"]).1).unwrap();
    let texts = |value: &Value| value.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let needed = |argument: &Value| -> Vec<String> {
        let value = argument["one_of"][0].as_str().unwrap_or("x=1").to_owned();
        match (argument["required"] == true, argument["flag"].as_str(), argument["takes_value"] == true) {
            (false, ..) => Vec::new(),
            (true, None, _) => vec![value],
            (true, Some(flag), true) => vec![flag.to_owned(), value],
            (true, Some(flag), false) => vec![flag.to_owned()],
        }
    };
    let command = |command: &Value| {
        let arguments = command["arguments"].as_array().unwrap().iter().flat_map(needed).collect();
        (texts(&command["command"]), arguments)
    };
    described["commands"].as_array().unwrap().iter().map(command).collect()
}

#[test]
fn a_wrong_option_is_told_as_json_whether_it_was_asked_for_before_or_after() {
    let folder = tempdir().unwrap();
    for (path, _) in commands() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let wrong = ["--no-such-option"];
        for args in [[&["--json"], &path[..], &wrong].concat(), [&path[..], &wrong, &["-o", "json"]].concat()] {
            let (code, stdout, stderr) = ends(folder.path(), &args);
            let told: Value =
                serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {stdout}{stderr}"));
            assert_eq!((code, &told["error"]["code"]), (2, &"usage".into()), "{args:?}: {told}");
            assert_eq!(stderr, "", "{args:?}");
        }
    }
}

#[test]
fn every_command_answers_in_json_alone() {
    let folder = tempdir().unwrap();
    ends(folder.path(), &["migrate"]);
    let mut answered = 0;
    for (path, needed) in commands().iter().filter(|(path, _)| !NOT_RUN.contains(&path.join(" ").as_str())) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
        for args in [[&["--json"], &path[..], &needed].concat(), [&path[..], &needed, &["--json"]].concat()] {
            let (code, stdout, stderr) = ends(folder.path(), &args);
            let told: Value =
                serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {stdout}{stderr}"));
            // What fails says so; what does not is an answer.
            let failed = told.get("error").is_some_and(|error| error["message"].is_string());
            assert!(code != 0 || !failed, "{args:?}: {told}");
            answered += usize::from(!failed);
        }
    }
    assert!(answered >= 30, "only {answered} were answered where nothing runs");
}
