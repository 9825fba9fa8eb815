//! `broca --describe`: every command as JSON, out of its own definition, so that a host can offer them as tools.

use broca_admin::operations::table;
use clap::{Arg, Command, CommandFactory};
use serde_json::{Value, json};

use crate::{cli::Cli, failure::Failure, output::Output};

/// What asks for it, alone on the command line.
pub(crate) const FLAG: &str = "--describe";

pub(crate) fn run(output: Output) -> Result<(), Failure> {
    output.json(&description())
}

fn description() -> Value {
    let root = built();
    let mut commands = Vec::new();
    collect(&root, &mut Vec::new(), &mut commands);
    let globals: Vec<Value> = root.get_arguments().filter(|arg| arg.is_global_set()).map(argument).collect();
    json!({
        "schema_version": 1,
        "name": root.get_name(),
        "version": root.get_version(),
        "about": root.get_about().map(ToString::to_string),
        "json": "add --json to any command: its result, or {\"error\": …}, alone on standard output",
        "exit_codes": EXIT_CODES.iter().map(|(code, meaning)| json!({"code": code, "meaning": meaning})).collect::<Vec<_>>(),
        "global_arguments": globals,
        "commands": commands,
    })
}

const EXIT_CODES: &[(u8, &str)] = &[
    (0, "ok"),
    (1, "failure"),
    (2, "usage"),
    (3, "not found"),
    (4, "conflict"),
    (5, "unauthorised"),
    (6, "unavailable or timeout"),
    (7, "partial"),
];

/// With what clap adds by itself.
pub(crate) fn built() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// Every command that does something, the hidden ones left out.
fn collect(command: &Command, path: &mut Vec<String>, found: &mut Vec<Value>) {
    // One whose part below may be left out does something by itself, too.
    let below = || command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    if (below().next().is_none() || !command.is_subcommand_required_set()) && !path.is_empty() {
        found.push(described(command, path));
    }
    for sub in below() {
        path.push(sub.get_name().to_owned());
        collect(sub, path, found);
        path.pop();
    }
}

fn described(command: &Command, path: &[String]) -> Value {
    let name = path.join(" ");
    let operations = table::ALL.iter().filter(|entry| table::command_of(&entry.facts) == name).map(|entry| {
        let facts = &entry.facts;
        json!({"name": facts.name, "access": facts.access, "effect": facts.effect.name(), "usage": format!("broca {}", facts.cli)})
    });
    let arguments =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help");
    json!({
        "command": path,
        "about": command.get_about().map(ToString::to_string),
        "more": command.get_after_help().map(ToString::to_string),
        "arguments": arguments.map(argument).collect::<Vec<_>>(),
        "operations": operations.collect::<Vec<_>>(),
    })
}

fn argument(arg: &Arg) -> Value {
    let takes_values = arg.get_action().takes_values();
    let values = if takes_values { arg.get_possible_values() } else { Vec::new() };
    let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    let defaults: Vec<_> = arg.get_default_values().iter().filter_map(|value| value.to_str()).collect();
    let names = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string);
    json!({
        "name": arg.get_id().as_str(),
        "flag": arg.get_long().map(|long| format!("--{long}")),
        "short": arg.get_short().map(|short| format!("-{short}")),
        "positional": arg.is_positional(),
        "required": arg.is_required_set(),
        "takes_value": takes_values,
        "repeats": arg.get_num_args().is_some_and(|range| range.max_values() > 1)
            || matches!(arg.get_action(), clap::ArgAction::Append),
        "value": names.collect::<Vec<_>>().first(),
        "one_of": values,
        "default": if takes_values { defaults.first().copied() } else { None },
        "env": arg.get_env().and_then(|name| name.to_str()),
        "help": arg.get_help().map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_is_an_operation_or_says_why_it_is_alone() {
        let commands: BTreeSet<String> = description()["commands"]
            .as_array()
            .unwrap()
            .iter()
            .map(|command| {
                let words: Vec<&str> =
                    command["command"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
                words.join(" ")
            })
            .collect();
        let operations: BTreeSet<String> =
            table::ALL.iter().map(|entry| table::command_of(&entry.facts).to_owned()).collect();
        let alone: BTreeSet<String> = table::COMMANDS_ALONE.iter().map(|(command, _)| (*command).to_owned()).collect();
        assert_eq!(operations.intersection(&alone).next(), None);
        let listed: BTreeSet<String> = operations.union(&alone).cloned().collect();
        let nowhere: Vec<&String> = commands.difference(&listed).collect();
        assert!(nowhere.is_empty(), "add these to admin's table of operations, or say why they are alone: {nowhere:?}");
        let gone: Vec<&String> = listed.difference(&commands).collect();
        assert!(gone.is_empty(), "the table names commands that there are not: {gone:?}");
    }

    #[test]
    fn options_of_the_table_are_there() {
        let root = built();
        for entry in table::ALL {
            let words: Vec<&str> = entry.facts.cli.split(' ').collect();
            let mut command = &root;
            for word in words.iter().take_while(|word| !word.starts_with('-')) {
                command = command.find_subcommand(word).unwrap_or_else(|| panic!("{}", entry.facts.cli));
            }
            for option in words.iter().filter_map(|word| word.strip_prefix("--")) {
                assert!(command.get_arguments().any(|arg| arg.get_long() == Some(option)), "{}", entry.facts.cli);
            }
        }
    }

    #[test]
    fn an_argument_tells_what_a_host_needs() {
        let described = description();
        let commands = described["commands"].as_array().unwrap();
        let list = commands.iter().find(|command| command["command"] == json!(["dlq", "list"])).unwrap();
        let limit = list["arguments"].as_array().unwrap().iter().find(|arg| arg["flag"] == "--limit").unwrap();
        assert_eq!((&limit["default"], &limit["takes_value"]), (&json!("50"), &json!(true)));
        assert_eq!(list["operations"][0]["name"], "dlq.list");
        assert!(described["global_arguments"].as_array().unwrap().iter().any(|arg| arg["flag"] == "--json"));
        assert!(!commands.iter().any(|command| command["command"][0] == "rehearse"), "hidden");
    }
}
