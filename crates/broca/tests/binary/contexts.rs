//! Several deployments, by name: made, chosen, and never mixed up with what this folder says.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;
use tempfile::tempdir;

use crate::run::{broca, ends, json};

#[test]
fn a_context_is_made_used_and_removed() {
    let dir = tempdir().unwrap();
    let at = dir.path();
    let prod = format!("sqlite:{}", at.join("prod.db").display());
    assert_eq!(json(at, &["context", "list"]).1["items"], json!([]));
    let (code, added) =
        json(at, &["context", "add", "prod", "--database-url", &prod, "--nats-url", "nats://127.0.0.1:1"]);
    assert_eq!((code, &added["items"][0]["name"], &added["items"][0]["current"]), (0, &json!("prod"), &json!(false)));
    let file = at.join("config/broca/contexts.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ends(at, &["context", "add", "prod", "--data-dir", "x"]).0, 4, "it is there already");
    assert_eq!(ends(at, &["context", "add", "other", "--replace", "--data-dir", "x"]).0, 0);

    // It says where, and all else is as ever.
    fs::write(at.join("broca.toml"), "[database]\nurl = 'sqlite:here.db'\n[up]\nworkers = 7\n").unwrap();
    let source = |args: &[&str], key: &str| {
        let (code, shown) = json(at, &[&["config", "get", key], args].concat());
        assert_eq!(code, 0, "{shown}");
        (shown["items"][0]["value"].clone(), shown["items"][0]["source"].as_str().unwrap().to_owned())
    };
    assert!(source(&[], "database.url").1.ends_with("broca.toml"));
    assert_eq!(source(&["--context", "prod"], "database.url"), (json!(prod), "context prod".to_owned()));
    assert_eq!(source(&["--context", "prod"], "up.workers"), (json!(2), "default".to_owned()), "not of this folder");
    let flagged = source(&["--context", "prod", "--nats-url", "nats://127.0.0.1:2"], "nats.url");
    assert_eq!(flagged, (json!("nats://127.0.0.1:2"), "flag --nats-url".to_owned()));
    let mut command = broca(at, &["config", "get", "nats.url", "--json", "--context", "prod"]);
    let output = command.env("BROCA_NATS__URL", "nats://127.0.0.1:3").output().unwrap();
    assert!(
        String::from_utf8(output.stdout).unwrap().contains("context prod"),
        "the environment is of this folder, too"
    );

    // Chosen by the variable, or from now on.
    let output = broca(at, &["config", "show", "--json"]).env("BROCA_CONTEXT", "prod").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("\"context\": \"prod\""));
    assert_eq!(ends(at, &["context", "use", "prod"]).0, 0);
    assert_eq!(source(&[], "database.url").1, "context prod");
    assert_eq!(json(at, &["context", "show"]).1["name"], "prod");
    assert_eq!(ends(at, &["context", "use", "--none"]).0, 0);
    assert!(source(&[], "database.url").1.ends_with("broca.toml"));
    assert_eq!(ends(at, &["context", "use", "prod"]).0, 0);
    assert_eq!(ends(at, &["context", "remove", "prod"]).0, 0);
    assert!(source(&[], "database.url").1.ends_with("broca.toml"), "what is forgotten is in force no more");
    let (code, missing) = json(at, &["status", "--context", "prod"]);
    assert_eq!((code, &missing["error"]["code"]), (3, &json!("not_found")));
    assert_eq!(ends(at, &["worker", "--context", "other"]).0, 2, "a process follows none");
}

#[test]
fn a_context_holds_no_secret() {
    let dir = tempdir().unwrap();
    let at = dir.path();
    for url in ["--database-url=postgres://broca:hunter2@db/broca", "--nats-url=nats://hunter2@nats:4222"] {
        let (code, _, stderr) = ends(at, &["context", "add", "prod", url]);
        assert!(code == 2 && stderr.contains("secret") && !stderr.contains("hunter2"), "{stderr}");
    }
    assert!(!at.join("config").exists(), "nothing was written");
    assert_eq!(ends(at, &["context", "add", "a/b", "--data-dir", "x"]).0, 2);
    assert_eq!(ends(at, &["context", "add", "empty"]).0, 2);

    let by_name = ["context", "add", "prod", "--database-url-env", "PROD_URL", "--nats-url", "nats://127.0.0.1:1"];
    assert_eq!(ends(at, &by_name).0, 0);
    let shown = |name: &str| {
        let mut command = broca(at, &["--context", "prod", "config", "get", "database.url"]);
        let output = command.env(name, "postgres://broca:hunter2@db/broca").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(shown("PROD_URL"), (Some(0), "postgres://broca:***@db/broca\n".to_owned(), String::new()));
    let (code, _, stderr) = shown("ANOTHER");
    assert!(code == Some(2) && stderr.contains("PROD_URL"), "{stderr}");
}

#[test]
fn what_is_asked_before_it_is_done_names_the_context() {
    let dir = tempdir().unwrap();
    let at = dir.path();
    let prod = format!("sqlite:{}", at.join("prod.db").display());
    ends(at, &["context", "add", "prod", "--database-url", &prod, "--nats-url", "nats://127.0.0.1:1"]);
    assert_eq!(ends(at, &["--context", "prod", "migrate"]).0, 0);
    let (code, refused) = json(at, &["--context", "prod", "queue", "flush", "--all"]);
    assert_eq!((code, &refused["error"]["code"]), (2, &json!("usage")));
    assert!(refused["error"]["message"].as_str().unwrap().ends_with("in context prod"), "{refused}");
    let (code, done) = json(at, &["--context", "prod", "queue", "flush", "--all", "--yes"]);
    assert_eq!((code, &done["flushed"]), (0, &json!(0)));
    assert_eq!(json(at, &["--context", "prod", "queue", "flush", "--yes"]).0, 2, "which?");
}

#[test]
fn colour_is_for_terminals_and_whoever_asks_for_it() {
    let dir = tempdir().unwrap();
    let at = dir.path();
    ends(at, &["migrate"]);
    ends(at, &["token", "add", "ci", "--access", "read"]);
    let listed = |args: &[&str]| ends(at, &[&["token", "list"], args].concat()).1;
    assert!(!listed(&[]).contains('\x1b'));
    assert!(listed(&["--color", "always"]).contains("\x1b[1mtoken\x1b[0m"));
    assert!(!listed(&["--color", "always", "--json"]).contains('\x1b'));
    assert!(listed(&[]).contains(" ago"), "{}", listed(&[]));
}
