//! Rules about Cargo.toml files: who may depend on whom.

use toml::Table;

use crate::tree::Tree;

/// Who may name which of our crates, in what is shipped. `None` means all but the test crates.
fn may_depend_on(package: &str) -> Option<&'static [&'static str]> {
    match package {
        "broca-core" | "broca-servers" => Some(&[]),
        "broca-store" | "broca-bus" | "broca-letta" | "broca-plugin" => Some(&["broca-core"]),
        "broca-rehearsal" => Some(&["broca-core", "broca-plugin"]),
        "broca-pipeline" => Some(&["broca-core", "broca-store", "broca-bus", "broca-letta", "broca-plugin"]),
        "broca-admin" => Some(&["broca-core", "broca-store", "broca-bus"]),
        "broca" | "broca-tests" => None,
        plugin if plugin.starts_with("broca-plugin-") => Some(&["broca-core", "broca-plugin"]),
        _ => Some(&[]),
    }
}

/// Crates of others that stand behind a fence, and who keeps it.
const FENCED: &[(&str, &[&str])] = &[
    ("sqlx", &["broca-store"]),
    ("async-nats", &["broca-bus"]),
    ("backoff", &["broca-core"]),
    ("reqwest", &["broca-letta", "broca-plugin-", "broca-servers"]),
];

const TEST_CRATES: &[&str] = &["broca-servers", "broca-tests"];

pub(crate) fn edges_are_allowed(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, manifest) in members(tree) {
        let package = name(&manifest);
        let allowed = may_depend_on(&package);
        for dependency in keys(&manifest, "dependencies").chain(keys(&manifest, "build-dependencies")) {
            let ours = dependency == "broca" || dependency.starts_with("broca-");
            let test_crate = TEST_CRATES.contains(&dependency.as_str()) && package != "broca-tests";
            if ours && (test_crate || allowed.is_some_and(|allowed| !allowed.contains(&dependency.as_str()))) {
                complaints.push(format!("{path}: {package} may not depend on {dependency}; see crates/README.md"));
            }
            let fence = FENCED.iter().find(|(fenced, _)| *fenced == dependency);
            if let Some((fenced, keepers)) = fence
                && !keepers
                    .iter()
                    .any(|keeper| package == *keeper || (keeper.ends_with('-') && package.starts_with(keeper)))
            {
                complaints.push(format!("{path}: only {} may name {fenced}", keepers.join(" and ")));
            }
        }
    }
    complaints
}

/// Version, edition, licence and lints are said once, in the workspace.
pub(crate) fn members_inherit(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, manifest) in members(tree) {
        let inherits = |table: &str, key: &str| {
            let value = manifest.get(table).and_then(|table| if key.is_empty() { Some(table) } else { table.get(key) });
            value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
        };
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !inherits("package", key) {
                complaints.push(format!("{path}: {key}.workspace = true is missing"));
            }
        }
        if !inherits("lints", "") {
            complaints.push(format!("{path}: [lints] workspace = true is missing"));
        }
    }
    complaints
}

/// A crate that is a workspace of its own, such as an example for authors of plugins, is no member.
fn members(tree: &Tree) -> impl Iterator<Item = (&str, Table)> {
    let manifests = tree.files().filter(|(path, _)| path.ends_with("/Cargo.toml"));
    let parsed = manifests.map(|(path, text)| {
        let manifest: Table = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        (path, manifest)
    });
    parsed.filter(|(_, manifest)| !manifest.contains_key("workspace"))
}

fn name(manifest: &Table) -> String {
    manifest["package"]["name"].as_str().unwrap_or_default().to_owned()
}

fn keys(manifest: &Table, section: &str) -> impl Iterator<Item = String> {
    manifest
        .get(section)
        .and_then(toml::Value::as_table)
        .into_iter()
        .flat_map(|table| table.keys().cloned().collect::<Vec<_>>())
}

#[test]
fn a_forbidden_edge_is_seen() {
    let store = "[package]\nname = 'broca-store'\n[dependencies]\nbroca-core = {}\nbroca-bus = {}\n[dev-dependencies]\nbroca-servers = {}\n";
    let plugin = "[package]\nname = 'broca-plugin-x'\n[dependencies]\nreqwest = {}\nsqlx = {}\nbroca-servers = {}\n";
    let stranger = "[package]\nname = 'broca-new'\n[dependencies]\nbroca-core = {}\n";
    let tree = Tree::of(&[
        ("crates/store/Cargo.toml", store),
        ("plugins/x/Cargo.toml", plugin),
        ("crates/new/Cargo.toml", stranger),
    ]);
    let complaints = edges_are_allowed(&tree).join("\n");
    for part in [
        "broca-store may not depend on broca-bus",
        "only broca-store may name sqlx",
        "on broca-servers",
        "broca-new may not",
    ] {
        assert!(complaints.contains(part), "{part}: {complaints}");
    }
    assert_eq!(complaints.lines().count(), 4, "{complaints}");
}

#[test]
fn a_crate_with_rules_of_its_own_is_seen() {
    let own = "[package]\nname = 'a'\nversion = '1.0.0'\nedition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n";
    let complaints = members_inherit(&Tree::of(&[("crates/a/Cargo.toml", own)]));
    assert_eq!(complaints.len(), 2, "{complaints:?}");
}

#[test]
fn a_workspace_of_its_own_has_rules_of_its_own() {
    let own = "[package]\nname = 'x'\nversion = '1.0.0'\n[workspace]\n";
    assert_eq!(members_inherit(&Tree::of(&[("plugins/exec/examples/x/Cargo.toml", own)])), Vec::<String>::new());
}
