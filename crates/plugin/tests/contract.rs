//! The table in `plugins/README.md`: every method of the predecessor's plugins has its counterpart there, and everything
//! that the contract has is somebody's.

const README: &str = include_str!("../../../plugins/README.md");
const CONTRACT: &str = include_str!("../src/contract.rs");

/// What a plugin of the predecessor implemented, and what it called.
const ORIGINAL: &[&str] = &[
    "get_name",
    "get_platform",
    "start",
    "stop",
    "get_message_handler",
    "register_event_handler",
    "emit_event",
    "get_settings",
    "validate_settings",
    "apply_settings",
    "set_message_mode",
    "update_message_mode",
    "process_incoming_message",
    "get_or_create_letta_user",
    "get_or_create_platform_profile",
    "upsert_user",
    "insert_message",
    "add_to_queue",
    "get_message_text",
    "update_message_status",
    "update_message_with_response",
];

/// The rows' two columns.
fn rows() -> Vec<(&'static str, &'static str)> {
    let table = README.split_once("| original | here |\n|---|---|\n").expect("the table is there").1;
    let lines = table.lines().take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split_once(" | ").expect("two columns")).collect()
}

fn spans(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split('`').skip(1).step_by(2)
}

/// The method that a span calls, and whether it is the context's.
fn call(span: &'static str) -> Option<(bool, &'static str)> {
    let (name, _) = span.split_once('(')?;
    let (of_context, name) = name.strip_prefix("ctx.").map_or((false, name), |name| (true, name));
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).then_some((of_context, name))
}

/// The methods of `trait Plugin` or `impl Context`.
fn methods(block: &str) -> Vec<&'static str> {
    let body = CONTRACT.split_once(block).expect("the contract has it").1;
    let body = body.split_once("\n}\n").map_or(body, |(body, _)| body);
    let heads = ["    fn ", "    async fn ", "    pub fn ", "    pub async fn "];
    let name = |line: &'static str| heads.iter().find_map(|head| line.strip_prefix(head))?.split(['(', '<']).next();
    body.lines().filter_map(name).collect()
}

#[test]
fn every_original_method_has_one_counterpart() {
    for original in ORIGINAL {
        let found = rows().into_iter().filter(|(left, _)| spans(left).any(|span| span == *original)).count();
        assert_eq!(found, 1, "{original} in the first column of plugins/README.md");
    }
    for (left, right) in rows() {
        assert!(right.len() > 20, "{left} has no counterpart");
    }
}

#[test]
fn everything_that_the_contract_has_is_in_the_table_and_nothing_else() {
    let (plugin, context) = (methods("pub trait Plugin:"), methods("impl Context {"));
    assert!(plugin.contains(&"run") && context.contains(&"ingest"), "{plugin:?} {context:?}");
    let called: Vec<_> = rows().into_iter().flat_map(|(_, right)| spans(right)).filter_map(call).collect();
    for (of_context, name) in &called {
        let known = if *of_context { &context } else { &plugin };
        assert!(known.contains(name), "plugins/README.md names {name}, which the contract does not have");
    }
    // A plugin is given its context; it makes none.
    for name in context.iter().filter(|name| **name != "new") {
        assert!(called.contains(&(true, *name)), "ctx.{name} is in nobody's row of plugins/README.md");
    }
    for name in &plugin {
        assert!(called.contains(&(false, *name)), "{name} is in nobody's row of plugins/README.md");
    }
}
