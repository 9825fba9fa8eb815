//! The tutorial of `plugins/README.md` is run as it stands: its commands, its changes to files, its files.

use std::{fs::File, net::TcpListener, os::unix::process::CommandExt, process::Command};

use broca_tests::Home;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

const PAGE: &str = include_str!("../../plugins/README.md");
/// The port of the page's platform; another is free here.
const PORT: &str = "8090";

/// The blocks of the tutorial with their languages, in order.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let begin = PAGE.find("## Your first plugin").expect("there is a tutorial");
    let text = &PAGE[begin..];
    let text = &text[..text[3..].find("\n## ").expect("something follows") + 3];
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').expect("a language, and lines")).collect()
}

/// All of it as one script.
fn script(blocks: &[(&str, &str)], port: u16) -> String {
    let step = |(language, text): &(&str, &str)| match *language {
        "sh" => (*text).to_owned(),
        "diff" => format!("git apply --whitespace=nowarn - <<'END'\n{text}END\n"),
        // Its first line names the file.
        "toml" => {
            let (name, rest) = text.split_once('\n').expect("the file's name stands in a comment");
            format!("cat > {} <<'END'\n{rest}END\n", name.trim_start_matches("# "))
        }
        // What a command prints.
        "text" => String::new(),
        other => panic!("nobody knows what to do with {other}"),
    };
    let steps: String = blocks.iter().map(step).collect();
    format!("set -eu\n{}", steps.replace(PORT, &port.to_string()))
}

/// What the page says that a command prints, with every number made alike.
fn shape(text: &str) -> String {
    let words = text.split_whitespace();
    words.map(|word| if word.parse::<u64>().is_ok() { "#" } else { word }).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_tutorial_does_what_it_says() {
    let blocks = blocks();
    assert!(blocks.len() >= 10, "{blocks:?}");
    let home = Home::new("");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let binary = home.command(&[]).get_program().to_owned();
    let folder = std::path::Path::new(&binary).parent().expect("it lies in a folder").to_owned();
    let path = std::env::var("PATH").expect("there is a PATH");
    // The binary of this build, free of the settings of whoever runs the test, as `Home` has it.
    let mut command = Command::new("bash");
    for (name, value) in home.command(&[]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // Files, because what it left in the background would hold a pipe open.
    let file = |name: &str| File::create(home.path().join(name)).expect("a file is made");
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).expect("it was made");
    let mut child = command
        .args(["-c", &script(&blocks, port)])
        .current_dir(home.path())
        .env("PATH", format!("{}:{path}", folder.display()))
        .process_group(0)
        .stdout(file("said"))
        .stderr(file("log"))
        .spawn()
        .expect("bash runs");
    let group = Pid::from_raw(i32::try_from(child.id()).expect("a pid is small"));
    let status = child.wait().expect("it ends");
    // What it left in the background, where it broke off; else there is nobody.
    killpg(group, Signal::SIGKILL).unwrap_or_default();
    let said = read("said");
    assert!(status.success(), "{said}\n{}", read("log"));
    let said = shape(&said);
    for (_, text) in blocks.iter().filter(|(language, _)| *language == "text") {
        assert!(said.contains(&shape(text)), "{text} is not among {said}");
    }
    assert!(said.contains("something is wrong"), "{said}");
    assert!(said.contains("pigeon: # passed, # failed, # not checked (--seed 7)"), "{said}");
    assert!(said.contains("good morning 🐦"), "{said}");
}
