//! COMMANDS.md is what every command says of itself, word for word; deploy/configuration.md is the settings, as they are.

mod configuration;

use std::process::Command;

use serde_json::Value;

/// The heading of the options that every command has.
const EVERYWHERE: &str = "Everywhere:";

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/COMMANDS.md");

/// What the binary prints, free of the settings and the terminal of whoever runs this.
fn said(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broca"));
    let own = std::env::vars().filter(|(name, _)| name.starts_with("BROCA_"));
    for (name, _) in own {
        command.env_remove(name);
    }
    let output = command.args(args).env("COLUMNS", "120").output().expect("the binary runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Help without the options that every command has.
fn own_help(path: &[&str]) -> String {
    let help = said(&[path, &["-h"]].concat());
    let sections = help.split("\n\n").filter(|section| !section.trim_start().starts_with(EVERYWHERE));
    let whole = sections.collect::<Vec<_>>().join("\n\n");
    // An option without a word about it ends in blanks.
    whole.trim_end().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn everywhere() -> String {
    let help = said(&["-h"]);
    let section = help.split("\n\n").find(|section| section.trim_start().starts_with(EVERYWHERE));
    section.expect("options that every command has").trim_end().to_owned()
}

fn reference() -> String {
    let described: Value = serde_json::from_str(&said(&["--describe"])).expect("JSON");
    let mut text = format!(
        "# The commands\n\nWhat `broca COMMAND -h` says, of every command. This file is written by \
         `BROCA_TEST_WRITE=1 cargo test --locked --workspace --test reference`; `broca --describe` has it as JSON, and \
         [OPERATIONS.md](../admin/OPERATIONS.md) says which of it is there over HTTP and MCP.\n\n```text\n{}\n```\n\n\
         ## With every command\n\n```text\n{}\n```\n",
        own_help(&[]),
        everywhere()
    );
    for command in described["commands"].as_array().expect("a list") {
        let path: Vec<&str> = command["command"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
        text.push_str(&format!("\n## broca {}\n\n```text\n{}\n```\n", path.join(" "), own_help(&path)));
    }
    text
}

#[test]
fn the_reference_is_what_the_commands_say() {
    if std::env::var_os("BROCA_TEST_WRITE").is_some() {
        std::fs::write(FILE, reference()).expect("it is written");
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        written == reference(),
        "COMMANDS.md is not what the commands say any more: run this test with BROCA_TEST_WRITE=1"
    );
}
