//! OPERATIONS.md is the table of operations, word for word.

use broca_admin::operations::{Entry, table};
use broca_store::Via;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/OPERATIONS.md");

fn line(entry: &Entry) -> String {
    let facts = &entry.facts;
    let way = |via: Via, how: String| facts.why_not(via).map_or(how, |_| "none".to_owned());
    let again = if facts.effect.is_idempotent() { "yes" } else { "no" };
    let steps = if facts.effect.name() == "destroys" { " (2 steps)" } else { "" };
    [
        format!("`{}`", facts.name),
        facts.summary.to_owned(),
        facts.access.to_string(),
        facts.effect.name().to_owned(),
        again.to_owned(),
        way(Via::Cli, format!("`broca {}`", facts.cli)),
        way(Via::Mcp, format!("`{}`{steps}", facts.name.replace('.', "_"))),
        way(Via::Http, format!("`POST /v1/operations/{}`", facts.name)),
    ]
    .join(" | ")
}

fn reference() -> String {
    let mut text = "# The operations\n\n\
        All that an operator can ask or have done, by the command line, MCP and HTTP. This file is written from the table in \
        `src/operations/table.rs` by `BROCA_TEST_WRITE=1 cargo test -p broca-admin --test reference`. Requests and answers: \
        `GET /v1/operations` has their JSON schemas.\n\n\
        | operation | what | access | effect | twice is as once | command line | MCP tool | HTTP |\n\
        |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for entry in table::ALL {
        text.push_str(&format!("| {} |\n", line(entry)));
    }
    text.push_str("\n## What is missing on some way, and why\n\n");
    for entry in table::ALL {
        for (via, why) in entry.facts.absent {
            text.push_str(&format!("- `{}` is not done by {}: {why}.\n", entry.facts.name, via.as_str()));
        }
    }
    text.push_str("\nThese commands are on the command line alone:\n\n| command | why |\n|---|---|\n");
    for (command, why) in table::COMMANDS_ALONE {
        text.push_str(&format!("| `broca {command}` | {why} |\n"));
    }
    text
}

#[test]
fn the_reference_is_the_table() {
    if std::env::var_os("BROCA_TEST_WRITE").is_some() {
        std::fs::write(FILE, reference()).unwrap();
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(written == reference(), "OPERATIONS.md is not the table any more: run this test with BROCA_TEST_WRITE=1");
}

#[test]
fn the_table_makes_sense() {
    let mut names: Vec<&str> = table::ALL.iter().map(|entry| entry.facts.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "two operations of one name");
    for entry in table::ALL {
        let facts = &entry.facts;
        let parts: Vec<&str> = facts.name.split('.').collect();
        let plain = |part: &&str| part.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !part.is_empty();
        assert!(parts.len() == 2 && parts.iter().all(plain), "{}", facts.name);
        assert!(facts.summary.ends_with(['.', '?']) && facts.summary.len() < 140, "{}", facts.name);
        assert_eq!(
            facts.access > broca_core::rights::Access::Read,
            facts.changes() || facts.name == "token.list",
            "{}",
            facts.name
        );
        for schema in [entry.request_schema(), entry.answer_schema()] {
            assert_eq!(schema["type"], "object", "{}: {schema:#}", facts.name);
        }
        let strict = entry.request_schema()["additionalProperties"] == false;
        assert!(strict, "{}: a misspelt field of a request must be refused", facts.name);
    }
}
