//! What authors of plugins have: a new plugin that works, the suite that finds what is wrong with one, and a
//! conversation without a platform.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use broca_tests::{Home, Said};
use serde_json::Value;

/// A plugin of its own in a home, by the binary.
fn new(home: &Home, name: &str, lang: &str) -> PathBuf {
    let said = home.run(&["plugin", "new", name, "--lang", lang, "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let folder = home.path().join(name);
    for file in said.json()["files"].as_array().expect("files") {
        assert!(home.path().join(file.as_str().expect("a path")).is_file(), "{file}");
    }
    folder
}

fn runs(folder: &Path, program: &str, args: &[&str]) {
    let mut command = Command::new(program);
    let output = command.args(args).current_dir(folder).env("CARGO_TARGET_DIR", folder.join("target")).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is missing ({error}): tests/run says how to get it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}");
}

/// What became of each check.
fn results(said: &Said) -> BTreeMap<String, (String, String)> {
    let report = said.json();
    let items = report["items"].as_array().unwrap_or_else(|| panic!("{said:?}"));
    let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    items.iter().map(|item| (text(item, "check"), (text(item, "result"), text(item, "what")))).collect()
}

fn with<'a>(results: &'a BTreeMap<String, (String, String)>, result: &str) -> Vec<&'a str> {
    results.iter().filter(|(_, (ended, _))| ended == result).map(|(check, _)| check.as_str()).collect()
}

/// By `--quick`: the flood, and four in a pipeline.
const LEFT_OUT: usize = 5;
const LIVE_SETTINGS: &str = "it takes new settings while it runs";

fn conforms(home: &Home, folder: &str) {
    let said = home.run(&["plugin", "test", folder, "--quick", "--json"]);
    let results = results(&said);
    assert_eq!((said.code, with(&results, "fail")), (0, vec![]), "{results:#?}\n{}", said.stderr);
    let not_checked = with(&results, "not_checked");
    assert!(not_checked.contains(&LIVE_SETTINGS) && not_checked.len() == 1 + LEFT_OUT, "{not_checked:?}");
    assert!(with(&results, "pass").len() > 30, "{results:#?}");
}

/// `tutorial.rs` runs the whole suite with one, chaos included.
#[test]
fn a_new_plugin_in_python_conforms() {
    let home = Home::new("");
    let folder = new(&home, "line-chat", "python");
    runs(&folder, "python3", &["-m", "unittest"]);
    conforms(&home, "line-chat");
}

#[test]
fn a_new_plugin_in_typescript_conforms() {
    let home = Home::new("");
    let folder = new(&home, "line-chat", "typescript");
    runs(&folder, "npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    runs(&folder, "npm", &["test"]);
    conforms(&home, "line-chat");
}

/// With the versions of the workspace, which are there already.
#[test]
fn a_new_plugin_in_rust_conforms() {
    let home = Home::new("");
    let folder = new(&home, "line-chat", "rust");
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::copy(lock, folder.join("Cargo.lock")).expect("the lock file is copied");
    runs(&folder, "cargo", &["build", "--release", "--offline", "--config", "profile.release.opt-level=0"]);
    runs(&folder, "cargo", &["test", "--release", "--offline", "--config", "profile.release.opt-level=0"]);
    conforms(&home, "line-chat");
}

#[test]
fn a_new_plugin_is_written_over_nothing_and_has_a_name_of_its_own() {
    let home = Home::new("");
    new(&home, "line-chat", "python");
    for (args, code, why) in [
        (["line-chat", "--lang", "rust"], 4, "is there already"),
        (["telegram", "--lang", "rust"], 4, "there is a plugin 'telegram' already (compiled in)"),
        (["Line Chat", "--lang", "python"], 2, "is no name for a plugin"),
        (["../line", "--lang", "python"], 2, "is no name for a plugin"),
        (["line", "--lang", "cobol"], 2, "cobol"),
    ] {
        let said = home.run(&[&["plugin", "new"], &args[..]].concat());
        assert!(said.code == code && said.stderr.contains(why), "{args:?}: {said:?}");
    }
}

/// A plugin with these changes to the text of the program.
fn broken(home: &Home, name: &str, changes: &[(&str, &str)]) {
    let program = new(home, name, "python").join("plugin.py");
    let mut text = fs::read_to_string(&program).expect("a program");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    fs::write(program, text).expect("it is written");
}

/// The suite fails the changed plugin by the checks that are about what is wrong with it, and says what that is.
fn is_found(name: &str, changes: &[(&str, &str)], failed: &[&str]) {
    let home = Home::new("");
    broken(&home, name, changes);
    let said = home.run(&["plugin", "test", name, "--quick", "--json"]);
    let results = results(&said);
    let found = with(&results, "fail");
    let missed: Vec<_> = failed.iter().filter(|check| !found.contains(check)).collect();
    assert!(said.code == 1 && missed.is_empty(), "{name}: {missed:?} are not among {results:#?}");
    assert!(found.iter().all(|check| !results[*check].1.is_empty()), "{name}: {results:#?}");
}

#[test]
fn the_suite_finds_what_is_wrong_with_the_way_in() {
    let changes = [
        // A number of its own instead of the platform's.
        ("str(update[\"update_id\"])", "str(time.monotonic_ns())"),
        // Taken before it is accepted.
        (
            "answer = self.host.ask(\"ingest\", message=message)",
            "self.platform.updates(update[\"update_id\"] + 1, 0)\n            answer = self.host.ask(\"ingest\", message=message)",
        ),
        // It talks where the protocol is spoken.
        ("host.say(\"ready\"", "print(\"Welcome!\", flush=True)\n    host.say(\"ready\""),
    ];
    let failed = [
        "kill -9 before `accepted`: the event comes again",
        "the platform is told after `accepted`, not before",
        "its output holds nothing but the protocol",
    ];
    is_found("bad-in", &changes, &failed);
}

#[test]
fn the_suite_finds_what_is_wrong_with_the_way_out() {
    let changes = [
        ("if error.code == 429:", "if error.code == 427:"),
        (
            "elif error.code >= 500:\n            self.host.say(\"retry\", id=number, **{\"class\": \"unavailable\"}",
            "elif error.code >= 500:\n            self.host.say(\"dead\", id=number, **{\"class\": \"rejected\"}",
        ),
        ("if not_reached(error):", "if False:"),
        ("rest, part = response[\"rest\"]", "rest, part = response[\"text\"]"),
        ("if not sent:\n            return", "if True:\n            return"),
        ("rest[: self.max_chars], rest[self.max_chars :]", "rest[: self.max_chars + 50], rest[self.max_chars + 50 :]"),
        ("max_workers=32", "max_workers=1"),
    ];
    let failed = [
        "a limited rate is `retry`, after as long as the platform says",
        "a platform that fails is `retry`",
        "a platform that is away is `retry`, and afterwards it goes on",
        "an answer of which a part is sent goes on behind it",
        "kill -9 between a send and its receipt: it finds the answer at the platform",
        "a long answer goes out whole, each part within the limit",
        "a slow answer holds no other chat up",
    ];
    is_found("bad-out", &changes, &failed);
}

/// What nobody could look at is no pass.
#[test]
fn a_bare_command_is_tested_as_far_as_its_platform_is_known() {
    let home = Home::new("");
    let program = new(&home, "line-chat", "python").join("plugin.py");
    let program = program.to_str().expect("a plain path");
    let fed = [
        "plugin",
        "test",
        "--quick",
        "--json",
        "--option",
        "url={url}",
        "--option",
        "max_text_chars=200",
        "--",
        "python3",
        program,
    ];
    let said = home.run(&fed);
    let fed = results(&said);
    assert_eq!((said.code, with(&fed, "fail")), (0, vec![]), "{fed:#?}");
    let said = home.run(&[
        "plugin",
        "test",
        "--quick",
        "--json",
        "--option",
        "url=http://127.0.0.1:1",
        "--",
        "python3",
        program,
    ]);
    let unfed = results(&said);
    assert_eq!((said.code, with(&unfed, "fail")), (0, vec![]), "{unfed:#?}");
    assert!(with(&unfed, "not_checked").len() > with(&fed, "not_checked").len() + 15, "{unfed:#?}");
    let table = home.run(&["plugin", "test", "--quick", "--", "python3", program]);
    assert!(table.code == 1 && table.stdout.contains("url is missing"), "{table:?}");
    let nothing = home.run(&["plugin", "test", "."]);
    assert!(nothing.code == 2 && nothing.stderr.contains("plugin.toml"), "{nothing:?}");
}

/// A platform of its author's, in a wire format of its own.
#[test]
fn a_platform_of_the_authors_is_played_by_a_program() {
    let home = Home::new("");
    let folder = new(&home, "line-chat", "python");
    fs::write(folder.join("fake.py"), include_str!("authors/fake.py")).expect("it is written");
    let toml = folder.join("plugin.toml");
    let text = fs::read_to_string(&toml).expect("a plugin.toml");
    fs::write(&toml, format!("{text}platform = [\"python3\", \"fake.py\"]\n")).expect("it is written");
    let said = home.run(&["plugin", "test", "line-chat", "--quick", "--json"]);
    let results = results(&said);
    assert_eq!((said.code, with(&results, "fail")), (0, vec![]), "{results:#?}");
    let passed = with(&results, "pass");
    for check in ["an answer goes out, with a receipt", "a limited rate is `retry`, after as long as the platform says"]
    {
        assert!(passed.contains(&check), "{results:#?}");
    }
    let unplayed = "a connection that is cut after the send is `unknown`";
    assert!(results[unplayed].1.contains("does not play \"cut_after\""), "{results:#?}");
    let said = home.run_with(&["emulate", "line-chat", "--json"], "good morning\n");
    assert_eq!(said.json()["out"][0]["text"], "[Username: @alice, Line Chat ID: alice] good morning", "{said:?}");
}

#[test]
fn a_person_sees_what_goes_in_and_what_comes_out() {
    let home = Home::new("");
    new(&home, "line-chat", "python");
    let said = home.run_with(&["emulate", "line-chat", "--as", "bob"], "good <b>morning</b>\n\nagain\n");
    let lines: Vec<&str> = said.stdout.lines().map(str::trim).collect();
    assert!(said.code == 0 && lines.len() == 8, "{said:?}");
    assert!(lines[0].starts_with("in   event ") && lines[0].ends_with(" from bob: good <b>morning</b>"), "{lines:?}");
    assert_eq!(lines[2], "out  m1: [Username: @bob, Line Chat ID: bob] good <b>morning</b>");
    assert_eq!(lines[3], "delivered: m1");

    let said = home.run_with(&["emulate", "telegram", "--json"], "**bold** & <i>\n");
    let turn = said.json();
    assert_eq!(turn["in"]["text"], "**bold** & <i>", "{said:?}");
    assert_eq!(turn["out"][0]["text"], "[Username: @alice, Telegram ID: 7] <b>bold</b> &amp; &lt;i&gt;");
    assert_eq!(turn["out"][0]["marks"], "HTML");
    let said = home.run_with(&["emulate", "telegram"], "/help\n");
    assert!(said.stdout.contains("deals with it by itself") && said.stdout.contains("/cancel"), "{said:?}");
    let said = home.run_with(&["emulate", "demo"], "hello\n");
    assert!(said.stdout.contains("delivered: m1"), "{said:?}");

    for (what, code, hint) in
        [("webchat", 2, "browser"), ("webhook", 2, "HTTP client"), ("pigeon", 3, "broca plugin list")]
    {
        let said = home.run(&["emulate", what]);
        assert!(said.code == code && said.stderr.contains(hint), "{said:?}");
    }
}
