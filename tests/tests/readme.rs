//! The READMEs say what is there: their commands and flags exist, their settings are settings, and what they link to
//! or name is a file.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use broca_tests::Home;

const READMES: [&str; 7] = [
    "README.md",
    "crates/README.md",
    "crates/broca/ORIGINAL.md",
    "crates/letta/README.md",
    "plugins/README.md",
    "nats/README.md",
    "deploy/monitoring/runbooks.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository").to_owned()
}

fn read(readme: &str) -> String {
    fs::read_to_string(root().join(readme)).unwrap_or_else(|error| panic!("{readme}: {error}"))
}

/// The lines of the fenced blocks.
fn block_lines(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    // The first line of a block is the name of its language.
    blocks.flat_map(|block| block.lines().skip(1)).map(str::to_owned).collect()
}

/// What stands between single backticks.
fn code_spans(text: &str) -> Vec<String> {
    let without_blocks: String = text.split("```").step_by(2).collect();
    without_blocks.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The arguments of a line that runs the binary, and the flags that it or its comment names.
fn broca_call(line: &str) -> Option<(Vec<String>, Vec<String>)> {
    let mut words = line.split_whitespace();
    let program = words.next()?;
    if !["broca", "target/release/broca"].contains(&program) {
        return None;
    }
    let is_flag = |word: &str| word.starts_with("--");
    let trimmed = |word: &str| word.trim_end_matches([',', '.', ';', ':']).to_owned();
    let flags = line.split_whitespace().filter(|word| is_flag(word)).map(trimmed).collect();
    let args = words.take_while(|word| !word.starts_with(['-', '#', '"']));
    Some((args.map(str::to_owned).collect(), flags))
}

/// The help of the subcommand that `args` begin with. What follows may be its arguments, but a group of subcommands
/// takes none.
fn help(home: &Home, args: &[String]) -> Option<String> {
    (1..=args.len()).rev().find_map(|count| {
        let words: Vec<&str> = args[..count].iter().map(String::as_str).chain(["--help"]).collect();
        let said = home.run(&words);
        let usage = said.stdout.lines().find_map(|line| line.trim().strip_prefix("Usage: broca ")).unwrap_or_default();
        // By its own name, which an alias is not.
        let its_words = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-'])).count();
        let is_its_own = its_words == count;
        let is_group = said.stdout.contains("\nCommands:");
        (said.code == 0 && is_its_own && (count == args.len() || !is_group)).then_some(said.stdout)
    })
}

#[test]
fn commands_and_flags_exist() {
    let home = Home::new("");
    let mut complaints = Vec::new();
    let mut calls = 0;
    for readme in READMES {
        let text = read(readme);
        for line in block_lines(&text).into_iter().chain(code_spans(&text)) {
            let Some((args, flags)) = broca_call(&line).filter(|(args, _)| !args.is_empty()) else { continue };
            calls += 1;
            match help(&home, &args) {
                None => complaints.push(format!("{readme}: there is no `{line}`")),
                Some(help) => {
                    let unknown = flags.iter().filter(|flag| !help.contains(flag.as_str()));
                    complaints.extend(unknown.map(|flag| format!("{readme}: `{line}` has no {flag}")));
                }
            }
        }
    }
    assert_eq!(complaints, [""; 0]);
    assert!(calls >= 15, "only {calls} calls were found");
}

#[test]
fn settings_that_are_named_are_settings() {
    let home = Home::new("");
    let text = read("README.md");
    let exported = block_lines(&text).into_iter().filter_map(|line| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.split_whitespace().next().unwrap_or_default().to_owned()))
    });
    let named = code_spans(&text).into_iter().filter_map(|span| {
        let (name, value) = span.split_once('=')?;
        name.starts_with("BROCA_").then(|| (name.to_owned(), value.to_owned()))
    });
    let variables: BTreeMap<String, String> = exported.chain(named).collect();
    assert!(variables.len() >= 5, "{variables:?}");
    let mut command = home.command(&["config", "show"]);
    let shown = command.envs(variables.iter()).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    for name in variables.keys() {
        assert!(text.contains(&format!("environment variable {name}")), "{name} sets nothing: {text}");
    }
}

#[test]
fn what_is_named_is_there() {
    let mut complaints = Vec::new();
    for readme in READMES {
        let text = read(readme);
        let folder = root().join(readme).parent().expect("a README lies in a folder").to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in links.filter(|target| !target.contains("://")) {
            let path = target.split('#').next().unwrap_or_default();
            if !folder.join(path).exists() {
                complaints.push(format!("{readme} links to {target}"));
            }
        }
        for span in code_spans(&text).iter().filter(|span| names_a_file(span)) {
            let places = [folder.join(span), root().join(span), root().join("crates").join(span)];
            if !places.iter().any(|place| place.exists()) {
                complaints.push(format!("{readme} names {span}"));
            }
        }
    }
    assert_eq!(complaints, [""; 0]);
    for script in ["deploy/up", "tests/run", "tests/bench", ".ci/run"] {
        let mode = fs::metadata(root().join(script)).unwrap_or_else(|error| panic!("{script}: {error}")).permissions();
        assert!(mode.mode() & 0o111 != 0, "{script} cannot be run");
    }
}

/// A path of the repository, not a pattern, an address or somebody's own file.
fn names_a_file(span: &str) -> bool {
    let plain = span.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let ends = [".rs", ".md", ".sql", ".conf", ".json"].iter().any(|end| span.ends_with(end));
    plain
        && span.contains('/')
        && !span.starts_with('.')
        && (ends || span.starts_with("deploy/") || span.starts_with("tests/"))
}

#[test]
fn a_wrong_line_is_seen() {
    let home = Home::new("");
    let args = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert!(help(&home, &args(&["message", "show", "ID"])).is_some());
    for wrong in [&["mesage", "show"][..], &["message", "sow", "ID"], &["nats", "aply"]] {
        assert!(help(&home, &args(wrong)).is_none(), "{wrong:?}");
    }
    assert_eq!(
        broca_call("target/release/broca send --as alice \"hello\"  # --json, --timeout 60s"),
        Some((args(&["send"]), args(&["--as", "--json", "--timeout"])))
    );
    assert_eq!(broca_call("tests/run"), None);
}
