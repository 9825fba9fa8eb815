//! The command line.

use std::path::PathBuf;

use broca_core::route::Mode;
use clap::{Args, Parser, Subcommand};

use crate::{
    commands,
    config::Flag,
    output::{Colour, Format},
};

#[derive(Debug, Parser)]
#[command(
    name = "broca",
    version,
    about = "Carries chat messages between platforms and Letta agents, durably",
    after_help = "Settings come from broca.toml, the environment (BROCA_…) and flags; `broca config show` prints them.\n\
                  `broca --describe` tells every command as JSON.\n\
                  Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict, 5 unauthorised, 6 unavailable or timeout, 7 partial."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Over the options of [`Global`] in every help.
const EVERYWHERE: &str = "Everywhere";

/// Accepted before and after the subcommand.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The settings file [default: ./broca.toml, if it is there]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where an embedded Broca keeps everything [default: ./broca-data]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The NATS server [default: the running `broca up`'s]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "URL")]
    pub(crate) nats_url: Option<String>,
    /// postgres://… or sqlite:<path> [default: SQLite in the data folder]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Folders with a plugin.toml, or with such folders in them, separated by commas
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    plugins: Option<String>,
    /// error, warn, info, debug, trace, or a filter
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "LEVEL")]
    log_level: Option<String>,
    /// pretty or json, on standard error
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Who acts, for the audit log [default: the user of this terminal]
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "BROCA_ACTOR", value_name = "NAME")]
    pub(crate) actor: Option<String>,
    /// The deployment, by its name in `broca context list` [default: BROCA_CONTEXT, or the current one]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Results as JSON on standard output; the same as `--output json`
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
    /// How results are written
    #[arg(short, long, global = true, help_heading = EVERYWHERE, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// Colours in what is for people
    #[arg(long, global = true, help_heading = EVERYWHERE, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: Colour,
    /// More of the log on standard error; the same as `--log-level info`, and twice as `--log-level debug`
    #[arg(short, long, global = true, help_heading = EVERYWHERE, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Global {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output.unwrap_or_default() }
    }

    fn wordy(&self) -> Option<String> {
        let level = match self.verbose {
            0 => return None,
            1 => "info",
            _ => "debug",
        };
        Some(level.to_owned())
    }

    fn flags(&self) -> Vec<Flag> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        [
            Flag::given("--data-dir", "data_dir", path(&self.data_dir)),
            Flag::given("--nats-url", "nats.url", self.nats_url.clone()),
            Flag::given("--database-url", "database.url", self.database_url.clone()),
            Flag::given("--plugins", "plugin_folders", self.plugins.clone()),
            Flag::given("--verbose", "log.level", self.wordy()),
            Flag::given("--log-level", "log.level", self.log_level.clone()),
            Flag::given("--log-format", "log.format", self.log_format.clone()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What `up` and `worker` do with messages.
#[derive(Debug, Args)]
pub(crate) struct ModeFlag {
    /// echo, listen or live [default: live when an agent is configured, else echo]
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
}

impl ModeFlag {
    fn flag(&self) -> Option<Flag> {
        Flag::given("--mode", "mode", Some(self.mode?.to_string()))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs everything: NATS and SQLite unless others are configured, workers and plugins
    Up(commands::up::Args),
    /// Runs one worker process
    Worker(commands::worker::Args),
    /// Plugin processes, and their settings while they run
    #[command(subcommand, visible_alias = "plugins")]
    Plugin(commands::plugin::Command),
    /// Brings the database's schema up to date
    Migrate(commands::migrate::Args),
    /// The broker's streams and consumers
    #[command(subcommand)]
    Nats(commands::nats::Command),
    /// The settings
    #[command(subcommand, visible_alias = "settings")]
    Config(commands::config::Command),
    /// What waits to be answered, message by message
    #[command(subcommand)]
    Queue(commands::queue::Command),
    /// What is said with whom, and what waits there
    #[command(subcommand, visible_alias = "conversation")]
    Conversations(commands::conversations::Command),
    /// Who answers, and whether they are there
    #[command(subcommand, visible_alias = "agent")]
    Agents(commands::agents::Command),
    /// Which agent answers whom
    #[command(subcommand, visible_alias = "route")]
    Routes(commands::routes::Command),
    /// Several deployments, by name
    #[command(subcommand)]
    Context(commands::context::Command),
    /// Dead letters: what failed
    #[command(subcommand)]
    Dlq(commands::dlq::Command),
    /// Chats and people that take no answers: the bot is blocked, or the chat is gone
    #[command(subcommand)]
    Targets(commands::targets::Command),
    /// What waits to be answered, and what is to become of it after an outage
    Backlog(commands::backlog::Args),
    /// Brings messages and answers back that failed
    Replay(commands::replay::Args),
    /// Keeps something back for a while
    #[command(subcommand)]
    Hold(commands::hold::Command),
    /// What is done with messages, while everything runs: echo, listen or live
    #[command(subcommand)]
    Mode(commands::mode::Command),
    /// What happens, as it happens
    Events(commands::events::Args),
    /// What operators did: who, what, why, and what came of it
    #[command(subcommand)]
    Audit(commands::audit::Command),
    /// Who may call the HTTP and MCP servers
    #[command(subcommand)]
    Token(commands::token::Command),
    /// Serves what operators do over HTTP
    Api(commands::api::Args),
    /// Serves what operators do to MCP hosts
    Mcp(commands::mcp::Args),
    /// Serves a page to look at everything and to act on it, for a browser
    Dashboard(commands::dashboard::Args),
    /// The numbers of the whole deployment
    Metrics(commands::metrics::Args),
    /// People: who wrote, and the deletion of one person's data
    #[command(subcommand)]
    Users(commands::users::Command),
    Export(commands::export::Args),
    /// Copies the embedded database to a file, while everything runs
    Backup(commands::backup::Args),
    /// How long things are kept, and the removal of what is over
    #[command(subcommand)]
    Retention(commands::retention::Command),
    /// Who may talk, and who may not
    #[command(subcommand)]
    Access(commands::access::Command),
    /// Those of whom nothing is taken
    #[command(subcommand)]
    Ignore(commands::ignore::Command),
    /// The codes that strangers were given
    #[command(subcommand)]
    Pairing(commands::pairing::Command),
    /// Is every message over or on its way? For monitors, and after an outage
    Check(commands::check::Args),
    /// Is this deployment as it should be? After an installation, an upgrade, and in CI
    Doctor(commands::doctor::Args),
    /// What waits, what runs, what failed
    Status(commands::status::Args),
    /// What came in, went out and failed lately
    Flow(commands::flow::Args),
    /// How far the broker's consumers are behind
    Queues(commands::queues::Args),
    /// Who works on what
    Workers(commands::workers::Args),
    /// Sends one message as a person of the `cli` platform and waits for the answer
    Send(commands::send::Args),
    /// Talks to the agent from this terminal
    Chat(commands::chat::Args),
    /// A plugin without its platform: you write, and see what goes in and what comes out
    Emulate(commands::emulate::Args),
    /// Why is there no answer?
    Explain(commands::explain::Args),
    /// Messages: found, shown with all that happened to them, cancelled
    #[command(subcommand, visible_alias = "messages")]
    Message(commands::message::Command),
    /// Shows, on this machine and in a minute or two, that nothing is lost and nothing is doubled
    Demo(commands::demo::Args),
    /// Measures throughput and latency on this machine
    Bench(commands::bench::Args),
    /// Writes what completes commands in a shell
    Completions(commands::shell::CompletionsArgs),
    /// Writes manual pages
    Man(commands::shell::ManArgs),
    /// Scripted servers for rehearsals
    #[command(subcommand, hide = true)]
    Rehearse(commands::rehearse::Command),
    /// Runs a program that ends when the process that started it ends
    #[command(hide = true)]
    Tied(commands::tied::Args),
}

impl Command {
    /// Whether it asks or steers a deployment, which may be elsewhere. Processes run where their settings are.
    pub(crate) fn follows_context(&self) -> bool {
        use commands::plugin::Command::{Exec, Run};
        !matches!(self, Self::Up(_) | Self::Worker(_) | Self::Plugin(Run(_) | Exec(_)) | Self::Demo(_) | Self::Bench(_))
    }
}

impl Cli {
    /// Every setting that is given on the command line.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = self.global.flags();
        match &self.command {
            Command::Up(args) => flags.extend(args.flags()),
            Command::Worker(args) => flags.extend(args.mode.flag()),
            Command::Plugin(command) => flags.extend(command.flags()),
            _ => {}
        }
        flags
    }
}

impl commands::up::Args {
    fn flags(&self) -> Vec<Flag> {
        let workers = Flag::given("--workers", "up.workers", self.workers.map(|count| count.to_string()));
        workers.into_iter().chain(self.mode.flag()).collect()
    }
}
