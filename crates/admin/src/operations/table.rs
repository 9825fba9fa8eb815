//! The one list of operations. A new one is a file beside this one, and a line here.

use super::{
    AddHold, AnswerBacklog, ApplyBacklog, ApplyReplay, CancelMessage, CatchUpBacklog, CheckAll, ClearMode,
    ClearTargets, DisablePlugin, EnablePlugin, Entry, ExplainMessage, Facts, LetGoBacklog, ListActs, ListConversations,
    ListHolds, ListLetters, ListModeChanges, ListPluginChanges, ListTargets, ListUsers, LoadPlugin, PlanReplay,
    PlanRetention, PreviewBacklog, PreviewReplay, PurgeLetters, ReleaseHolds, ReplayNow, ResolveLetters, RestartPlugin,
    RunRetention, SetMode, ShowBacklog, ShowLetter, ShowMessage, ShowMetrics, ShowModes, ShowRetention, ShowStatus,
    ShowUser, SkipBacklog, StartPlugin, StopPlugin, UnloadPlugin, UpdateUser,
    tokens::{AddToken, ListTokens, RevokeToken},
};

pub static ALL: &[Entry] = &[
    Entry::of::<ShowStatus>(),
    Entry::of::<ShowMetrics>(),
    Entry::of::<CheckAll>(),
    Entry::of::<ShowMessage>(),
    Entry::of::<ExplainMessage>(),
    Entry::of::<CancelMessage>(),
    Entry::of::<ListLetters>(),
    Entry::of::<ShowLetter>(),
    Entry::of::<ResolveLetters>(),
    Entry::of::<PurgeLetters>(),
    Entry::of::<PreviewReplay>(),
    Entry::of::<PlanReplay>(),
    Entry::of::<ApplyReplay>(),
    Entry::of::<ReplayNow>(),
    Entry::of::<ShowBacklog>(),
    Entry::of::<PreviewBacklog>(),
    Entry::of::<AnswerBacklog>(),
    Entry::of::<CatchUpBacklog>(),
    Entry::of::<SkipBacklog>(),
    Entry::of::<ApplyBacklog>(),
    Entry::of::<LetGoBacklog>(),
    Entry::of::<ShowModes>(),
    Entry::of::<SetMode>(),
    Entry::of::<ClearMode>(),
    Entry::of::<ListModeChanges>(),
    Entry::of::<ListPluginChanges>(),
    Entry::of::<EnablePlugin>(),
    Entry::of::<DisablePlugin>(),
    Entry::of::<LoadPlugin>(),
    Entry::of::<UnloadPlugin>(),
    Entry::of::<StartPlugin>(),
    Entry::of::<StopPlugin>(),
    Entry::of::<RestartPlugin>(),
    Entry::of::<ListTargets>(),
    Entry::of::<ClearTargets>(),
    Entry::of::<ListHolds>(),
    Entry::of::<AddHold>(),
    Entry::of::<ReleaseHolds>(),
    Entry::of::<ListUsers>(),
    Entry::of::<ShowUser>(),
    Entry::of::<UpdateUser>(),
    Entry::of::<ListConversations>(),
    Entry::of::<ShowRetention>(),
    Entry::of::<PlanRetention>(),
    Entry::of::<RunRetention>(),
    Entry::of::<ListActs>(),
    Entry::of::<ListTokens>(),
    Entry::of::<AddToken>(),
    Entry::of::<RevokeToken>(),
];

/// Nothing stands against it: it is not in the table yet.
const LATER: &str = "it is not served by HTTP and MCP yet";

/// Commands that are no operation, each with the reason why the other ways do not have it.
pub static COMMANDS_ALONE: &[(&str, &str)] = &[
    ("up", "it is the processes themselves: whoever runs them decides on their machine"),
    ("worker", "it is a process"),
    ("plugin run", "it is a process"),
    ("plugin list", "it reads the settings file of the machine it runs on"),
    ("plugin schema", "it reads the settings file of the machine it runs on"),
    ("plugin exec", "it is a process"),
    ("plugin protocol", "it prints what is built in"),
    ("backup", "it writes a file on the machine it runs on"),
    ("events", "it goes on until it is stopped"),
    ("access list", LATER),
    ("access allow", LATER),
    ("access deny", LATER),
    ("access admin", LATER),
    ("access remove", LATER),
    ("ignore list", LATER),
    ("ignore add", LATER),
    ("ignore remove", LATER),
    ("ignore import", "it reads a file of the machine it runs on"),
    ("pairing list", LATER),
    ("pairing approve", LATER),
    ("pairing revoke", LATER),
    ("users activate", LATER),
    ("users deactivate", LATER),
    ("users set", LATER),
    ("plugin show", "it reads the settings file and the environment of the machine it runs on"),
    (
        "plugin set",
        "what it leaves is checked with the settings file, the environment and the files of the machine it runs on",
    ),
    (
        "plugin unset",
        "what it leaves is checked with the settings file, the environment and the files of the machine it runs on",
    ),
    ("migrate", "until it ran, no server can answer"),
    ("doctor", "it looks at this machine, too, and mends what no serving process may"),
    ("users forget", "it cannot be taken back, may wait for turns, and speaks to the agents with their keys"),
    ("export", "it writes files on the machine it runs on"),
    ("nats apply", "it needs rights at the broker that no serving process has"),
    ("config show", "it reads the settings file and the environment of the machine it runs on"),
    ("send", "it speaks as a person, through the socket of the terminal plugin"),
    ("chat", "it speaks as a person, through the socket of the terminal plugin"),
    ("demo", "it starts and kills processes of its own"),
    ("bench", "it starts processes of its own"),
    ("api", "it is the HTTP server"),
    ("mcp", "it is the MCP server"),
    ("completions", "it writes a file for a shell"),
    ("man", "it writes files for man"),
];

/// The command of an operation, without options.
pub fn command_of(facts: &Facts) -> &'static str {
    facts.cli.split(" -").next().unwrap_or(facts.cli)
}

pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.facts.name == name)
}
