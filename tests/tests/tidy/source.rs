//! Rules about Rust files.

use crate::tree::Tree;

const MAX_LINES: usize = 600;

pub(crate) fn files_are_short(tree: &Tree) -> Vec<String> {
    let long = tree.rust().map(|(path, text)| (path, text.lines().count())).filter(|(_, lines)| *lines > MAX_LINES);
    long.map(|(path, lines)| format!("{path}: {lines} lines, more than {MAX_LINES}; split it by concept")).collect()
}

/// A production line that may panic has `// Unwrap safety:` in the comment directly above it.
pub(crate) fn unwraps_are_explained(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in production(tree) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if !is_comment(line) && PANICS.iter().any(|panics| line.contains(panics)) && !explained(&lines[..at]) {
                complaints.push(format!("{path}:{}: no `// Unwrap safety:` above `{}`", at + 1, line.trim()));
            }
        }
    }
    complaints
}

const PANICS: &[&str] = &[".unwrap()", ".expect(", ".unwrap_err()", ".expect_err(", "unreachable!("];

fn explained(above: &[&str]) -> bool {
    above.iter().rev().take_while(|line| is_comment(line)).any(|line| line.contains("// Unwrap safety:"))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// `let _ =` hides what became of a write, a publish or an ack.
pub(crate) fn nothing_is_thrown_away(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in production(tree) {
        for (at, line) in text.lines().enumerate() {
            let thrown = line.trim_start().strip_prefix("let _ = ").filter(|_| !is_comment(line));
            if thrown.is_some_and(|what| {
                [".await", "store", "publish", "ack", "send("].iter().any(|word| what.contains(word))
            }) {
                complaints.push(format!("{path}:{}: a result is thrown away: `{}`", at + 1, line.trim()));
            }
        }
    }
    complaints
}

/// Built here, so that this file does not complain about itself.
fn unfinished_marks() -> [String; 6] {
    ["todo", "unimplemented", "dbg"]
        .map(|name| format!("{name}!("))
        .into_iter()
        .chain(["FIX", "X", "HA"].into_iter().zip(["ME", "XX", "CK"]).map(|(a, b)| format!("{a}{b}")))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

pub(crate) fn nothing_is_unfinished(tree: &Tree) -> Vec<String> {
    let marks = unfinished_marks();
    let ignored = format!("#[{}", "ignore");
    let mut complaints = Vec::new();
    for (path, text) in tree.rust() {
        for (at, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) || line.trim_start().starts_with(&ignored) {
                complaints.push(format!("{path}:{}: unfinished: `{}`", at + 1, line.trim()));
            }
        }
    }
    complaints
}

/// The parts of files that run outside tests: up to the test module at the end.
fn production(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.rust().filter(|(path, _)| !is_test_file(path)).map(|(path, text)| {
        let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        (path, &text[..end])
    })
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/examples/")
}

#[test]
fn a_long_file_is_seen() {
    let long = "x\n".repeat(MAX_LINES + 1);
    let tree = Tree::of(&[("crates/a/src/lib.rs", &long), ("crates/a/src/b.rs", "x\n")]);
    assert_eq!(files_are_short(&tree).len(), 1);
}

#[test]
fn a_bare_unwrap_is_seen_and_an_explained_one_is_not() {
    let bad = "fn f() {\n    x.unwrap();\n}\n";
    let good = "// Unwrap safety: x is set above,\n// always.\nx.unwrap();\n// .unwrap() in a comment\n#[cfg(test)]\nmod tests {\n    y.unwrap();\n}\n";
    let tree = Tree::of(&[("crates/a/src/bad.rs", bad), ("crates/a/src/good.rs", good), ("tests/tests/x.rs", bad)]);
    let complaints = unwraps_are_explained(&tree);
    assert!(complaints.len() == 1 && complaints[0].starts_with("crates/a/src/bad.rs:2:"), "{complaints:?}");
    let early = "#[cfg(test)]\nmod tests;\nfn f() { x.expect(\"y\"); }\n";
    assert_eq!(unwraps_are_explained(&Tree::of(&[("crates/a/src/early.rs", early)])).len(), 1);
}

#[test]
fn a_thrown_away_publish_is_seen() {
    let bad = "    let _ = bus.publish(wake).await;\n";
    let tree = Tree::of(&[("crates/a/src/bad.rs", bad), ("crates/a/src/good.rs", "let _ = guard;\n")]);
    assert_eq!(nothing_is_thrown_away(&tree).len(), 1);
}

#[test]
fn unfinished_work_is_seen() {
    for mark in unfinished_marks().into_iter().chain([format!("#[{}]", "ignore")]) {
        let tree = Tree::of(&[("crates/a/src/bad.rs", &format!("{mark} x\n"))]);
        assert_eq!(nothing_is_unfinished(&tree).len(), 1, "{mark}");
    }
}
