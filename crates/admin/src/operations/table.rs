//! The one list of operations. A new one is a file beside this one, and a line here.

use super::{
    AddHold, ApplyReplay, CancelMessage, CheckAll, ClearTargets, Entry, ExplainMessage, Facts, ListActs,
    ListConversations, ListHolds, ListLetters, ListTargets, ListUsers, PlanReplay, PlanRetention, PreviewReplay,
    PurgeLetters, ReleaseHolds, ReplayNow, ResolveLetters, RunRetention, ShowLetter, ShowMessage, ShowMetrics,
    ShowRetention, ShowStatus, ShowUser, UpdateUser,
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

/// Of commands that came beside the table and are to become operations.
const NOT_YET: &str = "it is not in the table yet";

/// Commands that are no operation, each with the reason why the other ways do not have it.
pub static COMMANDS_ALONE: &[(&str, &str)] = &[
    ("up", "it is the processes themselves: whoever runs them decides on their machine"),
    ("worker", "it is a process"),
    ("plugin run", "it is a process"),
    ("plugin list", "it reads the settings file of the machine it runs on"),
    ("plugin schema", "it reads the settings file of the machine it runs on"),
    ("migrate", "until it ran, no server can answer"),
    ("doctor", "it looks at this machine, too, and mends what no serving process may"),
    ("users forget", "it cannot be taken back, may wait for turns, and speaks to the agents with their keys"),
    ("export", "it writes files on the machine it runs on"),
    ("backup", "it writes a file on the machine it runs on"),
    ("events", "it goes on for as long as somebody looks"),
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
    ("access list", NOT_YET),
    ("access allow", NOT_YET),
    ("access deny", NOT_YET),
    ("access admin", NOT_YET),
    ("access remove", NOT_YET),
    ("ignore add", NOT_YET),
    ("ignore list", NOT_YET),
    ("ignore remove", NOT_YET),
    ("ignore import", NOT_YET),
    ("pairing list", NOT_YET),
    ("pairing approve", NOT_YET),
    ("pairing revoke", NOT_YET),
    ("backlog", NOT_YET),
    ("backlog answer", NOT_YET),
    ("backlog catch-up", NOT_YET),
    ("backlog skip", NOT_YET),
    ("backlog apply", NOT_YET),
    ("backlog let-go", NOT_YET),
    ("mode show", NOT_YET),
    ("mode set", NOT_YET),
    ("mode clear", NOT_YET),
    ("mode history", NOT_YET),
    ("plugin set", NOT_YET),
    ("plugin unset", NOT_YET),
    ("plugin show", NOT_YET),
    ("plugin history", NOT_YET),
    ("users activate", NOT_YET),
    ("users deactivate", NOT_YET),
    ("users set", NOT_YET),
];

/// The command of an operation, without options.
pub fn command_of(facts: &Facts) -> &'static str {
    facts.cli.split(" -").next().unwrap_or(facts.cli)
}

pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.facts.name == name)
}
