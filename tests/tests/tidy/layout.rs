//! Rules about what lies where.

use std::collections::BTreeSet;

use crate::tree::Tree;

/// `migrations/sqlite` and `migrations/postgres` hold files of the same names, numbered without a gap.
pub(crate) fn migrations_match(tree: &Tree) -> Vec<String> {
    let of = |database: &str| -> BTreeSet<String> {
        let prefix = format!("migrations/{database}/");
        tree.files().filter_map(|(path, _)| path.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    let (sqlite, postgres) = (of("sqlite"), of("postgres"));
    let mut complaints: Vec<String> = sqlite
        .symmetric_difference(&postgres)
        .map(|name| format!("migrations: {name} is there for one database alone"))
        .collect();
    for (place, name) in sqlite.iter().enumerate() {
        let number = format!("{:04}_", place + 1);
        if !name.starts_with(&number) || !name.ends_with(".sql") {
            complaints.push(format!("migrations: {name} should be {number}….sql"));
        }
    }
    if sqlite.is_empty() {
        complaints.push("migrations: there are none".to_owned());
    }
    complaints
}

const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "crates",
    "plugins",
    "migrations",
    "nats",
    "deploy",
    "tests",
];

pub(crate) fn top_level_is_small(tree: &Tree) -> Vec<String> {
    let names: BTreeSet<&str> = tree.files().filter_map(|(path, _)| path.split('/').next()).collect();
    let extra = names.into_iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name));
    extra.map(|name| format!("{name}: the top level holds only {}", TOP_LEVEL.join(", "))).collect()
}

/// Nothing may work on its author's machine alone.
pub(crate) fn no_machine_paths(tree: &Tree) -> Vec<String> {
    // In pieces, so that this file does not complain about itself.
    let roots: Vec<String> = ["work", "root", "home", "Users", "farm"].iter().map(|name| format!("/{name}/")).collect();
    let mut complaints = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| *path != "Cargo.lock") {
        for (at, line) in text.lines().enumerate() {
            if roots.iter().any(|root| starts_a_path(line, root)) {
                complaints.push(format!("{path}:{}: a path of one machine: `{}`", at + 1, line.trim()));
            }
        }
    }
    complaints
}

/// Whether `root` stands in the line and does not go on from something before it.
fn starts_a_path(line: &str, root: &str) -> bool {
    line.match_indices(root).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '}' | ')' | '*' | '>'))
    })
}

pub(crate) fn readme_names_commands(tree: &Tree) -> Vec<String> {
    let readme = tree.get("README.md").unwrap_or_default();
    let missing = ["deploy/up", "tests/run"].into_iter().filter(|command| !readme.contains(command));
    missing.map(|command| format!("README.md does not say what {command} does")).collect()
}

#[test]
fn a_migration_for_one_database_is_seen() {
    let sql = |path: &'static str| (path, "select 1;");
    let good = [sql("migrations/sqlite/0001_a.sql"), sql("migrations/postgres/0001_a.sql")];
    assert_eq!(migrations_match(&Tree::of(&good)), Vec::<String>::new());
    let one = [good.as_slice(), &[sql("migrations/postgres/0002_b.sql")]].concat();
    assert_eq!(migrations_match(&Tree::of(&one)).len(), 1);
    let gap = [good.as_slice(), &[sql("migrations/postgres/0003_b.sql"), sql("migrations/sqlite/0003_b.sql")]].concat();
    assert_eq!(migrations_match(&Tree::of(&gap)).len(), 1);
    assert_eq!(migrations_match(&Tree::of(&[])).len(), 1);
}

#[test]
fn a_new_top_level_name_is_seen() {
    let tree = Tree::of(&[("rustfmt.toml", ""), (".rustfmt.toml", ""), ("crates/a/x.rs", ""), ("scripts/x", "")]);
    assert_eq!(top_level_is_small(&tree).len(), 2);
}

#[test]
fn a_path_of_one_machine_is_seen() {
    let path = |name: &str| format!("cp '/{name}/me/file' .");
    for bad in ["work", "root", "home", "Users"].map(path) {
        assert_eq!(no_machine_paths(&Tree::of(&[("deploy/x", &bad)])).len(), 1, "{bad}");
    }
    let fine = "see src/work/mod.rs, ./root/x, https://a.example/home/ and crates/broca/work/";
    assert_eq!(no_machine_paths(&Tree::of(&[("deploy/x", fine)])), Vec::<String>::new());
}

#[test]
fn a_readme_without_the_commands_is_seen() {
    assert_eq!(readme_names_commands(&Tree::of(&[])).len(), 2);
    assert_eq!(readme_names_commands(&Tree::of(&[("README.md", "`deploy/up`")])).len(), 1);
}
