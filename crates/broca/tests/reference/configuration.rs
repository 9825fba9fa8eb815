use std::fmt::Write;

use serde_json::Value;

use crate::said;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/configuration.md");

const HEAD: &str = "# Configuration\n\n\
    Every key of `broca.toml`, with what it may be and what it is unless somebody says otherwise. This file is written by \
    `BROCA_TEST_WRITE=1 cargo test --locked --workspace --test reference` out of `broca config schema`, which editors can \
    check a file with; [broca.toml](broca.toml) is the same as a sample to start from.\n\n\
    A value comes from its default, then `broca.toml` (or `--config`, `BROCA_CONFIG`), then the original's variables, then the \
    variable named here, then flags; the later wins. `broca config show` says what is in force and where it comes from. A list \
    of tables has one variable, with JSON in it. In a variable, an instance's `-` is `_`.\n\n\
    Settings are read when a process starts. `broca settings reload` has a running `broca up` start its workers and plugins anew \
    with them, without losing what is under way; the keys of `nats`, `database`, `metrics`, `data_dir`, `up.workers` and new \
    instances wait for a new start of `broca up` itself. While everything runs, these are changed: the mode (`broca mode set`), plugins' settings (`broca plugin set`), who may talk (`broca access`), and whether \
    an instance runs (`broca plugin enable`).\n";

struct Row {
    key: String,
    kind: String,
    default: String,
    meaning: String,
}

struct Rows<'a> {
    root: &'a Value,
    found: Vec<Row>,
}

/// What describes a key, behind references and what may also be nothing.
fn behind<'a>(root: &'a Value, described: &'a Value) -> &'a Value {
    let some = described["anyOf"].as_array().and_then(|ways| ways.iter().find(|way| way["type"] != "null"));
    match (described["$ref"].as_str(), some) {
        (Some(there), _) => behind(root, root.pointer(there.trim_start_matches('#')).expect("it is there")),
        (None, Some(some)) => behind(root, some),
        (None, None) => described,
    }
}

impl Rows<'_> {
    /// `default` is what stands there where nobody says otherwise, as far as a table above says so.
    fn walk(&mut self, key: &str, described: &Value, default: &Value) {
        let there = behind(self.root, described);
        let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
        if let Some(fields) = there["properties"].as_object() {
            for (name, field) in fields {
                let default = default.get(name).unwrap_or(&field["default"]);
                self.walk(&below(name), field, default);
            }
            return;
        }
        let tables = |of: &Value| behind(self.root, of)["properties"].is_object();
        for (part, place) in [("additionalProperties", "<name>"), ("items", "N")] {
            if there.get(part).is_some_and(tables) {
                return self.walk(&below(place), &there[part].clone(), &Value::Null);
            }
        }
        let meaning = described["description"].as_str().or(there["description"].as_str()).unwrap_or_default();
        self.found.push(Row {
            key: key.to_owned(),
            kind: kind(self.root, there),
            default: shown(default),
            meaning: meaning.replace('\n', " "),
        });
    }
}

fn shown(default: &Value) -> String {
    match default {
        Value::Null => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        other => format!("`{other}`"),
    }
}

/// What a value may be, in a few words.
fn kind(root: &Value, described: &Value) -> String {
    let names = |ways: &Value| -> Vec<String> {
        let of = |way: &Value| -> Vec<String> {
            let several = way["enum"].as_array().cloned().unwrap_or_else(|| vec![way["const"].clone()]);
            several.iter().filter_map(Value::as_str).map(|name| format!("`{name}`")).collect()
        };
        ways.as_array().into_iter().flatten().flat_map(of).collect()
    };
    if described["oneOf"].is_array() {
        return names(&described["oneOf"]).join(", ");
    }
    if described["enum"].is_array() {
        let several = described["enum"].as_array().into_iter().flatten();
        return several.filter_map(Value::as_str).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    }
    let named = described["type"].as_str().or_else(|| described["type"][0].as_str()).unwrap_or("anything");
    match (named, described["minimum"].as_u64(), described["maximum"].as_u64()) {
        ("integer", Some(least), Some(most)) => format!("{least} to {most}"),
        ("integer", ..) => "a whole number".to_owned(),
        ("number", ..) => "a number".to_owned(),
        ("boolean", ..) => "`true`, `false`".to_owned(),
        ("array", ..) => format!("a list: {}", kind(root, behind(root, &described["items"]))),
        ("object", ..) => "a table".to_owned(),
        ("string", ..) if described["format"] == "password" => "a secret".to_owned(),
        ("string", ..) if described["format"] == "uri" => "an address".to_owned(),
        _ => "a text".to_owned(),
    }
}

/// The variable that sets a key.
fn variable(key: &str) -> String {
    if key.starts_with("routes.") {
        return "in `BROCA_ROUTES`".to_owned();
    }
    let parts: Vec<String> = key.split('.').map(|part| part.to_ascii_uppercase()).collect();
    format!("`BROCA_{}`", parts.join("__"))
}

fn reference() -> String {
    let root: Value = serde_json::from_str(&said(&["config", "schema"])).expect("JSON");
    let mut rows = Rows { root: &root, found: Vec::new() };
    rows.walk("", &root, &Value::Null);
    let (mut text, mut section) = (HEAD.to_owned(), None);
    let table = |row: &Row| row.key.split_once('.').map_or_else(String::new, |(table, _)| table.to_owned());
    rows.found.sort_by_key(|row| (table(row), row.key.clone()));
    for row in &rows.found {
        let of = table(row);
        if section.as_ref() != Some(&of) {
            let title = if of.is_empty() { "Beside the tables" } else { of.as_str() };
            write!(text, "\n## {title}\n\n| key | may be | unless set | variable | meaning |\n|---|---|---|---|---|\n")
                .expect("a text takes text");
            section = Some(of);
        }
        let Row { key, kind, default, meaning } = row;
        let key = key.replacen("routes.N", "routes[]", 1);
        let variable = variable(&row.key);
        writeln!(text, "| `{key}` | {kind} | {default} | {variable} | {meaning} |").expect("a text takes text");
    }
    text
}

#[test]
fn the_reference_is_what_settings_may_be() {
    if std::env::var_os("BROCA_TEST_WRITE").is_some() {
        std::fs::write(FILE, reference()).expect("it is written");
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        written == reference(),
        "configuration.md is not what settings may be: run this test with BROCA_TEST_WRITE=1"
    );
}
