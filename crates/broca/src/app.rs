//! What every command is given, and the way to it.

use crate::{
    cli::{Cli, Command},
    commands,
    config::{self, Loaded, Place},
    contexts,
    failure::{Code, Failure},
    output::Output,
    shutdown::Shutdown,
    telemetry,
};

/// What a command works with.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) config: Loaded,
    pub(crate) output: Output,
    pub(crate) shutdown: Shutdown,
    /// The name of the context in force.
    pub(crate) context: Option<String>,
}

impl App {
    /// A command as it is typed for the same deployment.
    pub(crate) fn command(&self, words: &str) -> String {
        let context = self.context.as_ref().map(|name| format!("--context {name} ")).unwrap_or_default();
        format!("broca {context}{words}")
    }

    /// Tells a person how far a command is. Nothing that a script would read.
    pub(crate) fn note(&self, text: &str) {
        eprintln!("{text}");
    }
}

pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output { format: cli.global.format() };
    let shutdown = Shutdown::listen()?;
    if let Some(name) = &cli.global.actor {
        commands::letters::acts_as(name);
    }
    // The scripted servers have no settings.
    if let Command::Rehearse(command) = &cli.command {
        return shutdown.guard(commands::rehearse::run(command, output, &shutdown)).await;
    }
    match &cli.command {
        Command::Completions(args) => return commands::shell::completions(output, args),
        Command::Man(args) => return commands::shell::man(output, args),
        Command::Context(command) => return commands::context::run(output, &cli.global, command),
        _ => {}
    }
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let place = place(&cli)?;
    let context = place.as_ref().map(|place| place.name.clone());
    let config = config::load(cli.global.config.as_deref(), env, place, cli.flags())?;
    start_log(&config, &cli.command)?;
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let app = App { config, output, shutdown, context };
    let ends_itself = matches!(
        cli.command,
        Command::Up(_)
            | Command::Worker(_)
            | Command::Plugin(commands::plugin::Command::Run(_) | commands::plugin::Command::Exec(_))
            | Command::Demo(_)
            | Command::Bench(_)
            | Command::Api(_)
            | Command::Mcp(_)
            | Command::Dashboard(_)
            | Command::Export(_)
    );
    if ends_itself {
        app.shutdown.guard(dispatch(&app, cli.command)).await
    } else {
        app.shutdown.interruptible(dispatch(&app, cli.command)).await
    }
}

/// Which deployment is asked or steered, if that is not the one of this folder.
fn place(cli: &Cli) -> Result<Option<Place>, Failure> {
    if cli.command.follows_context() {
        return contexts::chosen(cli.global.context.as_deref());
    }
    match &cli.global.context {
        None => Ok(None),
        Some(name) => Err(Failure::new(Code::Usage, format!("a process follows no context, and so not {name}"))
            .hint("give it its settings: --config, the environment, or flags")),
    }
}

/// Commands that answer and end say only what is wrong, unless somebody asked for more.
fn start_log(config: &Loaded, command: &Command) -> Result<(), Failure> {
    let log = &config.settings.log;
    let runs = |command: &commands::plugin::Command| {
        matches!(command, commands::plugin::Command::Run(_) | commands::plugin::Command::Exec(_))
    };
    let stays = match command {
        Command::Up(_) | Command::Worker(_) | Command::Api(_) | Command::Dashboard(_) => true,
        Command::Plugin(command) => runs(command),
        _ => false,
    };
    let level = if stays || config.source_of("log.level") != "default" { log.level.as_str() } else { "warn" };
    // Whoever tries what is forbidden knows that it is.
    let level =
        if matches!(command, Command::Doctor(args) if args.role.is_some()) { "error,broca_bus=off" } else { level };
    let name = matches!(command, Command::Up(_)).then_some("up");
    telemetry::start(level, log.format, name)
}

async fn dispatch(app: &App, command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => commands::up::run(app, &args).await,
        Command::Worker(args) => commands::worker::run(app, &args).await,
        Command::Plugin(command) => commands::plugin::run(app, &command).await,
        Command::Migrate(args) => commands::migrate::run(app, &args).await,
        Command::Nats(command) => commands::nats::run(app, &command).await,
        Command::Config(command) => commands::config::run(app, &command).await,
        Command::Mode(command) => commands::mode::run(app, &command).await,
        Command::Events(args) => commands::events::run(app, &args).await,
        Command::Audit(command) => commands::audit::run(app, &command).await,
        Command::Token(command) => commands::token::run(app, &command).await,
        Command::Api(args) => commands::api::run(app, &args).await,
        Command::Mcp(args) => commands::mcp::run(app, &args).await,
        Command::Dashboard(args) => commands::dashboard::run(app, &args).await,
        Command::Flow(args) => commands::flow::run(app, &args).await,
        Command::Queues(args) => commands::queues::run(app, &args).await,
        Command::Workers(args) => commands::workers::run(app, &args).await,
        Command::Metrics(args) => commands::metrics::run(app, &args).await,
        Command::Check(args) => commands::check::run(app, &args).await,
        Command::Doctor(args) => commands::doctor::run(app, &args).await,
        Command::Status(args) => commands::status::run(app, &args).await,
        Command::Send(args) => commands::send::run(app, &args).await,
        Command::Chat(args) => commands::chat::run(app, &args).await,
        Command::Emulate(args) => commands::emulate::run(app, &args).await,
        Command::Explain(args) => commands::explain::run(app, &args).await,
        Command::Message(command) => commands::message::run(app, &command).await,
        Command::Queue(command) => commands::queue::run(app, &command).await,
        Command::Conversations(command) => commands::conversations::run(app, &command).await,
        Command::Agents(command) => commands::agents::run(app, &command).await,
        Command::Routes(command) => commands::routes::run(app, &command).await,
        Command::Dlq(command) => commands::dlq::run(app, &command).await,
        Command::Targets(command) => commands::targets::run(app, &command).await,
        Command::Access(command) => commands::access::run(app, &command).await,
        Command::Ignore(command) => commands::ignore::run(app, &command).await,
        Command::Pairing(command) => commands::pairing::run(app, &command).await,
        Command::Hold(command) => commands::hold::run(app, &command).await,
        Command::Users(command) => commands::users::run(app, &command).await,
        Command::Export(args) => commands::export::run(app, &args).await,
        Command::Backup(args) => commands::backup::run(app, &args).await,
        Command::Retention(command) => commands::retention::run(app, &command).await,
        Command::Backlog(args) => commands::backlog::run(app, &args).await,
        Command::Replay(args) => commands::replay::run(app, &args).await,
        Command::Demo(args) => commands::demo::run(app, &args).await,
        Command::Bench(args) => commands::bench::run(app, &args).await,
        // These were dealt with before there were settings.
        Command::Rehearse(_) | Command::Tied(_) | Command::Completions(_) | Command::Man(_) | Command::Context(_) => {
            Ok(())
        }
    }
}
